"""Scoring held-out documents: perplexity by strided windows, kept per document.

Each window of `window` tokens overlaps its predecessor; only tokens that no earlier window scored
count, so that all but a document's first tokens have at least `window - stride` tokens of context.
The first token of a document has no context and is not scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfgate.case import Case, PerplexityWork
from perfgate.engines.base import Engine, TopEngine
from perfgate.heartbeat import beat
from perfgate.record import CaseRound, DocumentScore, Likeness, Scoring
from perfgate.scores import bits_per_byte, perplexity
from perfgate.workloads.distributions import TOP, Alike, Heads, keep, kept, likeness
from perfgate.workloads.output import strangers, vocabulary_size
from perfgate.workloads.texts import Document, read_documents

Score = Callable[[Sequence[int]], NDArray[np.float64]]
Part = Callable[[Sequence[int], int], "Scores"]  # a window's tokens, and how many of the last ones count


@dataclass(frozen=True, slots=True)
class Scores:
    """Natural-log probabilities of tokens [n]; heads: the likeliest in their places, where they are asked for."""

    log_probs: NDArray[np.float64]
    heads: Heads | None = None


@dataclass(frozen=True, slots=True)
class ScoredDocument:
    """A document with the sizes of its windows. fresh, context: of each, tokens that count and those before them."""

    score: DocumentScore
    fresh: tuple[int, ...]
    context: tuple[int, ...]
    heads: Heads | None


def measure_perplexity(engine: Engine, case: Case, work: PerplexityWork, alike: Alike | None = None) -> CaseRound:
    """Score every document of the held-out text.

    alike: the distributions to keep for other engines, or to compare this one's with.
    """
    documents = read_documents(work.text)
    tokens = {one.id: engine.encode(one.text) for one in documents}
    if broken := strangers(dict(enumerate(tokens.values())), vocabulary_size(case.engine.model)):
        return CaseRound(case.id, {}, broken=("the tokenizer's ids are not the model's: " + broken[0],))
    part = _with_heads(engine) if alike is not None and isinstance(engine, TopEngine) else plain(engine.score)
    found: dict[str, ScoredDocument] = {}
    for number, one in enumerate(documents):
        beat(f"scoring {case.id}, {number} of {len(documents)} documents")
        found[one.id] = score_document(one, tokens[one.id], part, work)
    scores = {name: one.score for name, one in found.items()}
    if broken := [f"document '{name}' scored {one.nll}" for name, one in scores.items() if not math.isfinite(one.nll)]:
        return CaseRound(case.id, {}, broken=tuple(broken[:3]))
    values = summary(scores)
    if not values:
        return CaseRound(case.id, {}, faults=(f"{work.text} has no token to score",))
    if not all(map(math.isfinite, values.values())):
        return CaseRound(
            case.id, {}, broken=("perplexity is beyond every number: the log-probabilities make no sense",)
        )
    likenesses, unlike = _beside(alike, {name: one.heads for name, one in found.items() if one.heads is not None})
    return CaseRound(
        case.id, values | likeness_values(likenesses), documents=scores, scoring=_scoring(work, list(found.values())),
        likeness=likenesses, unlike=unlike,
    )  # fmt: skip


def score_document(document: Document, tokens: Sequence[int], part: Part, work: PerplexityWork) -> ScoredDocument:
    """Negative log-likelihood of a document (nats), its scored tokens and its bytes."""
    spans = list(windows(len(tokens), work))
    parts = [part(tokens[start:end], fresh) for start, end, fresh in spans]
    nll = sum(-float(one.log_probs.sum()) for one in parts)
    heads = [one.heads for one in parts if one.heads is not None]
    return ScoredDocument(
        DocumentScore(nll, max(len(tokens) - 1, 0), len(document.text.encode())),
        tuple(fresh for _, _, fresh in spans),
        tuple(end - fresh - start for start, end, fresh in spans),
        Heads(np.concatenate([one.ids for one in heads]), np.concatenate([one.log_probs for one in heads]))
        if heads
        else None,
    )


def windows(length: int, work: PerplexityWork) -> Iterator[tuple[int, int, int]]:
    """(start, end, number of last tokens to count) of each window; every token but the first counts once."""
    scored = 1
    for start in range(0, max(length - 1, 0), work.stride):
        end = min(start + work.window, length)
        if end > scored:
            yield min(start, scored - 1), end, end - scored  # the token before gives the first one its context
            scored = end


def summary(documents: Mapping[str, DocumentScore]) -> dict[str, float]:
    """Perplexity and bits per byte; nothing where no token was scored."""
    found = {"perplexity": perplexity(documents), "bits_per_byte": bits_per_byte(documents)}
    known = {name: value for name, value in found.items() if value is not None}
    return known if "perplexity" in known else {}


def likeness_values(likenesses: Mapping[str, Likeness]) -> dict[str, float]:
    """Top-1 agreement (a share) and the mean bound of KL (nats a token); nothing where no token was compared."""
    tokens = sum(one.tokens for one in likenesses.values())
    if not tokens:
        return {}
    agreed, kl = (sum(getattr(one, name) for one in likenesses.values()) for name in ("agreed", "kl"))
    return {"top1_agreement": agreed / tokens, "kl_divergence": kl / tokens}


def plain(score: Score) -> Part:
    """Scoring without distributions, as every engine can."""
    return lambda tokens, fresh: Scores(score(tokens)[-fresh:])


def _with_heads(engine: TopEngine) -> Part:
    def part(tokens: Sequence[int], fresh: int) -> Scores:
        found = engine.score_top(tokens, fresh, TOP)
        return Scores(found.log_probs, Heads(found.top_ids.astype(np.int32), found.top_log_probs.astype(np.float32)))

    return part


def _beside(alike: Alike | None, heads: Mapping[str, Heads]) -> tuple[dict[str, Likeness], str | None]:
    """Keep a reference's distributions, or compare with them: each document's likeness, or why there is none."""
    if alike is None:
        return {}, None
    if not heads:
        return {}, "this engine tells no next-token distributions"
    if alike.keeps:
        keep(alike, heads)
        return {}, None
    reference = kept(alike)
    if isinstance(reference, str):
        return {}, reference
    return {name: likeness(reference[name], mine) for name, mine in heads.items() if name in reference}, None


def _scoring(work: PerplexityWork, documents: Sequence[ScoredDocument]) -> Scoring:
    """A token's context is what its window holds before it: the overlap, and the tokens that count before it."""
    later = [context for one in documents for context in one.context[1:]]
    spans = [pair for one in documents for pair in zip(one.fresh, one.context, strict=True)]
    tokens = sum(fresh for fresh, _ in spans)
    total = sum(fresh * context + fresh * (fresh - 1) / 2 for fresh, context in spans)
    size = sum(one.score.text_bytes for one in documents)
    return Scoring(work.window, work.stride, tokens, size, min(later, default=1), total / tokens)
