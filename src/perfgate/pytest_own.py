"""Gates of tests' own figures as pytest sees them: a verdict at the end of the call, results carried by reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.errors import PerfgateError
from perfgate.hooked import machine_info, own_metrics
from perfgate.own_case import OwnCase
from perfgate.own_session import OwnSession
from perfgate.plugin import COLUMNS
from perfgate.pytest_verdicts import Judged, settle, subtests_of
from perfgate.record import decode, encode
from perfgate.stopping import ANEW, Stopped, stop_by_signals

if TYPE_CHECKING:
    from perfgate.own_engine import OwnEngine
    from perfgate.own_gate import OwnGate
    from perfgate.pytest_options import Asked
    from perfgate.suite import Suite

REPORT = "perfgate_own"  # the attribute of a test's report that carries its case to the process that ends the session
CASE = pytest.StashKey[OwnCase]()
SUBTESTS = pytest.StashKey[Any]()
Report = pytest.TestReport | pytest.CollectReport


def own_session(
    config: pytest.Config, asked: Asked, suite: Suite | None, tests: int, tell: Callable[[str], None]
) -> OwnSession:
    """What the gates of this process share."""
    with failing():
        return OwnSession(
            asked.options(), suite, asked.root, own_metrics(config), machine_info(config), tell, tests
        )  # fmt: skip


@contextmanager
def failing() -> Iterator[None]:
    """Our errors fail the test in one line, without a traceback."""
    try:
        yield
    except PerfgateError as exc:
        pytest.fail(f"perfgate: {exc}", pytrace=False)


@dataclass(frozen=True, slots=True)
class EngineMaker:
    """`perfgate_engine`: call it with the name of one of the suite's engines, or with the keys of an engine."""

    session: OwnSession

    def __call__(self, name: str = "engine", **fields: Any) -> OwnEngine:
        """The engine, from the cache or built now; nothing of it is loaded into this process.

        name: of the suite's engine; or, with fields, of a new one. fields: as under `engines` in a suite:
        `backend="openvino", model="models/small", precision="int8_wo"`; paths are relative to pytest's root.
        """
        with failing():
            return self.session.engine(name, fields)


@contextmanager
def stoppable(session: OwnSession) -> Iterator[None]:
    """A test of ours from set-up to tear-down: SIGTERM ends it as Ctrl-C does, and pytest's session with it.

    Raises:
        Stopped: a signal came.
    """
    with stop_by_signals() as stop:
        try:
            with stop.interrupts(anywhere=True):
                yield
        except Stopped as exc:
            assert stop.sign is not None
            session.stopped = f"stopped by {stop.sign.name}: nothing of this session is kept; {ANEW}"
            raise Stopped(session.stopped) from exc


def open_gate(request: pytest.FixtureRequest, session: OwnSession) -> OwnGate:
    """The gate of a test."""
    request.node.stash[SUBTESTS] = subtests_of(request)
    with failing():
        return session.gate_of(request.node.nodeid)


@contextmanager
def concluded(item: pytest.Item, gate: OwnGate, session: OwnSession) -> Iterator[None]:
    """The body of a test, and its verdict: the test fails in its call phase where its figures got worse."""
    try:
        with failing():
            yield
    except pytest.skip.Exception as exc:
        item.stash[CASE] = session.judge(gate.case(skip=str(exc) or "skipped by the test"))
        raise
    except Stopped:
        session.cut_off = session.judge(gate.case(fault="a signal stopped it"))
        raise
    except BaseException as exc:
        item.stash[CASE] = session.judge(gate.broken(exc))
        raise
    if gate.is_unused:
        fault = "nothing was recorded: take rounds with `for _ in perfgate_gate.rounds():` and record in each"
        item.stash[CASE] = session.judge(gate.broken(UnusedError(fault)))
        pytest.fail(f"perfgate: {fault}", pytrace=False)
    with failing():
        case = item.stash[CASE] = session.judge(gate.case())
    _settle(item, case, session)


class UnusedError(Exception):
    """A gate that was asked for and given nothing."""


def _settle(item: pytest.Item, case: OwnCase, session: OwnSession) -> None:
    assert case.verdict is not None
    verdict = Judged(case.verdict, session.policy, item.config.stash[COLUMNS], item.stash[SUBTESTS])
    item.user_properties.extend(verdict.properties)
    settle(case.verdict)
    verdict.assert_ok()


def attach(item: pytest.Item, report: pytest.TestReport) -> None:
    """Let a test's report carry its case: reports reach the controller of pytest-xdist as soon as they are made."""
    if report.when == "call" and (case := item.stash.get(CASE, None)) is not None:
        setattr(report, REPORT, encode(case).decode())


def carried(report: Report) -> OwnCase | None:
    """The case that a report carries."""
    text = getattr(report, REPORT, None)
    return decode(text.encode(), OwnCase, "a test's report") if isinstance(text, str) else None
