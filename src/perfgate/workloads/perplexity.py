"""Scoring held-out documents: perplexity by strided windows, kept per document.

Each window of `window` tokens overlaps its predecessor; only tokens that no earlier window scored
count, so that all but a document's first tokens have at least `window - stride` tokens of context.
The first token of a document has no context and is not scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from perfgate.case import Case, PerplexityWork
from perfgate.engines.base import Engine
from perfgate.heartbeat import beat
from perfgate.record import CaseRound, DocumentScore
from perfgate.workloads.texts import Document, read_documents

MOST_NATS = 700.0  # a token; e^709 is the largest float

Score = Callable[[Sequence[int]], NDArray[np.float64]]


def measure_perplexity(engine: Engine, case: Case, work: PerplexityWork) -> CaseRound:
    """Score every document of the held-out text."""
    documents: dict[str, DocumentScore] = {}
    for number, one in enumerate(texts := read_documents(work.text)):
        beat(f"scoring {case.id}, {number} of {len(texts)} documents")
        documents[one.id] = score_document(one, engine.encode, engine.score, work)
    faults = [f"document '{name}' scored {one.nll}" for name, one in documents.items() if not math.isfinite(one.nll)]
    if not any(one.tokens for one in documents.values()):
        faults.append(f"{work.text} has no token to score")
    values = {} if faults else summary(documents)
    if any(not math.isfinite(value) for value in values.values()):
        faults.append("perplexity is beyond every number: the engine's log-probabilities make no sense")
    return (
        CaseRound(case.id, {}, faults=tuple(faults[:3])) if faults else CaseRound(case.id, values, documents=documents)
    )


def score_document(
    document: Document, encode: Callable[[str], list[int]], score: Score, work: PerplexityWork
) -> DocumentScore:
    """Negative log-likelihood of a document (nats), its scored tokens and its bytes."""
    tokens = encode(document.text)
    nll = sum(-float(score(tokens[start:end])[-fresh:].sum()) for start, end, fresh in windows(len(tokens), work))
    return DocumentScore(nll, max(len(tokens) - 1, 0), len(document.text.encode()))


def windows(length: int, work: PerplexityWork) -> Iterator[tuple[int, int, int]]:
    """(start, end, number of last tokens to count) of each window; every token but the first counts once."""
    scored = 1
    for start in range(0, max(length - 1, 0), work.stride):
        end = min(start + work.window, length)
        if end > scored:
            yield min(start, scored - 1), end, end - scored  # the token before gives the first one its context
            scored = end


def summary(documents: Mapping[str, DocumentScore]) -> dict[str, float]:
    nll = sum(one.nll for one in documents.values())
    tokens = sum(one.tokens for one in documents.values())
    size = sum(one.text_bytes for one in documents.values())
    perplexity = math.exp(nll / tokens) if nll / tokens < MOST_NATS else math.inf
    return {"perplexity": perplexity, "bits_per_byte": nll / math.log(2) / size}
