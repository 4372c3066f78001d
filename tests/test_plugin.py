"""The plugin in real pytest runs, on the fake engine: outcomes, exit codes, files, options."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import Project
from perfgate.baselines import find_baseline
from perfgate.device import find_device
from perfgate.leases import Wait, leased, places
from perfgate.record import RUN_SCHEMA, Run, Side, read_record

USAGE_ERROR = 4
OURS = {
    "perfgate.entry",
    "perfgate.plugin",
    "perfgate.settings",
    "perfgate.hookspecs",
}  # what every pytest session imports of us


def _gate(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *args)


def test_the_first_run_records_and_the_second_judges(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()

    first, second = _gate(pytester), _gate(pytester)

    first.assert_outcomes(skipped=3)
    first.stdout.fnmatch_lines(["*recorded 3 cases in *nothing judged yet: run again*"])
    assert first.ret == 0
    second.assert_outcomes(passed=3)
    assert second.ret == 0


@pytest.mark.usefixtures("recorded_project")
def test_a_planted_slowdown_is_red_and_names_case_metric_and_size(pytester: pytest.Pytester) -> None:
    red = _gate(pytester, "--perfgate-inject", "decode=1.5")

    red.assert_outcomes(passed=2, failed=1)
    assert red.ret == 1
    red.stdout.fnmatch_lines(
        ["*PLANTED REGRESSION: decode x1.5*", "*one-b1: regressed*", "*itl_p10: regressed, * % worse*"]
    )


def test_a_planted_first_run_says_that_nothing_was_recorded(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()

    run = _gate(pytester, "-rs", "--perfgate-inject", "decode=1.5", "--perfgate-rounds", "1", "-k", "build")

    run.assert_outcomes(skipped=1, deselected=2)
    run.stdout.fnmatch_lines(["*next: run once without the planted regression*", "*no-baseline: *"])
    run.stdout.no_fnmatch_line("*run again*")


@pytest.mark.usefixtures("recorded_project")
def test_graphs_that_are_silently_off_are_red(pytester: pytest.Pytester) -> None:
    red = _gate(pytester, "--perfgate-inject", "graphs=off", "-k", "latency")

    red.assert_outcomes(failed=1, deselected=2)
    red.stdout.fnmatch_lines(["*PLANTED REGRESSION: graphs off*", "*itl_p10: regressed, * % worse*"])


def test_graphs_are_not_planted_where_no_engine_can_have_them(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    small_project(edit=lambda text: text.replace("step_us: 400", "refuse: no GPU"))

    run = _gate(pytester, "--perfgate-inject", "graphs=off")

    assert run.ret == USAGE_ERROR
    run.stderr.fnmatch_lines(["*--perfgate-inject graphs=off: no engine of these cases can have CUDA graphs on *"])


@pytest.mark.usefixtures("recorded_project")
def test_a_planted_loss_of_quality_is_red(pytester: pytest.Pytester) -> None:
    red = _gate(pytester, "--perfgate-inject", "perplexity=1.3", "-k", "perplexity")

    red.assert_outcomes(failed=1, deselected=2)
    red.stdout.fnmatch_lines(["*perplexity: regressed, * % worse*", "*paired over 8 documents*"])


def test_in_ci_a_missing_baseline_fails(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()

    run = _gate(pytester, "--perfgate-policy", "ci", "--perfgate-rounds", "1")

    run.assert_outcomes(failed=3)
    run.stdout.fnmatch_lines(["*no baseline for this case on this device*"])


def test_the_variable_ci_chooses_the_policy(
    pytester: pytest.Pytester, small_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project()
    monkeypatch.setenv("CI", "true")

    assert _gate(pytester, "-k", "build").ret == 1


@pytest.mark.usefixtures("recorded_project")
def test_a_run_leaves_its_files(pytester: pytest.Pytester) -> None:
    names = {path.name for path in (pytester.path / "perfgate-out").iterdir()}
    assert {"run.json", "comparison.json", "comparison.csv", "summary.txt", "summary.md", "report.html"} <= names
    run = read_record(pytester.path / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    assert len(run.values("one-b1", "itl_p10", Side.CANDIDATE)) == 5


def test_rounds_are_fresh_processes_that_leave_nothing_behind(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    small_project()

    _gate(pytester, "--perfgate-rounds", "2")

    assert not _workers(pytester)
    assert not list((pytester.path / ".perfgate" / "journal").iterdir())


def test_an_unsupported_engine_is_a_skip_with_its_reason(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project("  two: {engine_args: {refuse: this chip has no such kernel}}")

    run = _gate(pytester, "-rs", "-k", "build")

    run.assert_outcomes(skipped=2, deselected=4)
    run.stdout.fnmatch_lines(["*not supported: this chip has no such kernel*"])


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("build", "*told to fail at 'build'*"),
        ("load", "*told to fail at 'load'*"),
        ("run", "*told to fail at 'run'*"),
        ("crash", "*ended with code -9*"),
    ],
)
def test_a_broken_engine_is_never_green(
    pytester: pytest.Pytester, small_project: Project, stage: str, words: str
) -> None:
    small_project(f"  bad: {{engine_args: {{fail: {stage}}}}}")

    run = _gate(pytester, "-k", "bad and latency")

    run.assert_outcomes(failed=1, deselected=5)
    run.stdout.fnmatch_lines([words])


def test_a_hung_engine_is_killed_and_never_green(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project(
        "  bad: {engine_args: {step_us: 60000000, sleep: true}}",
        edit=lambda text: text.replace("first_rounds: 3", "first_rounds: 1\n  round_timeout: 1s"),
    )

    run = _gate(pytester, "-k", "bad and latency", "--perfgate-rounds", "1")

    run.assert_outcomes(failed=1, deselected=5)
    run.stdout.fnmatch_lines(["*no end within 1 s: killed*"])


def test_all_faults_of_a_suite_are_one_usage_error(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project(edit=lambda text: text.replace("margin: 5%", "margn: 5%").replace("kind: build", "kind: biuld"))

    run = _gate(pytester)

    assert run.ret == USAGE_ERROR
    run.stderr.fnmatch_lines(
        ["*the suite has 2 faults:", "*suite.yaml:*did you mean 'build'?", "*suite.yaml:*margn*did you mean 'margin'?"]
    )
    run.stderr.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--perfgate-suite", "nowhere.yaml"], "*nowhere.yaml: cannot be read: No such file or directory*"),
        (["--perfgate-budget", "soon"], "*--perfgate-budget: found 'soon', expected*"),
        (["--perfgate-lease-wait", "soon"], "*--perfgate-lease-wait: found 'soon', expected*"),
        (["--perfgate-rounds", "0"], "*--perfgate-rounds: found '0', expected*"),
        (["--perfgate-policy", "lax"], "*--perfgate-policy: found 'lax', allowed: ci, local*"),
        (["--perfgate-inject", "decode=fast"], "*--perfgate-inject: found 'decode=fast', expected*"),
        (["--perfgate-inject", "ttft=2"], "*--perfgate-inject: found 'ttft=2', expected*"),
        (["--perfgate-update"], "*--perfgate-update needs --perfgate-reason*"),
    ],
)
def test_a_wrong_option_is_one_line_and_nothing_runs(
    pytester: pytest.Pytester, small_project: Project, args: list[str], words: str
) -> None:
    small_project()

    run = _gate(pytester, *args)

    assert run.ret == USAGE_ERROR
    run.stderr.fnmatch_lines([words])
    assert not (pytester.path / ".perfgate").exists()


def _recorded(pytester: pytest.Pytester) -> Path:
    found = find_baseline([pytester.path / ".perfgate" / "baselines"], find_device().key, "small")
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("schema", 99, "*has schema 99, this perfgate reads 1*"),
        ("device", "sm_90/h200-141gb", "*was measured on 'sm_90/h200-141gb', this device is*"),
        ("suite", "other", "*belongs to suite 'other', not 'small'*"),
        ("cases", {}, "*holds no case*"),
    ],
)
@pytest.mark.usefixtures("recorded_project")
def test_a_baseline_that_does_not_fit_is_a_usage_error(
    pytester: pytest.Pytester, field: str, value: object, words: str
) -> None:
    path = _recorded(pytester)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))

    run = _gate(pytester)

    assert run.ret == USAGE_ERROR
    run.stderr.fnmatch_lines([words])


@pytest.mark.usefixtures("recorded_project")
def test_a_damaged_baseline_is_a_usage_error(pytester: pytest.Pytester) -> None:
    path = _recorded(pytester)
    path.write_bytes(path.read_bytes()[:-40])

    run = _gate(pytester)

    assert run.ret == USAGE_ERROR
    run.stderr.fnmatch_lines(["*is damaged or not a perfgate file*"])


def test_a_gate_does_not_measure_beside_another_on_one_device(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    small_project()

    with leased(places(find_device(), []), Wait(0.0, print)):
        run = _gate(pytester, "--perfgate-lease-wait", "0s")

    assert run.ret == USAGE_ERROR
    run.stderr.fnmatch_lines([f"*{find_device().key} is measured on by pid {os.getpid()}'s gate, since *"])
    assert not (pytester.path / "perfgate-out").exists()


def test_a_missing_checkpoint_is_a_usage_error(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()
    (pytester.path / "model" / "weights").unlink()

    run = _gate(pytester)

    assert run.ret == USAGE_ERROR
    run.stderr.fnmatch_lines(["*engine 'one': no checkpoint in *the folder is empty*"])


@pytest.mark.usefixtures("recorded_project")
def test_a_damaged_cache_entry_is_built_again(pytester: pytest.Pytester) -> None:
    (entry,) = (pytester.path / ".perfgate" / "engines").glob("*/config.txt")
    entry.write_text("tampered")

    run = _gate(pytester, "--perfgate-rounds", "3")

    run.stdout.fnmatch_lines(["*prepared one in*"])
    assert "tampered" not in entry.read_text()


@pytest.mark.usefixtures("recorded_project")
def test_a_killed_run_resumes_without_measuring_again(pytester: pytest.Pytester) -> None:
    command = [sys.executable, "-m", "pytest", "-q", str(pytester.path)]
    child = subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.DEVNULL)
    journal = pytester.path / ".perfgate" / "journal" / "small@cpu.jsonl"
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert child.poll() is None
    child.kill()
    child.wait()
    whole = journal.read_bytes().count(b"\n") - 1

    run = _gate(pytester)

    run.stdout.fnmatch_lines([f"*resuming the run of *: {whole} round* already measured*"])
    run.assert_outcomes(passed=3)


@pytest.mark.usefixtures("recorded_project")
def test_a_killed_gate_leaves_no_process_behind(pytester: pytest.Pytester) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", str(pytester.path)], cwd=pytester.path, stdout=subprocess.DEVNULL
    )
    while not _workers(pytester):
        assert child.poll() is None

    child.kill()
    child.wait()

    deadline = time.monotonic() + 30
    while _workers(pytester) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _workers(pytester)


def _workers(pytester: pytest.Pytester) -> list[str]:
    """Measuring processes of this test's project."""
    listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if "perfgate.worker" in line and str(pytester.path) in line]


@pytest.mark.usefixtures("recorded_project")
def test_an_update_needs_a_run_whose_text_did_not_score_worse(pytester: pytest.Pytester) -> None:
    accepted = _gate(pytester, "--perfgate-update", "--perfgate-reason", "first", "--perfgate-rounds", "4")

    accepted.stdout.fnmatch_lines(["*accepted this run as the baseline in *baselines*small.json*"])
    found = find_baseline([pytester.path / "baselines"], find_device().key, "small")
    assert found is not None
    assert found[1].provenance.reason == "first"
    refused = _gate(
        pytester, "--perfgate-update", "--perfgate-reason", "no", "--perfgate-inject", "perplexity=1.5", "-k", "text"
    )
    assert refused.ret == USAGE_ERROR
    refused.stderr.fnmatch_lines(["*not accepted: one-text perplexity is regressed*"])


def test_the_plan_lists_cases_and_time_and_runs_nothing(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project("  two: {engine_args: {refuse: no such kernel}}")

    run = _gate(pytester, "--perfgate-plan")

    assert run.ret == 0
    run.stdout.fnmatch_lines(
        ["*one-b1 *latency *measure*", "*two-b1 *skip: no such kernel*", "*3 cases to measure, 3 skipped*"]
    )
    run.assert_outcomes()
    assert not (pytester.path / ".perfgate").exists()


def test_selection_limits_what_is_measured(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project("  two: {max_batch_size: 2}")

    _gate(pytester, "-k", "two-b1", "--perfgate-rounds", "1")

    run = read_record(pytester.path / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    assert [case.id for case in run.cases] == ["two-b1"]


def test_peak_memory_under_some_of_the_loads_is_not_green_and_not_remembered(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    small_project(
        edit=lambda text: text.replace("    engine_bytes: {}\n", "    engine_bytes: {}\n    peak_memory_bytes: {}\n")
    )
    once = ("--perfgate-rounds", "1")
    _gate(pytester, *once)

    part = _gate(pytester, "-k", "one-build", *once)
    strict = _gate(pytester, "-k", "one-build", "--perfgate-policy", "ci", *once)

    part.assert_outcomes(skipped=1)
    strict.assert_outcomes(failed=1)
    run = read_record(pytester.path / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    assert not run.values("one-build", "peak_memory_bytes", Side.CANDIDATE)
    assert run.values("one-build", "load_s", Side.CANDIDATE)
    why = "of a process under all loads of one, and one-b1 is left out"
    (case,) = json.loads((pytester.path / "perfgate-out" / "comparison.json").read_bytes())["cases"]
    told = {one["metric"]: (one["verdict"], one["reason"]) for one in case["metrics"]}
    assert told["peak_memory_bytes"] == ("invalid", f"not measured: {why}: select all of its cases")
    assert told["engine_bytes"][0] == "ok"


def test_what_failed_last_alone_is_measured_again_and_the_first_failure_ends_the_session(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    """Without a baseline all cases fail under the policy ci."""
    small_project("  two: {max_batch_size: 2}")
    options = ("--perfgate-policy", "ci", "--perfgate-rounds", "1")
    red = pytester.runpytest_subprocess(*options, "-k", "two-b1")

    again = pytester.runpytest_subprocess("--lf", *options)
    first = pytester.runpytest_subprocess("-x", *options, "-k", "build")

    red.assert_outcomes(failed=1, deselected=5)
    again.assert_outcomes(failed=1)
    assert "1 cases" in again.stdout.str()
    first.assert_outcomes(failed=1, deselected=4)


def test_collecting_runs_nothing(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()

    run = _gate(pytester, "--collect-only", "-q")

    run.stdout.fnmatch_lines(["*test_latency?one-b1?"])
    assert not (pytester.path / ".perfgate").exists()


def test_junit_files_carry_the_regression(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()

    _gate(pytester, "--perfgate-policy", "ci", "--junitxml", "out.xml", "-k", "build", "--perfgate-rounds", "1")

    text = (pytester.path / "out.xml").read_text()
    assert 'failures="1"' in text
    assert '<property name="perfgate_engine_bytes" value="no-baseline: ' in text
    assert "no baseline for this case on this device" in text


def test_without_a_suite_a_case_is_a_usage_error(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()
    pytester.makeini("[pytest]\n")

    run = _gate(pytester)

    assert run.ret == USAGE_ERROR
    run.stderr.fnmatch_lines(["*no suite: give --perfgate-suite FILE*"])


def test_without_a_suite_the_plugin_does_nothing(pytester: pytest.Pytester) -> None:
    loaded = "{name for name in sys.modules if name.startswith('perfgate.')}"
    pytester.makepyfile(f"import sys\ndef test_one():\n    assert {loaded} <= {OURS}\n")

    run = pytester.runpytest_subprocess()

    run.assert_outcomes(passed=1)
    run.stdout.no_fnmatch_line("perfgate*")


def test_help_shows_every_option(pytester: pytest.Pytester) -> None:
    run = pytester.runpytest_subprocess("--help")

    run.stdout.fnmatch_lines(["*--perfgate-suite=SUITE*", "*--perfgate-inject=WHAT=RATIO*", "*perfgate_suite*"])


def test_importing_the_plugin_imports_the_standard_library_and_pytest_only() -> None:
    code = "import sys, pytest; before = set(sys.modules); import perfgate.plugin; print(*(set(sys.modules) - before))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {name.partition(".")[0] for name in done.stdout.split()} <= {"perfgate", *sys.stdlib_module_names}
    assert set(done.stdout.split()) & {"perfgate.plugin"}


def test_the_benchmark_fixture_works_beside_perfgate(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()
    pytester.makepyfile(test_other="def test_speed(benchmark):\n    benchmark(sum, range(10))\n")

    run = _gate(pytester, "-k", "speed or build", "--perfgate-rounds", "1")

    run.assert_outcomes(passed=1, skipped=1, deselected=2)


def test_a_plan_with_a_budget_says_what_is_worth_it_and_how_to_ask_for_it(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    small_project()

    run = _gate(pytester, "--perfgate-plan", "--perfgate-budget", "35s")

    run.stdout.fnmatch_lines(
        [
            "within 35.0 s: 2 cases, about 33.3 s (a guess*",
            "left out: 1 case",
            "*takes 7 s, 2 s are left*",
            "pytest -k '?one-*",
        ]
    )
