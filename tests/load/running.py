"""Run a load in this process: no start-up to wait for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fake_server import FakeServer, completion_bodies

from perfgate.load.ask import Ask, LoadPlan
from perfgate.load.job import Job, LoadResult
from perfgate.load.process import _own_start, send, summarise
from perfgate.load.request import RequestRecord
from perfgate.load.target import Route, Target, Timeouts

QUICK = Timeouts(connect_s=2, first_token_s=0.5, idle_s=0.3, total_s=1.5, run_s=20, give_up_after=1000)


def target(server: FakeServer, route: Route = Route.COMPLETIONS, **more: Any) -> Target:
    return Target(server.url, route, **{"timeouts": QUICK, **more})


def asks(count: int, tokens: int = 4, due_s: Sequence[float] | None = None) -> tuple[Ask, ...]:
    bodies = completion_bodies(count, tokens)
    return tuple(Ask(body, 3, tokens, due_s[at] if due_s else None) for at, body in enumerate(bodies))


def load(where: Target, plan: LoadPlan, folder: Path) -> LoadResult:
    job = Job.of(where, plan, folder / "load.raw")
    send(job, _own_start)
    return summarise([job], job.concurrency)


def one(server: FakeServer, folder: Path, tokens: int = 4, **more: Any) -> RequestRecord:
    """The record of a single request."""
    (record,) = load(target(server, **more), LoadPlan(asks(1, tokens), 1), folder).records
    return record
