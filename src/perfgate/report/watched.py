"""What the watch saw, as every report shows it: what fails the gate first."""

from __future__ import annotations

from dataclasses import dataclass

from perfgate.comparison import Comparison
from perfgate.report.figures import plain
from perfgate.watch import Signal

MOST_TOLD = 5  # signals in the terminal; comparison.json, summary.md and report.html have them all


@dataclass(frozen=True, slots=True)
class Watched:
    """A signal with what it does to the gate."""

    signal: Signal
    is_failure: bool

    @property
    def line(self) -> str:
        """'creep (not confirmed): fp32-chat tpot_p50: now 5.1% worse than ...'."""
        return plain(f"{self.signal.kind}{self.signal.doubt}: {self.signal.text}")

    @property
    def effect(self) -> str:
        return "fails the gate" if self.is_failure else "reported, not gated"


def watched(comparison: Comparison) -> list[Watched]:
    """Every signal: failures first, then what is confirmed, then the largest worsening."""
    failed = comparison.failed_signals
    seen = [Watched(signal, signal in failed) for signal in comparison.signals]
    return sorted(seen, key=lambda one: (not one.is_failure, not one.signal.is_confirmed, -one.signal.size))
