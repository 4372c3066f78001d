"""pytest hooks: options, cases as parameters, the gate before the first test, verdicts as outcomes.

Importing this module imports the standard library and pytest only; everything else is imported
when a test asks for `perfgate_case`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from perfgate.case import Case
    from perfgate.pytest_session import Beside, Judged, PytestSession
    from perfgate.pytest_sweep import PytestSweep, Tradeoff
    from perfgate.sweep import Configuration

_OPTIONS: list[tuple[str, str | None, str]] = [
    ("suite", None, "suite file (YAML); also the ini option perfgate_suite"),
    ("baselines", "baselines", "folder of reviewed baselines, <device key>/<suite>.json below it (default: baselines)"),
    ("out", "perfgate-out", "folder for reports (default: perfgate-out)"),
    ("state", ".perfgate", "folder for engine cache, journal, logs and local baselines (default: .perfgate)"),
    ("policy", None, "what undecided cases do: ci or local (default: ci where the variable CI is set, else local)"),
    ("rounds", None, "measuring processes per engine and side: exactly this many (default: the suite's first to most)"),
    ("budget", None, "time for the whole gate, such as 90s, 4min or 2h (default: the suite's)"),
    ("reason", None, "why --perfgate-update accepts this run; kept in the baseline"),
    ("expires", None, "when the baseline that --perfgate-update writes expires: 90d or a date (default: never)"),
    ("waivers", None, "file of waivers (default: waivers.yaml in the folder of baselines)"),
]
_FLAGS: list[tuple[str, str]] = [
    ("update", "accept this run as the reviewed baseline (needs --perfgate-reason)"),
    ("only-new", "let --perfgate-update accept only cases that have no baseline yet"),
    ("plan", "list cases, skips and estimated time, and run nothing"),
    ("thorough", "judge for smaller changes (3 %% where the suite asks for 5 %%), with more rounds where needed"),
    ("rebuild", "prepare every engine anew instead of taking it from the cache"),
    ("rebuild-baseline", "install the packages that a baseline's engine was made with, to run it again beside ours"),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("perfgate", "performance regression gates for LLM inference engines")
    for name, default, text in _OPTIONS:
        group.addoption(f"--perfgate-{name}", default=default, help=text, metavar=name.upper())
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
    parser.addini("perfgate_suite", "suite file (YAML), relative to the root folder", default="")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "perfgate(kind): gets the suite's cases of this kind: build, latency, perplexity, serving; backends: what a "
        "suite compares with its reference",
    )


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


def _asking(items: list[pytest.Item], fixture: str) -> list[pytest.Item]:
    return [item for item in items if fixture in getattr(item, "fixturenames", ())]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per case of the marked kind; one per configuration of the sweep."""
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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Report what is wrong with suite or options before anything runs; leave out tests of a sweep that is not there."""
    swept = _asking(items, "perfgate_configuration")
    if swept or _asking(items, "perfgate_case"):
        _session(config).check()
    if swept and not _sweep(config).configurations:
        items[:] = [item for item in items if item not in swept]
        config.hook.pytest_deselected(items=swept)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Measure and judge every selected case and configuration, then let the tests tell."""
    config = session.config
    cases, swept = (_asking(session.items, name) for name in ("perfgate_case", "perfgate_configuration"))
    asked: list[tuple[PytestSession | PytestSweep, list[pytest.Item]]] = []
    asked += [(_session(config), cases)] if cases else []
    asked += [(_sweep(config), swept)] if swept else []
    if not config.option.collectonly and not session.testsfailed:
        is_plan = config.getoption("perfgate_plan")
        for one, items in asked:
            (one.print_plan if is_plan else one.run)(items)
        if is_plan and asked:
            session.items.clear()
    return (yield)


@pytest.fixture
def perfgate_case(request: pytest.FixtureRequest) -> Case:
    """The case under test: engine spec and workload."""
    case: Case = request.param
    return case


@pytest.fixture
def perfgate_verdict(perfgate_case: Case, request: pytest.FixtureRequest) -> Judged:
    """The verdict on the case; skips where nothing was judged; `assert_ok()` fails unless it passed."""
    judged = _session(request.config).verdict(perfgate_case)
    request.node.user_properties.extend(judged.properties)
    return judged


@pytest.fixture
def perfgate_beside(perfgate_case: Case, request: pytest.FixtureRequest) -> Beside:
    """The case's load results beside the reference's; `assert_comparable()` fails unless both have valid ones."""
    beside = _session(request.config).beside(perfgate_case)
    request.node.user_properties.extend(beside.properties)
    return beside


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


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A signal that the suite lets fail belongs to no test: it reddens the session."""
    if (
        "perfgate.pytest_session" in sys.modules
        and session.exitstatus == 0
        and _session(session.config).has_failed_signal
    ):
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The closing table."""
    if "perfgate.pytest_session" in sys.modules:
        _session(config).print_summary(terminalreporter)
    if "perfgate.pytest_sweep" in sys.modules:
        _sweep(config).print_summary(terminalreporter)
