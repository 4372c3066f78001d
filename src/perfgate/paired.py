"""The change of a text's score, paired by document."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from perfgate.record import DocumentScore


def paired_change(
    metric: str, stored: Mapping[str, DocumentScore], now: Mapping[str, DocumentScore]
) -> tuple[float, float, int]:
    """Log-ratio of a score, its standard error over documents, and degrees of freedom.

    perplexity: the difference of mean NLL per token; bits per byte: the log-ratio of summed NLL.
    Both are ratios of sums; the error is the linearised one (Cochran, Sampling Techniques, 6.3).
    """
    names = sorted(stored)
    old, new = (np.array([side[name].nll for name in names]) for side in (stored, now))
    if metric == "perplexity":
        weight = np.array([stored[name].tokens for name in names], dtype=float)
        change = (new - old).sum() / weight.sum()
        rest = (new - old - change * weight) / weight.sum()
    else:
        change = math.log(new.sum() / old.sum())
        rest = new / new.sum() - old / old.sum()
    n = len(names)
    error = math.sqrt(float((rest**2).sum()) * n / max(n - 1, 1))
    return float(change), error if n > 1 else math.inf, max(n - 1, 1)
