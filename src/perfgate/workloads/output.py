"""Whether what an engine generated is an answer at all: not empty, not one token over and over, of its vocabulary."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perfgate.case import EngineSpec
from perfgate.engines.base import TokenEvent
from perfgate.foreign_json import ForeignJsonError, read_json, whole_number
from perfgate.load.request import FaultKind, RequestRecord

# Greedy decoding of a sound small model falls into loops of a few tokens, seldom of one: of the 64 prompts that ship
# with perfgate the model beside them answers none so with 48 tokens (docs/quality.md). A broken engine does so always.
MOST_ALIKE = 0.9  # share of an output that may be one and the same token
MOST_SUCH = 0.5  # share of a workload's outputs that may be so
LEAST_TOKENS = 16  # of an output, below which a run of one token says little

RANDOM_WEIGHTS = "weights are random (load_format: dummy)"
UNTOLD = "the engine does not tell its tokens"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a workload's output. unchecked: why nobody looked at the tokens themselves."""

    broken: tuple[str, ...] = ()
    unchecked: str | None = None


def look_at(events: Sequence[TokenEvent], requests: Sequence[int], spec: EngineSpec) -> Look:
    """The tokens of every request, greedily decoded."""
    counts: dict[int, int] = defaultdict(int)
    outputs: dict[int, list[int]] = defaultdict(list)
    for event in events:
        counts[event.request] += event.tokens
        outputs[event.request].extend(event.ids)
    empty = [name for name in requests if not counts[name]]
    if events and len(empty) == len(requests):
        return Look((f"empty output: none of {len(requests)} requests gave a token",))
    if has_random_weights(spec):
        return Look(unchecked=RANDOM_WEIGHTS)
    if any(len(outputs[name]) != counts[name] for name in requests):
        return Look(unchecked=UNTOLD)
    return Look((*strangers(outputs, vocabulary_size(spec.model)), *_repeating(outputs)))


def look_at_answers(records: Sequence[RequestRecord], spec: EngineSpec, special: Collection[int] = ()) -> Look:
    """The answers of a server, by the token ids that it lists, or else by the text of its events.

    special: ids that a model may give over and over once it was done, where it is told to go on (`ignore_eos`).
    """
    if records and all(one.fault is not None and one.fault.kind is FaultKind.EMPTY for one in records):
        return Look((f"empty output: none of {len(records)} requests gave a token",))
    if has_random_weights(spec):
        return Look(unchecked=RANDOM_WEIGHTS)
    seen = {at: one.sameness for at, one in enumerate(records) if one.sameness is not None}  # runs count anew
    ends = {name: ids for name, one in seen.items() if (ids := one.ids) is not None}
    usual = {f"token {token}" for token in special}
    runs = {name: (one.commonest, one.count, one.pieces) for name, one in seen.items() if one.commonest not in usual}
    return Look((*strangers(ends, vocabulary_size(spec.model)), *repeating(runs, len(seen) - len(runs))))


def has_random_weights(spec: EngineSpec) -> bool:
    """Whether the engine is asked for the speed of a shape alone."""
    return dict(spec.engine_args).get("load_format") == "dummy"


def vocabulary_size(checkpoint: Path) -> int | None:
    """The number of token ids that a checkpoint's config.json states; None where it does not."""
    try:
        config = read_json(checkpoint / "config.json")
        return whole_number(config.get("text_config", config)["vocab_size"])
    except (OSError, ForeignJsonError, KeyError, TypeError, AttributeError):
        return None


def strangers(outputs: Mapping[int, Sequence[int]], size: int | None) -> list[str]:
    """A line on the first token that no vocabulary of this size has."""
    top = size if size is not None else float("inf")
    found = ((name, token) for name, ids in outputs.items() for token in ids if not 0 <= token < top)
    return [f"request {name} gave token {token}, outside the vocabulary of {size}" for name, token in found][:1]


def _repeating(outputs: Mapping[int, Sequence[int]]) -> list[str]:
    commonest = {name: Counter(ids).most_common(1)[0] for name, ids in outputs.items() if ids}
    return repeating({name: (f"token {one}", count, len(outputs[name])) for name, (one, count) in commonest.items()})


def repeating(outputs: Mapping[int, tuple[str, int, int]], others: int = 0) -> list[str]:
    """A line where too many outputs are one token; of each: its commonest, how often that came, and in how many.

    others: outputs beside them that are known to be no such.
    """
    long = {name: one for name, one in outputs.items() if one[2] >= LEAST_TOKENS}
    such = [name for name, (_, count, pieces) in long.items() if count >= MOST_ALIKE * pieces]
    if len(such) <= MOST_SUCH * (len(long) + others):
        return []
    commonest, count, pieces = long[such[0]]
    worst = f"request {such[0]} gave {commonest} {count} times in {pieces}"
    return [f"{len(such)} of {len(long) + others} outputs are one token over and over: {worst}"]
