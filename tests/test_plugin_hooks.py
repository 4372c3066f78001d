"""What a conftest.py adds to a run by hooks; a backend that a package brings."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from conftest import Project
from fake_engine import FakeBackend
from perfgate import engines
from perfgate.errors import UsageError
from perfgate.extras import checked
from perfgate.metrics import Better, Kind, Metric
from perfgate.record import RUN_SCHEMA, Run, Side, read_record

CONFTEST = """
from perfgate.metrics import Better, Kind, Metric

def pytest_perfgate_metrics(config):
    return [Metric("itl_range", "s", Better.LOWER, Kind.NOISY, 0.5, 2.0, "longest less shortest ITL", ("latency",))]

def pytest_perfgate_figures(config, case, measured):
    itl = measured.samples.get("itl", ())
    return {"itl_range": max(itl) - min(itl)} if itl else None

def pytest_perfgate_machine_info(config, info):
    info["rack"] = "B7"

def pytest_perfgate_report(config, run, comparison, out):
    (out / "mine.txt").write_text(f"{comparison.verdict}\\n")
    return [out / "mine.txt"]
"""


def test_metrics_machine_and_reports_of_a_conftest(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project(edit=lambda text: text.replace("    engine_bytes: {}", "    engine_bytes: {}\n    itl_range: {}"))
    pytester.makeconftest(CONFTEST)

    found = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-k", "latency", "--perfgate-rounds", "1")

    found.stdout.fnmatch_lines(["perfgate: device *, rack B7", "recorded *one-b1*itl_range*", "reports: *mine.txt*"])
    run = read_record(pytester.path / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    assert len(run.values("one-b1", "itl_range", Side.CANDIDATE)) == 1
    assert run.environment.machine == {"rack": "B7"}
    assert (pytester.path / "perfgate-out" / "mine.txt").read_text() == "no-baseline\n"


def test_metrics_that_cannot_be_are_refused_at_once() -> None:
    twice = Metric("a_s", "s", Better.LOWER, Kind.NOISY, 0.1, 0.2, "")
    wrong = Metric("A s", "s", Better.LOWER, Kind.PAIRED, 0.3, 0.2, "")
    known = Metric("ttft_p50", "s", Better.LOWER, Kind.NOISY, 0.1, 0.2, "")

    with pytest.raises(UsageError) as refused:
        checked([twice, twice, wrong, known])

    assert str(refused.value).splitlines() == [
        "metrics that cannot be:",
        "  a_s: given twice",
        "  A s: expected a name of small letters, digits and '_'",
        "  A s: only perplexity is judged on pairs of texts; expected noisy or exact",
        "  A s: detect 20.000 % is below margin 30.000 %",
        "  ttft_p50: perfgate has a metric of this name; choose another",
    ]


def test_a_backend_is_found_by_its_packages_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = EntryPoint("mine", "fake_engine:FakeBackend", engines.ENTRY_POINTS)
    ours = EntryPoint("openvino", "somebody:Else", engines.ENTRY_POINTS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [mine, ours] if group == mine.group else [])

    assert isinstance(engines.backend("mine"), FakeBackend)
    assert engines.installed_backends() == {"mine": "fake_engine:FakeBackend"}  # nobody takes the place of ours
