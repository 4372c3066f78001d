"""Error rates of verdicts on texts: coverage of the interval, false 'exceeded', false 'within', on simulated documents.

    python benchmarks/quality.py [--texts 20000]

A text of n documents: their lengths are log-normal (spread 0.1 as in the shipped text, or 1.0), the loss of a token
differs from document to document (normal, or Student noise with 3 degrees of freedom; a skewed one: exponential), and
the log-probabilities within a document differ more in short ones. The allowed loss is 3 %. Stated: an interval of 99 %;
'exceeded' falsely at alpha/M = 0.5 % / 10; 'within' falsely at beta = 0.4 %. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfgate.paired import paired_change
from perfgate.record import DocumentScore
from perfgate.terms import Gate

ALLOWED, TESTS, SD, WITHIN_SD = 0.03, 10, 0.02, 0.1
MEAN_TOKENS, LEAST_TOKENS, LEVEL = 500, 20, 1.7  # LEVEL: nats a token of the reference
SHAPES = ("normal", "student3", "skewed")


@dataclass(frozen=True)
class Rates:
    """Shares of texts whose true loss is exactly the allowed one."""

    covered: float
    exceeded: float
    within: float


def simulate(documents: int, spread: float, shape: str, texts: int, seed: int) -> Rates:
    """Verdicts on `texts` texts."""
    rng = np.random.default_rng(seed)
    gate, limit = Gate(()), math.log1p(ALLOWED)
    covered = exceeded = within = 0
    for _ in range(texts):
        change = paired_change("perplexity", *_text(rng, documents, spread, shape, limit))
        covered += -change.above(0.995) <= change.size - limit <= change.below(0.995)
        exceeded += change.size - change.below(1 - gate.alpha / TESTS) > limit
        within += change.size + change.above(1 - gate.beta) <= limit
    return Rates(covered / texts, exceeded / texts, within / texts)


def _text(
    rng: np.random.Generator, documents: int, spread: float, shape: str, loss: float
) -> tuple[dict[str, DocumentScore], dict[str, DocumentScore]]:
    """The documents under the reference and under an engine that loses `loss` nats a token on average."""
    tokens = np.maximum(rng.lognormal(math.log(MEAN_TOKENS), spread, documents), LEAST_TOKENS).astype(int)
    level = LEVEL + 0.3 * rng.standard_normal(documents)
    own = SD * _noise(rng, documents, shape) + WITHIN_SD * rng.standard_normal(documents) / np.sqrt(tokens)
    return _scores(level, tokens), _scores(level + loss + own, tokens)


def _noise(rng: np.random.Generator, count: int, shape: str) -> NDArray[np.float64]:
    """Of mean 0 and variance 1."""
    match shape:
        case "student3":
            return rng.standard_t(3, count) / math.sqrt(3)
        case "skewed":
            return rng.exponential(1.0, count) - 1.0
        case _:
            return rng.standard_normal(count)


def _scores(per_token: NDArray[np.float64], tokens: NDArray[np.int_]) -> dict[str, DocumentScore]:
    pairs = zip(per_token.tolist(), tokens.tolist(), strict=True)
    return {f"d{at}": DocumentScore(nll * count, count, 3 * count) for at, (nll, count) in enumerate(pairs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=20_000, help="simulated texts per line")
    texts = parser.parse_args().texts
    print(f"{'documents':>9}  {'lengths':>7}  {'noise':<8}  {'covered':>8}  {'exceeded':>8}  {'within':>8}")
    for documents in (8, 40, 200):
        for spread in (0.1, 1.0):
            for shape in SHAPES:
                rates = simulate(documents, spread, shape, texts, seed=1)
                print(
                    f"{documents:>9}  {spread:>7.1f}  {shape:<8}  {rates.covered:>8.3%}  {rates.exceeded:>8.3%}  "
                    f"{rates.within:>8.3%}"
                )


if __name__ == "__main__":
    main()
