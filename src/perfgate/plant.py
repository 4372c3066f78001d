"""Planted regressions: a true slowdown or loss of quality, to see whether the gate finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from perfgate.case import EngineSpec
from perfgate.errors import UsageError


@dataclass(frozen=True, slots=True)
class Plant:
    """A regression planted on purpose, to see whether the gate finds it (`--perfgate-inject`).

    decode: every decode step takes this many times as long, by a real wait in the engine process.
    perplexity: noise on the logits raises perplexity by up to this ratio.
    graphs: 0 loads an engine without CUDA graphs while its spec, and so its case, still says that it has them.
    """

    decode: float = 1.0
    perplexity: float = 1.0
    graphs: float = 1.0

    @property
    def words(self) -> tuple[str, ...]:
        """What is planted, for people; empty where nothing is."""
        ratios = {"decode": self.decode, "perplexity": self.perplexity}
        worse = [f"{name} x{ratio:g}" for name, ratio in ratios.items() if ratio > 1]
        return (*worse, *([] if self.graphs else ["graphs off"]))

    def on(self, spec: EngineSpec) -> EngineSpec:
        """The spec that is really loaded."""
        return spec if self.graphs else replace(spec, cuda_graphs=False)


MOST_PLANTED = 100.0
_EXPECTED = f"decode=RATIO or perplexity=RATIO, 1 to {MOST_PLANTED:.0f}, or graphs=off"


def parse_plant(words: Sequence[str]) -> Plant:
    """'decode=1.25', 'perplexity=1.05' and 'graphs=off' as a planted regression.

    Raises:
        UsageError: another name, or a ratio that is not between 1 and 100.
    """
    return Plant(**dict(_parsed(word) for word in words))


def _parsed(word: str) -> tuple[str, float]:
    name, _, text = word.partition("=")
    if (name, text) == ("graphs", "off"):
        return name, 0.0
    ratio = float(text) if text.replace(".", "", 1).isdigit() else 0.0
    if name not in ("decode", "perplexity") or not 1 <= ratio <= MOST_PLANTED:
        raise UsageError(f"--perfgate-inject: found '{word}', expected {_EXPECTED}")
    return name, ratio
