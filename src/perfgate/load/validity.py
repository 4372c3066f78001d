"""Whether a load run may be judged: what was asked was reached, little failed, and the server was what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from perfgate.load.figures import Figures
from perfgate.load.selfwatch import SelfWatch
from perfgate.percent import percent


@dataclass(frozen=True, slots=True)
class Bounds:
    """failed_share: more failures make a run invalid. reached_share: less of the asked-for load does."""

    failed_share: float = 0.01
    reached_share: float = 0.98


def why_invalid(figures: Figures, watch: SelfWatch, gave_up: str, bounds: Bounds | None = None) -> tuple[str, ...]:
    """Why a run's figures must not be judged, one clear line each; empty: they may be."""
    return tuple(_reasons(figures, watch, gave_up, bounds or Bounds()))


def _reasons(figures: Figures, watch: SelfWatch, gave_up: str, bounds: Bounds) -> Iterator[str]:
    if gave_up:
        yield f"the run was given up: {gave_up}"
    if figures.failed_share > bounds.failed_share:
        kinds = ", ".join(f"{count} {kind}" for kind, count in figures.failures.items())
        yield (
            f"{figures.failed} of {figures.requests} requests failed ({kinds or 'none was counted'}), "
            f"more than {percent(bounds.failed_share)}"
        )
    for limit in watch.limits:
        held = f"; it can hold about {watch.holds} streams on a core" if watch.holds else ""
        yield f"the client was the limit, not the server: {limit}{held}"
    yield from _unreached(figures, bounds.reached_share)


def _unreached(figures: Figures, share: float) -> Iterator[str]:
    reached = figures.reached
    asked = reached.concurrency_asked
    if asked is not None and reached.rate_asked is None:
        if figures.requests >= asked and reached.concurrency_most < asked:
            yield f"at most {reached.concurrency_most} requests were in flight, {asked} were asked for"
        elif figures.window is not None and reached.concurrency_mean < share * asked:
            yield f"{reached.concurrency_mean:.1f} requests were in flight on average, {asked} were asked for"
    if reached.rate_asked and reached.rate_sent and reached.rate_sent < share * reached.rate_asked:
        yield f"{reached.rate_sent:.2f} requests/s were sent, {reached.rate_asked:.2f} were asked for"
