"""The composite action and the workflows: their shell steps run for real, their permissions and pins are read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

from conftest import Project

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DEFAULTS = {name: given.get("default", "") for name, given in ACTION["inputs"].items()}
USAGE_ERROR = 4
PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}$")


def _steps(plain: Any) -> list[dict[str, Any]]:
    jobs = plain.get("jobs", {"action": plain.get("runs")})
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("path", [ROOT / "action.yml", *WORKFLOWS], ids=lambda path: path.name)
def test_every_foreign_action_is_pinned_to_a_commit(path: Path) -> None:
    used = [step["uses"] for step in _steps(yaml.safe_load(path.read_text())) if "uses" in step]

    assert used
    assert [name for name in used if name != "./" and not PINNED.match(name)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_do_nothing_by_default_and_never_run_forks_with_secrets(path: Path) -> None:
    plain = yaml.safe_load(path.read_text())

    assert plain["permissions"] == {}
    assert "pull_request_target" not in plain[True]  # YAML 1.1 reads the key 'on' so
    if any("self-hosted" in job["runs-on"] for job in plain["jobs"].values()):
        assert "pull_request" not in plain[True]


@pytest.mark.parametrize("path", [ROOT / "action.yml", *WORKFLOWS], ids=lambda path: path.name)
def test_nothing_from_outside_is_put_into_a_script(path: Path) -> None:
    for step in _steps(yaml.safe_load(path.read_text())):
        assert "${{" not in step.get("run", "")
        assert "${{" not in step.get("with", {}).get("script", "")


class Runner:
    """A GitHub runner as far as the action's shell steps see one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary, self.output = folder / "step-summary", folder / "step-output"

    def run(self, name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        """One step of the action with these inputs."""
        (step,) = [step for step in _steps(ACTION) if step["name"] == name]
        given = DEFAULTS | {"python": sys.executable} | inputs
        wanted = {
            key: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: given[m[1]], text) for key, text in step["env"].items()
        }
        files = {"GITHUB_STEP_SUMMARY": str(self.summary), "GITHUB_OUTPUT": str(self.output)}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]  # as GitHub starts it
        return subprocess.run(
            command, cwd=self.folder, env={**os.environ, **wanted, **files}, capture_output=True, text=True, check=False
        )


def test_a_red_gate_fails_the_step_and_tells(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()
    (pytester.path / "perf_tests").mkdir()
    (pytester.path / "test_gate.py").rename(pytester.path / "perf_tests" / "test_gate.py")
    runner = Runner(pytester.path)
    usual = {"suite": "suite.yaml", "policy": "local"}

    recorded = runner.run("Gate", **usual, args="-k\nlatency")
    red = runner.run("Gate", **usual, args="--perfgate-inject=decode=1.5\n\n-k\nlatency\n")
    told = runner.run("Tell", **usual)

    assert (recorded.returncode, red.returncode, told.returncode) == (0, 1, 0)
    assert "REGRESSED" in runner.summary.read_text()
    assert runner.output.read_text() == "failed=1\n"
    assert (pytester.path / "perfgate-out" / "junit.xml").exists()


def test_tests_with_figures_of_their_own_alone_are_told(tmp_path: Path) -> None:
    (tmp_path / "perf_tests").mkdir()
    (tmp_path / "perf_tests" / "test_own.py").write_text(
        "def test_own(perfgate_gate):\n"
        "    for _ in perfgate_gate.rounds():\n"
        '        perfgate_gate.record("pace_s", 1.0, unit="s", better="lower")\n'
    )
    runner = Runner(tmp_path)

    strict = runner.run("Gate", suite="", policy="ci")  # there is no baseline
    told = runner.run("Tell")

    assert (strict.returncode, told.returncode) == (1, 0), strict.stdout + strict.stderr
    assert "pace_s" in runner.summary.read_text()
    assert runner.output.read_text() == "failed=1\n"


def test_what_an_earlier_run_left_is_not_told_and_no_shell_reads_the_options(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    (tmp_path / "perfgate-out").mkdir()
    (tmp_path / "perfgate-out" / "comparison.json").write_text('{"cases": []}')

    wrong = runner.run("Gate", suite="nowhere.yaml", args="-k\n$(touch broken-in) `touch broken-in`; touch broken-in")
    told = runner.run("Tell")

    assert wrong.returncode == USAGE_ERROR, wrong.stderr
    assert not (tmp_path / "broken-in").exists()
    assert told.returncode == 0
    assert "judged nothing" in runner.summary.read_text()


NODE = """
const [script, summary] = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.chdir(summary);
const said = [];
const old = process.env.OLD ? [{ id: 7, body: process.env.OLD }] : [];
const issues = {
  listComments: "list",
  createComment: async (one) => { if (process.env.FORK) throw { status: 403 }; said.push(["new", one.body]); },
  updateComment: async (one) => said.push(["edit", one.comment_id, one.body]),
};
const github = { paginate: async () => old, rest: { issues } };
const context = { repo: { owner: "o", repo: "r" }, serverUrl: "https://host", runId: 3, issue: { number: 5 } };
const core = { notice: (text) => said.push(["notice", text]) };
const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor;
new AsyncFunction("github", "context", "core", "require", script)(github, context, core, require)
  .then(() => console.log(JSON.stringify(said)));
"""


@pytest.mark.skipif(which("node") is None, reason="needs node, as GitHub's runners have")
@pytest.mark.parametrize(
    ("more", "first"),
    [
        ({}, "new"),
        ({"OLD": "<!-- perfgate suite.yaml --> of yesterday"}, "edit"),
        ({"OLD": "what a person said"}, "new"),
        ({"FORK": "1"}, "notice"),
    ],
)
def test_one_comment_a_suite_is_kept_up_to_date(tmp_path: Path, more: dict[str, str], first: str) -> None:
    (tmp_path / "out" / "own-tests").mkdir(parents=True)
    (tmp_path / "out" / "summary.md").write_text("## RED\n\n<details>everything</details>")
    (tmp_path / "out" / "own-tests" / "summary.md").write_text("## green: own\n\n<details>all of it</details>")
    (step,) = [step for step in _steps(ACTION) if step["name"].startswith("Comment")]

    done = subprocess.run(
        ["node", "-e", NODE],
        input=json.dumps([step["with"]["script"], str(tmp_path)]),
        env={**os.environ, "OUT": "out", "SUITE": "suite.yaml", **more},
        capture_output=True,
        text=True,
        check=True,
    )

    (said,) = json.loads(done.stdout)
    assert said[0] == first
    if first != "notice":
        assert said[-1].startswith("<!-- perfgate suite.yaml -->\n## RED\n")
        assert "\n\n## green: own\n" in said[-1]
        assert "everything" not in said[-1]
        assert "all of it" not in said[-1]
        assert said[-1].endswith("(https://host/o/r/actions/runs/3)")
