"""The change of a text's score, paired by document: its interval, what follows for a limit, and what would decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from perfgate.record import DocumentScore

MOST_MORE = 100  # times the documents there are: more are never proposed

_STRAIGHT = 1e-9  # skewness that bends nothing

Documents = Mapping[str, DocumentScore]


@dataclass(frozen=True, slots=True)
class PairedChange:
    """Log-ratio of a score (toward worse), its standard error over documents, and degrees of freedom.

    skew: skewness of the error; positive where few documents are much worse than the others.
    """

    size: float
    error: float
    df: float
    documents: int
    skew: float = 0.0

    def below(self, share: float) -> float:
        """How far under `size` the bound lies that the true change is above with this probability."""
        return self.error * self._reach(share, self.skew)

    def above(self, share: float) -> float:
        """How far over `size` the bound lies that the true change is below with this probability."""
        return self.error * self._reach(share, -self.skew)

    def _reach(self, share: float, skew: float) -> float:
        """In errors: Student's t, or farther where the skewness asks for it (P. Hall, JRSS B 54, 1992, 221-228).

        Without that, texts of which few documents lose much are called harmless too often; and as the skewness is
        itself an estimate, it never brings a bound nearer (benchmarks/quality.py).
        """
        t = float(special.stdtrit(self.df, share))
        if abs(skew) < _STRAIGHT:
            return t
        return max(t, 3.0 * (math.cbrt(1.0 + skew * (t - skew / 6.0)) - 1.0) / skew)

    def documents_to(self, limit: float, share: float) -> int | None:
        """How many more documents like these would put `limit` outside the interval; None: no sensible number.

        The error falls with the root of their number: n' = n (reach / distance)^2, with quantiles as of now.
        """
        distance = abs(self.size - limit)
        reach = self.above(share) if self.size < limit else self.below(share)
        if distance <= 0 or not math.isfinite(reach):
            return None
        more = math.ceil(self.documents * ((reach / distance) ** 2 - 1.0))
        return more if 0 < more <= MOST_MORE * self.documents else None


def paired_change(metric: str, stored: Documents, now: Documents) -> PairedChange:
    """The change of a score between two scorings of the same documents.

    perplexity: the difference of mean NLL per token; bits per byte: the log-ratio of summed NLL.
    Both are ratios of sums; the error is the linearised one (Cochran, Sampling Techniques, 6.3). Its degrees of
    freedom are those of as many equal documents as the weights are worth, (sum w)^2 / sum w^2 (Kish, Survey
    Sampling, 11.7): a text that is mostly one document has hardly any.
    """
    names = sorted(stored)
    old, new = (np.array([side[name].nll for name in names]) for side in (stored, now))
    if metric == "bits_per_byte":
        weight = old
        change = math.log(new.sum() / old.sum())
        rest = new / new.sum() - old / old.sum()
    else:
        weight = np.array([stored[name].tokens for name in names], dtype=float)
        change = float((new - old).sum() / weight.sum())
        rest = (new - old - change * weight) / weight.sum()
    n = len(names)
    worth = float(weight.sum() ** 2 / (weight**2).sum())
    square = float((rest**2).sum())
    error = math.sqrt(square * n / (n - 1)) if n > 1 else math.inf
    skew = float((rest**3).sum()) / square**1.5 if square**1.5 > 0 else 0.0
    return PairedChange(change, error, max(worth - 1.0, 1.0), n, skew)


def why_not_paired(stored: Documents, now: Documents) -> str | None:
    """Why two scorings cannot be compared document by document; None where they can."""
    if not now or not stored:
        return "per-document scores are missing; measure again"
    if _sizes(stored) != _sizes(now):
        return "other documents or tokens were scored"
    if any(not math.isfinite(score.nll) for score in (*stored.values(), *now.values())):
        return "a document's score is not a number"
    return None


def _sizes(documents: Documents) -> dict[str, tuple[int, int]]:
    return {name: (one.tokens, one.text_bytes) for name, one in documents.items()}
