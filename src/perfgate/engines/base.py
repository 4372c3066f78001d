"""The interface between perfgate and an inference engine."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from perfgate.case import EngineSpec
from perfgate.device import Device
from perfgate.errors import EngineError
from perfgate.plant import Plant


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a backend can run a spec on a device; if not, the reason a person can act on.

    is_missing: the backend could, and something has to be installed first.
    """

    reason: str | None = None
    is_missing: bool = False

    @property
    def is_supported(self) -> bool:
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Prepared:
    """An engine on disk, made by `Backend.prepare`: the phases took these seconds."""

    folder: Path
    phases: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and how many tokens to generate from it (EOS is ignored)."""

    id: int
    prompt: tuple[int, ...]
    output_len: int


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """`tokens` tokens of a request became visible at `time_ns` (perf_counter_ns).

    An event of 0 tokens marks the moment at which the request was due. ids: the tokens, where the engine tells them.
    """

    request: int
    time_ns: int
    tokens: int
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What the engine tells of its own work; absent figures are None."""

    is_speculative: bool = False  # an event may then hold several tokens: accepted drafts and one of the target's own
    notes: Mapping[str, str] = field(default_factory=dict)  # settings as read back from the engine
    kv_blocks: int | None = None  # of the paged KV cache
    kv_block_tokens: int | None = None
    peak_gpu_bytes: int | None = None  # most device memory that the engine's library held


@dataclass(frozen=True, slots=True)
class Scored:
    """Natural-log probabilities of n tokens [n], and in the place of each the k likeliest, likeliest first [n, k]."""

    log_probs: NDArray[np.float64]
    top_ids: NDArray[np.int64]
    top_log_probs: NDArray[np.float64]


class Engine(Protocol):
    """A loaded engine."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        ...

    def generate(self, requests: Sequence[Request], concurrency: int) -> Iterator[TokenEvent]:
        """Run requests, at most `concurrency` at a time, a new one as soon as a place is free."""
        ...

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float64]:
        """Natural-log probability of each token but the first: [len(token_ids) - 1]."""
        ...

    def stats(self) -> EngineStats:
        """Figures of the last `generate` call."""
        ...


@runtime_checkable
class TopEngine(Protocol):
    """What an engine has beside `Engine` that tells its next-token distributions, or their heads."""

    def score_top(self, token_ids: Sequence[int], count: int, top: int) -> Scored:
        """As `score`, of the last `count` tokens (less than len(token_ids)), with the `top` likeliest beside each."""
        ...


class Source(Protocol):
    """Where an engine that batches in flight gets its requests from.

    Asked before every step, in this order; where steps are a library's own, as often as there may be news.
    """

    def join(self, places: int, *, is_idle: bool) -> Sequence[Request] | None:
        """Requests that join now, at most `places`: none at present is empty, no more ever is None.

        With is_idle (nothing runs) it may wait for a request.
        """
        ...

    def left(self) -> Sequence[int]:
        """Requests that nobody waits for any more, each told once: the engine ends those of them that it runs."""
        ...


@runtime_checkable
class LiveEngine(Protocol):
    """What an engine that batches in flight has beside `Engine`, so that it can be served."""

    def generate_live(self, source: Source, concurrency: int) -> Iterator[TokenEvent]:
        """As `Engine.generate`, of requests that come while others run; ends when the source has no more."""
        ...


class ClosedLoop:
    """All requests are there from the start: a new one joins as soon as a place is free."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._waiting = deque(requests)

    def join(self, places: int, *, is_idle: bool) -> Sequence[Request] | None:
        """Those in front; None once there are no more."""
        del is_idle
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(places, len(waiting)))] if waiting else None

    def left(self) -> Sequence[int]:
        """None of them."""
        return ()


class Backend(Protocol):
    """A kind of engine.

    Beside what stands here it may have (see `engines/carrying.py` and `engines/cache.py`):
    kinds: frozenset[WorkKind], the workloads that it can carry out, all where it does not say;
    serve(spec, prepared, plant, folder) -> AbstractContextManager[Server], a server of its own for serving workloads;
    quantising: options of `quantisation` that it takes by precision, and calibrated: precisions made on texts;
    int4_group_size, int4_is_symmetric: its choices where the spec leaves them open;
    versions_of(spec), versions that depend on the spec; can_rerun(spec), whether a baseline's engine is surely it.
    """

    name: str

    def versions(self) -> Mapping[str, str]:
        """Versions of everything that changes the engine's bits or speed."""
        ...

    def support(self, spec: EngineSpec, device: Device) -> Support: ...

    def prepare(self, spec: EngineSpec, device: Device, into: Path) -> Prepared:
        """Build the engine into an empty folder.

        Raises:
            ModelError: the checkpoint is missing or damaged.
            EngineError: the build failed.
        """
        ...

    def load(self, spec: EngineSpec, prepared: Path, plant: Plant) -> AbstractContextManager[Engine]:
        """Load a prepared engine; leaving the context frees everything.

        Raises:
            EngineError: the engine cannot be loaded.
        """
        ...


def first_line(exc: Exception) -> str:
    """What a library's exception says first, or its name where it says nothing."""
    return next((line for line in str(exc).splitlines() if line.strip()), type(exc).__name__)[:300]


def try_out(engine: Engine) -> None:
    """See that a prepared engine reads, generates and scores."""
    words = engine.encode("def main():")
    list(engine.generate([Request(0, tuple(words), 4)], 1))
    engine.score(words)


def check_one_length(batch: Sequence[Request]) -> None:
    """Static batching would have to pad prompts of different lengths, which would be measured as work.

    Raises:
        EngineError: prompts or outputs of the batch differ in length.
    """
    if len({(len(request.prompt), request.output_len) for request in batch}) != 1:
        raise EngineError("static batching takes prompts and outputs of one length per batch")


def log_probs(
    logits: NDArray[np.floating], targets: Sequence[int], plant: Plant, random: np.random.Generator
) -> NDArray[np.float64]:
    """Natural-log probability of each target: logits [n, vocabulary], targets [n] -> [n].

    A planted loss of quality adds Gaussian noise to the logits. Noise of variance v raises
    the expected ln(sum exp) by at most v/2 (the log-normal mean), hence v = 2 ln(ratio).
    """
    scores, total = _normalised(logits, plant, random)
    return np.asarray(scores[np.arange(len(targets)), targets] - total)


def scored(
    logits: NDArray[np.floating], targets: Sequence[int], top: int, plant: Plant, random: np.random.Generator
) -> Scored:
    """The same with the `top` likeliest tokens, or all where the vocabulary has fewer."""
    scores, total = _normalised(logits, plant, random)
    rows, size = np.arange(len(targets)), scores.shape[-1]
    ids = np.argpartition(scores, -min(top, size), axis=-1)[:, -min(top, size) :]
    heads = scores[rows[:, None], ids]
    order = np.argsort(-heads, axis=-1, kind="stable")
    return Scored(
        np.asarray(scores[rows, targets] - total),
        np.take_along_axis(ids, order, axis=-1).astype(np.int64),
        np.take_along_axis(heads, order, axis=-1) - total[:, None],
    )


def joined(parts: Sequence[Scored]) -> Scored:
    """Chunks of one text, one after the other."""
    return Scored(
        np.concatenate([one.log_probs for one in parts]),
        np.concatenate([one.top_ids for one in parts]),
        np.concatenate([one.top_log_probs for one in parts]),
    )


def _normalised(
    logits: NDArray[np.floating], plant: Plant, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logits [n, vocabulary] with what is planted, and the logarithm of each row's sum of exponentials [n]."""
    scores = logits.astype(np.float64)
    if plant.perplexity > 1:
        scores += math.sqrt(2 * math.log(plant.perplexity)) * random.standard_normal(scores.shape)
    peak = scores.max(axis=-1, keepdims=True)
    return scores, np.log(np.exp(scores - peak).sum(axis=-1)) + peak[:, 0]


def wait_after(step_ns: int, plant: Plant) -> None:
    """Wait (plant.decode - 1) times as long as a decode step took, without giving the core away.

    Sleeping would be cheaper but wakes some 50 us late, as long as a whole step of a small model.
    """
    until = time.perf_counter_ns() + int(step_ns * (plant.decode - 1))
    while time.perf_counter_ns() < until:
        pass
