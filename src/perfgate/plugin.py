"""pytest hooks: options, cases as parameters, the gate before the first test, verdicts as outcomes.

Importing this module imports the standard library and pytest only; everything else is imported
when a test asks for `perfgate_case` or another of our fixtures.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.settings import SETTINGS

if TYPE_CHECKING:
    from perfgate.case import Case
    from perfgate.claim_pairs import ClaimCase
    from perfgate.own_gate import OwnGate
    from perfgate.pytest_own import EngineMaker
    from perfgate.pytest_quantise import PytestQuantise, Quantisation
    from perfgate.pytest_session import PytestSession
    from perfgate.pytest_sweep import PytestSweep, Tradeoff
    from perfgate.pytest_verdicts import Beside, Claimed, Judged
    from perfgate.sweep import Configuration

COLUMNS = pytest.StashKey[int]()  # of the terminal; 80 where there is none

# What only a command line can ask for: it is meant once.
_ONCE: list[tuple[str, str]] = [
    ("reason", "why --perfgate-update accepts this run; kept in the baseline"),
    ("expires", "when the baseline that --perfgate-update writes expires: 90d or a date (default: never)"),
]
_JUDGED = ("perfgate_case", "perfgate_claim_check")  # what a gate measures for a test, by the fixture that it asks for
_GATING = (*_JUDGED, "perfgate_gate")  # what makes a test a part of a gate
_SWEPT, _QUANTISED = "perfgate_configuration", "perfgate_quantised_engine"
_SUBJECTS = (*_JUDGED, _SWEPT, _QUANTISED)  # what is a suite's
_FLAGS: list[tuple[str, str]] = [
    ("update", "accept this run as the reviewed baseline (needs --perfgate-reason)"),
    ("only-new", "let --perfgate-update accept only cases that have no baseline yet"),
    ("plan", "list cases, skips and estimated time, and run nothing"),
    ("rebuild", "prepare every engine anew instead of taking it from the cache"),
]
_OWN = ("perfgate_gate", "perfgate_engine")  # gates of a test's own
_FIXTURES = (*_SUBJECTS, *_OWN)  # what makes a test one of ours


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("perfgate", "performance regression gates for LLM inference engines")
    for one in SETTINGS.values():
        more = f" (default: {one.default})" if one.default else ""
        places = f"; also {one.variable}, the ini option perfgate_{one.key}, or {one.key} under [tool.perfgate]"
        if one.is_flag:
            group.addoption(one.option, action="store_true", help=f"{one.help}{places}")
        else:
            group.addoption(one.option, help=f"{one.help}{more}{places}", metavar=one.name.upper())
        parser.addini(f"perfgate_{one.key}", f"{one.help}{more}".replace("%%", "%"), default="")
    for name, text in _ONCE:
        group.addoption(f"--perfgate-{name}", help=text, metavar=name.upper())
    for name, text in _FLAGS:
        group.addoption(f"--perfgate-{name}", action="store_true", help=text)
    group.addoption(
        "--perfgate-inject",
        action="append",
        default=[],
        metavar="WHAT=RATIO",
        help="plant a regression to see the gate find it: decode=1.25 (decoding takes 25%% longer, by a real wait in "
        "the engine process), perplexity=1.05 (noise on logits), graphs=off (CUDA graphs); repeatable",
    )


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from perfgate import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "perfgate(kind): gets the suite's cases of this kind: build, latency, perplexity, serving; backends: what a "
        "suite compares with its reference",
    )
    config.addinivalue_line(
        "markers",
        "perfgate_xfail(reason, expires, case='*'): the test is expected to fail until the day `expires` "
        "('2027-01-31'), and fails from then on whatever it does; case: only for cases whose id fits this glob",
    )
    config.stash[COLUMNS] = shutil.get_terminal_size().columns  # while a test runs, its output is captured
    config.pluginmanager.register(_Reports(config), "perfgate_reports")


def _session(config: pytest.Config) -> PytestSession:
    """Perfgate's side of this pytest session, made when the first test asks for a case."""
    from perfgate.pytest_session import SESSION, PytestSession

    if SESSION not in config.stash:
        config.stash[SESSION] = PytestSession(config, is_ci=bool(os.environ.get("CI")))
    return config.stash[SESSION]


def _sweep(config: pytest.Config) -> PytestSweep:
    """The same of the suite's sweep, made when the first test asks for a configuration."""
    from perfgate.pytest_sweep import SWEEP, PytestSweep

    if SWEEP not in config.stash:
        config.stash[SWEEP] = PytestSweep(_session(config), config)
    return config.stash[SWEEP]


def _quantise(config: pytest.Config) -> PytestQuantise:
    """The same of quantising, made when the first test asks for a quantised engine."""
    from perfgate.pytest_quantise import QUANTISE, PytestQuantise

    if QUANTISE not in config.stash:
        config.stash[QUANTISE] = PytestQuantise(_session(config))
    return config.stash[QUANTISE]


def _is_used(config: pytest.Config) -> bool:
    """Whether a test asked for anything of ours, so that there is a session; nothing is imported to find out."""
    if "perfgate.pytest_session" not in sys.modules:
        return False
    from perfgate.pytest_session import SESSION

    return SESSION in config.stash


def _with(items: Sequence[pytest.Item], *fixtures: str) -> list[pytest.Item]:
    """The tests that ask for one of these fixtures."""
    return [item for item in items if not set(fixtures).isdisjoint(getattr(item, "fixturenames", ()))]


# ---------------------------------------------------------------------- collecting


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per case of the marked kind, per configuration of the sweep, per engine to quantise."""
    if _QUANTISED in metafunc.fixturenames:
        metafunc.parametrize(_QUANTISED, _quantise(metafunc.config).engines)
    if "perfgate_configuration" in metafunc.fixturenames:
        found = _sweep(metafunc.config).configurations
        metafunc.parametrize("perfgate_configuration", found, ids=[one.name for one in found])
    if "perfgate_case" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("perfgate")
        kind = str(marker.args[0]) if marker and marker.args else None
        cases = _session(metafunc.config).cases_of(kind)
        if cases:
            metafunc.parametrize("perfgate_case", cases, ids=[case.id for case in cases])
        else:
            why = pytest.mark.skip(reason=f"the suite has no {kind or 'case'} cases")
            metafunc.parametrize("perfgate_case", [pytest.param(None, marks=why)], ids=["none"])
    if "perfgate_claim_check" in metafunc.fixturenames:
        checks = _session(metafunc.config).claims
        metafunc.parametrize("perfgate_claim_check", checks, ids=[check.id for check in checks])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Report what is wrong with the suite, the options or an expected failure, before anything runs.

    Tests of a sweep or of quantising are left out where the suite has no such section.
    """
    if any(item.get_closest_marker("perfgate_xfail") for item in items):
        from perfgate.pytest_xfail import expect_failures

        expect_failures(items)
    if _with(items, *_FIXTURES):
        _session(config).check(needs_suite=bool(_with(items, *_SUBJECTS)))
    if (swept := _with(items, _SWEPT)) and not _sweep(config).configurations:
        _leave_out(config, items, swept)
    if (quantised := _with(items, _QUANTISED)) and not _quantise(config).engines:
        _leave_out(config, items, quantised)


def _leave_out(config: pytest.Config, items: list[pytest.Item], some: list[pytest.Item]) -> None:
    items[:] = [item for item in items if item not in some]
    config.hook.pytest_deselected(items=some)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """The selection is known: how many tests have a gate of their own, and what a worker's controller measures."""
    if _with(session.items, *_FIXTURES):
        mine = _session(session.config)
        mine.own_tests = len(_with(session.items, "perfgate_gate"))
        mine.tell_controller(session.items, needs_suite=bool(_with(session.items, *_SUBJECTS)))


# ---------------------------------------------------------------------- running


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse at once what workers of pytest-xdist would each do, or not at all."""
    config = session.config
    if config.pluginmanager.hasplugin("dsession"):
        from perfgate.pytest_shared import refuse_workers

        names = ("update", "plan")
        refuse_workers(config, [f"--perfgate-{name}" for name in names if config.getoption(f"perfgate_{name}")])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """In the controller of pytest-xdist: measure and judge what its workers selected, before they run a test."""
    from perfgate.pytest_shared import Exchange

    exchange = Exchange(node.workerinput)
    if (selection := exchange.selection()) is not None:
        _session(node.config).measure_for(exchange, selection)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Measure and judge every selected case and configuration, then let the tests tell."""
    is_to_run = not session.config.option.collectonly and not session.testsfailed
    if _with(session.items, *_FIXTURES) and is_to_run and not hasattr(session.config, "workerinput"):
        if session.config.getoption("perfgate_plan"):
            _print_plan(session.config, session.items)
            session.items.clear()
        else:
            _run(session)
    return (yield)


def _print_plan(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    if (cases := _with(items, *_JUDGED)) or _with(items, *_OWN):
        _session(config).print_plan(cases, _with(items, *_OWN))
    if swept := _with(items, _SWEPT):
        _sweep(config).print_plan(swept)
    if quantised := _with(items, _QUANTISED):
        _quantise(config).print_plan(quantised)


def _run(session: pytest.Session) -> None:
    """Where a signal stops the gate, the tests of its cases tell what was measured, and no other test begins."""
    config, items = session.config, session.items
    if cases := _with(items, *_JUDGED):
        mine = _session(config)
        mine.run(cases)
        if mine.is_stopped:
            items[:] = cases
            return
    if swept := _with(items, _SWEPT):
        _sweep(config).run(swept)
        if _session(config).is_stopped:
            items[:] = swept
            return
    if quantised := _with(items, _QUANTISED):
        _quantise(config).run(quantised)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A signal stops a test with figures or engines of its own, wherever it stands."""
    if not _with([item], *_OWN):
        return (yield)
    from perfgate.pytest_own import stoppable

    with stoppable(_session(item.config).own):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A gate of the test's own is judged as the last thing of its call; an expired xfail fails."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        if item.get_closest_marker("perfgate_xfail"):
            from perfgate.pytest_xfail import fails_if_expired

            stack.enter_context(fails_if_expired(item))
        if (gate := getattr(item, "funcargs", {}).get("perfgate_gate")) is not None:
            from perfgate.pytest_own import concluded

            stack.enter_context(concluded(item, gate, _session(item.config).own))
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a gate of the test's own found travels with its report, from workers to their controller too."""
    report = yield
    names = set(getattr(item, "fixturenames", ()))
    if not names.isdisjoint(_GATING):
        report.perfgate_could_fail = _could_fail(report)  # type: ignore[attr-defined] # as pytest keeps what is added
        if (case := _case_of(item)) and (report.failed or hasattr(report, "wasxfail")):
            report.perfgate_told = case.id  # type: ignore[attr-defined]
    if "perfgate_gate" in names:
        from perfgate.pytest_own import attach

        attach(item, report)
    return report


def _could_fail(report: pytest.TestReport) -> bool:
    """Whether a test was judged: it failed, or passed where it might have failed; xfail and skip tell nothing."""
    return report.failed or (report.when == "call" and report.passed and not hasattr(report, "wasxfail"))


def _case_of(item: pytest.Item) -> Case | None:
    """The case that a test is about."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    return params.get("perfgate_case")


# ---------------------------------------------------------------------- fixtures


@pytest.fixture
def perfgate_case(request: pytest.FixtureRequest) -> Case:
    """The case under test, one of the suite's: engine spec and workload."""
    case: Case = request.param
    return case


@pytest.fixture
def perfgate_verdict(perfgate_case: Case, request: pytest.FixtureRequest) -> Judged:
    """The verdict on the case; skips where nothing was judged; `assert_ok()` fails unless it passed."""
    return _session(request.config).verdict(perfgate_case, request)


@pytest.fixture
def perfgate_beside(perfgate_case: Case, request: pytest.FixtureRequest) -> Beside:
    """The case's load results beside the reference's; `assert_comparable()` fails unless both have valid ones."""
    beside = _session(request.config).beside(perfgate_case)
    request.node.user_properties.extend(beside.properties)
    return beside


@pytest.fixture
def perfgate_claim_check(request: pytest.FixtureRequest) -> ClaimCase:
    """The check of a claim of the field, with the two cases that it is made on."""
    check: ClaimCase = request.param
    return check


@pytest.fixture
def perfgate_claim(perfgate_claim_check: ClaimCase, request: pytest.FixtureRequest) -> Claimed:
    """What became of a claim here; skips where it cannot be tested; `assert_holds()` passes where it holds."""
    claimed = _session(request.config).claimed(perfgate_claim_check)
    request.node.user_properties.extend(claimed.properties)
    return claimed


@pytest.fixture(scope="session")
def perfgate_engine(request: pytest.FixtureRequest) -> EngineMaker:
    """Builds engines: `perfgate_engine("int8")` of the suite, or `perfgate_engine(backend=..., model=...)`.

    `.run(function)` calls a function of yours with the engine loaded, in a fresh process.
    """
    from perfgate.pytest_own import EngineMaker

    return EngineMaker(_session(request.config).own)


@pytest.fixture
def perfgate_gate(request: pytest.FixtureRequest) -> OwnGate:
    """Gates figures of your own: `for _ in perfgate_gate.rounds(): perfgate_gate.record(name, value, ...)`.

    The test fails where they got worse than the baseline.
    """
    from perfgate.pytest_own import open_gate

    return open_gate(request, _session(request.config).own)


@pytest.fixture
def perfgate_configuration(request: pytest.FixtureRequest) -> Configuration:
    """The configuration of the sweep under test: its engine spec, and its values of the axes."""
    configuration: Configuration = request.param
    return configuration


@pytest.fixture
def perfgate_tradeoff(perfgate_configuration: Configuration, request: pytest.FixtureRequest) -> Tradeoff:
    """What the sweep measured of the configuration; `assert_measured()` fails where it failed."""
    tradeoff = _sweep(request.config).tradeoff(perfgate_configuration)
    request.node.user_properties.extend(tradeoff.properties)
    return tradeoff


@pytest.fixture
def perfgate_quantised_engine(request: pytest.FixtureRequest) -> str:
    """The name of the engine to quantise."""
    return str(request.param)


@pytest.fixture
def perfgate_quantised(perfgate_quantised_engine: str, request: pytest.FixtureRequest) -> Quantisation:
    """What quantising the engine came to; `assert_accepted()` fails where it loses too much."""
    found = _quantise(request.config).of(perfgate_quantised_engine)
    request.node.user_properties.extend(found.properties)
    return found


# ---------------------------------------------------------------------- the end


class _Reports:
    """Keeps what reports carry, in the process that ends the session: alone, or the controller of workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._carrying: dict[str, pytest.TestReport] = {}
        self._gating: dict[str, bool] = {}  # tests of gates, and whether they could have failed
        self._told: set[str] = set()  # ids of cases of which a test failed, or was expected to

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "perfgate_could_fail"):
            self._gating[report.nodeid] = self._gating.get(report.nodeid, False) or report.perfgate_could_fail
        if hasattr(report, "perfgate_told"):
            self._told.add(report.perfgate_told)
        if hasattr(report, "perfgate_own"):
            self._carrying[report.nodeid] = report  # a test that is run again counts as it ended last

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Tests' own figures become one run; what belongs to no test reddens the session."""
        if hasattr(self._config, "workerinput"):
            return
        if self._carrying or (_is_used(self._config) and _session(self._config).has_cut_off):
            _session(self._config).finish_own(list(self._carrying.values()))
        if _is_used(self._config):
            is_idle = bool(self._gating) and not any(self._gating.values())
            session.exitstatus = _session(self._config).exit_status(session.exitstatus, self._told, is_idle=is_idle)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The closing table."""
    if _is_used(config):
        _session(config).print_summary(terminalreporter)
    if "perfgate.pytest_sweep" in sys.modules:
        _sweep(config).print_summary(terminalreporter)
    if "perfgate.pytest_quantise" in sys.modules:
        _quantise(config).print_summary(terminalreporter)
