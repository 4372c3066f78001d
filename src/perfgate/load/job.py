"""What the client's process is told, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from perfgate.errors import UsageError
from perfgate.load.ask import Ask, LoadPlan
from perfgate.load.bounds import answer_bytes
from perfgate.load.decode import Asked
from perfgate.load.loop import Schedule
from perfgate.load.rawfile import LoopEnd
from perfgate.load.request import RequestRecord
from perfgate.load.selfwatch import SelfWatch
from perfgate.load.target import Target
from perfgate.record import encode

LOAD_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class JobAsk:
    """An ask on its way to the client's process: the body as it will be sent, stream options included."""

    index: int
    body: msgspec.Raw
    asked: Asked
    due_ns: int | None
    answer_bytes: int = 0  # the largest answer to be expected; 0: a job of an earlier version


@dataclass(frozen=True, slots=True)
class Job:
    """A load for one client. raw: its raw file; with several shards each has one of its own beside it.

    cpus: a core for each shard; empty: where the system puts them. is_real_time: run the loop in the real-time class,
    where the system allows it: on a core that others use, ordinary processes wait for milliseconds.
    """

    target: Target
    asks: tuple[JobAsk, ...]
    concurrency: int | None
    raw: Path
    shards: int = 1
    cpus: tuple[int, ...] = ()
    is_real_time: bool = False

    @staticmethod
    def of(target: Target, plan: LoadPlan, raw: Path, shards: int = 1, cpus: Sequence[int] = ()) -> Job:
        """A plan for a target.

        Raises:
            UsageError: the plan asks for nothing, or for what cannot be.
        """
        _check(plan, shards, cpus)
        asks = [_job_ask(index, ask, target, plan) for index, ask in enumerate(plan.asks)]
        asks.sort(key=lambda ask: -1 if ask.due_ns is None else ask.due_ns)
        return Job(target, tuple(asks), plan.concurrency, raw, shards, tuple(cpus))

    @property
    def raws(self) -> tuple[Path, ...]:
        """The raw files that it will write."""
        return tuple(part.raw for part in self.split()) if self.shards > 1 else (self.raw,)

    def schedule(self) -> Schedule:
        """The requests as bytes, in the order of sending."""
        head = self.target.request_head()
        bodies = [bytes(ask.body) for ask in self.asks]
        requests = [b"%b%d\r\n\r\n%b" % (head, len(body), body) for body in bodies]
        answers = [ask.answer_bytes for ask in self.asks]
        return Schedule(requests, [ask.due_ns for ask in self.asks], answers, self.concurrency)

    def split(self) -> tuple[Job, ...]:
        """The job of each shard: every so manieth ask, and a fair part of the slots."""
        limit, shards = self.concurrency, min(self.shards, len(self.asks), self.concurrency or len(self.asks))
        return tuple(
            replace(
                self,
                asks=self.asks[at::shards],
                concurrency=None if limit is None else limit // shards + (at < limit % shards),
                raw=self.raw.with_name(f"{self.raw.stem}-{at}{self.raw.suffix}"),
                shards=1,
                cpus=self.cpus[at : at + 1],
            )
            for at in range(shards)
        )


@dataclass(frozen=True, slots=True)
class LoadResult:
    """A load run.

    path: which way measured: 'epoll, kernel stamps' or 'epoll, own stamps', then 'TLS', 'tunnel',
    'real-time class' or 'nice -10'.
    gave_up: why the run was ended before its time; empty: it was not. raw: the raw files.
    """

    records: tuple[RequestRecord, ...]
    watch: SelfWatch
    ends: tuple[LoopEnd, ...]
    path: str
    gave_up: str
    raw: tuple[Path, ...]
    schema: int = LOAD_SCHEMA


def _check(plan: LoadPlan, shards: int, cpus: Sequence[int]) -> None:
    if not plan.asks:
        raise UsageError("the load has no requests; give at least one")
    if plan.concurrency is not None and plan.concurrency < 1:
        raise UsageError(f"concurrency: found {plan.concurrency}, expected 1 or more, or none for no limit")
    if not 0 <= plan.warmup < len(plan.asks):
        raise UsageError(f"warmup: found {plan.warmup} of {len(plan.asks)} requests; leave at least one to count")
    if shards < 1 or (cpus and len(cpus) < shards):
        raise UsageError(f"shards: found {shards} with {len(cpus)} cores; expected a core for each, or none named")
    if plan.concurrency is None and any(ask.due_s is None for ask in plan.asks):
        raise UsageError("a load without a concurrency needs a due time for each request; give one or the other")
    if any(ask.due_s is not None and not 0 <= ask.due_s < 1e7 for ask in plan.asks):  # noqa: PLR2004 - ns in 64 bits
        raise UsageError("due_s: found a time that is negative, infinite or none; expected seconds after the start")


def _job_ask(index: int, ask: Ask, target: Target, plan: LoadPlan) -> JobAsk:
    asked = Asked(
        ask.input_tokens,
        ask.output_tokens,
        is_count_fixed=_is_count_fixed(ask.body),
        is_scheduled=ask.due_s is not None,
        is_warmup=index < plan.warmup,
    )
    due_ns = None if ask.due_s is None else round(ask.due_s * 1e9)
    largest = answer_bytes(ask.body, ask.input_tokens, ask.output_tokens)
    return JobAsk(index, msgspec.Raw(encode(target.body(ask.body))), asked, due_ns, largest)


def _is_count_fixed(body: Mapping[str, Any]) -> bool:
    return body.get("ignore_eos") is True
