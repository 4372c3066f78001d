"""What scored documents come to: perplexity and bits per byte."""

from __future__ import annotations

import math
from collections.abc import Mapping

from perfgate.record import DocumentScore

MOST_NATS = 700.0  # a token; e^709 is the largest float


def perplexity(documents: Mapping[str, DocumentScore]) -> float | None:
    """exp of the mean negative log-likelihood of all scored tokens; None without any, infinite beyond every number."""
    nll, tokens = (sum(getattr(one, name) for one in documents.values()) for name in ("nll", "tokens"))
    if not tokens:
        return None
    return math.exp(nll / tokens) if nll / tokens < MOST_NATS else math.inf


def bits_per_byte(documents: Mapping[str, DocumentScore]) -> float | None:
    """Negative log-likelihood in bits over the UTF-8 bytes of the texts; None without any.

    It compares models of different tokenizers (Gao et al., The Pile, 2020, 3.1). A document's first token has no
    context and no score, but its bytes count: the figure is low by about one part in the tokens of a document.
    """
    size = sum(one.text_bytes for one in documents.values())
    return sum(one.nll for one in documents.values()) / math.log(2) / size if size else None
