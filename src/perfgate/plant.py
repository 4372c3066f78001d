"""Planted regressions: a true slowdown or loss of quality, to see whether the gate finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perfgate.errors import UsageError


@dataclass(frozen=True, slots=True)
class Plant:
    """A regression planted on purpose, to see whether the gate finds it (`--perfgate-inject`).

    decode: every decode step takes this many times as long, by a real wait in the engine process.
    perplexity: noise on the logits raises perplexity by up to this ratio.
    """

    decode: float = 1.0
    perplexity: float = 1.0


MOST_PLANTED = 100.0


def parse_plant(words: Sequence[str]) -> Plant:
    """'decode=1.25' and 'perplexity=1.05' as a planted regression.

    Raises:
        UsageError: another name, or a ratio that is not between 1 and 100.
    """
    ratios: dict[str, float] = {}
    for word in words:
        name, _, text = word.partition("=")
        ratio = float(text) if text.replace(".", "", 1).isdigit() else 0.0
        if name not in ("decode", "perplexity") or not 1 <= ratio <= MOST_PLANTED:
            raise UsageError(f"--perfgate-inject: found '{word}', expected decode=RATIO or perplexity=RATIO, 1 to 100")
        ratios[name] = ratio
    return Plant(**ratios)
