"""Every file of a real gate, by its readers: schemas, pandas, pytest-benchmark, JUnit, trackers, GitHub's log."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from jsonschema import validate

from conftest import HERE, write_project
from perfgate.cli import EXIT_OK, EXIT_RED, EXIT_USAGE, main
from perfgate.json_schemas import json_schema

FURTHER = {
    "comparison-junit.xml", "comparison.png", "github-benchmark-smaller.json", "github-benchmark-bigger.json",
    "bencher.json",
}  # fmt: skip
BMF = {  # https://bencher.dev/bmf.json
    "type": "object",
    "patternProperties": {
        ".+": {
            "type": "object",
            "patternProperties": {
                ".+": {
                    "type": "object",
                    "properties": {name: {"type": "number"} for name in ("value", "lower_value", "upper_value")},
                    "required": ["value"],
                    "additionalProperties": False,
                }
            },
        }
    },
}


@dataclass(frozen=True)
class Gates:
    """A project whose first gate recorded a baseline, and a second one that is red, as in GitHub Actions."""

    root: Path
    red: subprocess.CompletedProcess[str]

    @property
    def out(self) -> Path:
        return self.root / "perfgate-out"

    @property
    def baseline(self) -> Path:
        (found,) = (self.root / ".perfgate" / "baselines").rglob("small.json")
        return found

    def perfgate(self, command: str, *args: str, out: Path) -> int:
        """Run a command on files of the project; none of it is waited for by a device."""
        paths = [str(self.root / arg) if arg.endswith(".json") else arg for arg in args]
        folders = {"baselines": self.root / ".perfgate" / "baselines", "state": out.parent / "no-state", "out": out}
        options = [f"--{name}={path}" for name, path in folders.items()]
        return main([command, *paths, *options, f"--suite={self.root / 'suite.yaml'}", "--policy=local"])


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Gates:
    root = tmp_path_factory.mktemp("gates")
    write_project(root, edit=lambda suite: suite.replace("requests: 16", "requests: 8"))
    ours = ("CI", "GITHUB_ACTIONS", "PYTEST_XDIST")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {"COLUMNS": "160"}
    env["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [env.get("PYTHONPATH")])])

    def gate(*options: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--perfgate-rounds=1", *options]
        return subprocess.run(command, cwd=root, env=env | more, capture_output=True, text=True, check=False)

    gate(f"--perfgate-out={root / 'first'}")
    asked = ("--perfgate-format=junit,png,github-action-benchmark,bencher", "--junitxml=j.xml")
    github = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(root)}
    return Gates(root, gate("--perfgate-inject=perplexity=1.5", *asked, **github))


def test_the_files_are_told_and_there(gates: Gates) -> None:
    assert gates.red.returncode == 1, gates.red.stdout
    assert {path.name for path in gates.out.iterdir()} >= FURTHER | {"run.json", "comparison.csv"}
    assert "comparison-junit.xml, comparison.png" in gates.red.stdout


@pytest.mark.parametrize("kind", ["run", "comparison"])
@pytest.mark.parametrize("folder", ["first", "perfgate-out"])
def test_records_are_as_their_schema_says(gates: Gates, folder: str, kind: str) -> None:
    validate(json.loads((gates.root / folder / f"{kind}.json").read_text()), json_schema(kind))


def test_a_baseline_is_as_its_schema_says(gates: Gates) -> None:
    validate(json.loads(gates.baseline.read_text()), json_schema("baseline"))


def test_pandas_reads_the_tables_in_one_line(gates: Gates) -> None:
    table = pd.read_csv(gates.out / "comparison.csv")
    quality = pd.read_csv(gates.out / "quality.csv")

    assert set(table["case"]) == {"one-build", "one-b1", "one-text"}
    assert set(table.loc[table["verdict"] == "regressed", "metric"]) == {"perplexity"}
    ungated = table[table["reason"] == "not gated"]
    assert {"tpot_p50", "output_tokens_per_s"} <= set(ungated["metric"])
    assert (ungated["candidate"].notna() & ungated["unit"].notna()).all()
    assert set(quality["case"]) == {"one-text"}


def test_the_compare_command_of_pytest_benchmark_sets_two_gates_side_by_side(gates: Gates) -> None:
    files = [str(gates.root / folder / "benchmark.json") for folder in ("first", "perfgate-out")]
    command = [sys.executable, "-m", "pytest_benchmark", "compare", *files, "--group-by=name"]

    done = subprocess.run(command, cwd=gates.root, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^one-b1\[itl_p10\] \(", done.stdout, re.MULTILINE)) == 2, done.stdout


def test_junit_files_tell_what_pytest_tells(gates: Gates) -> None:
    ours = ET.fromstring((gates.out / "comparison-junit.xml").read_text())[0]  # noqa: S314 - our own
    theirs = ET.fromstring((gates.root / "j.xml").read_text())[0]  # noqa: S314

    assert _failed(ours) == _failed(theirs) == {"one-text"}
    counts = ("tests", "failures", "skipped", "errors")
    assert [ours.get(name) for name in counts] == [theirs.get(name) for name in counts]
    said, told = ({(one.get("name"), one.get("value")) for one in file.iter("property")} for file in (ours, theirs))
    assert said == told
    assert str(dict(said)["perfgate_perplexity"]).startswith("regressed: ")


def _failed(suite: ET.Element) -> set[str]:
    names = [str(test.get("name")) for test in suite.iterfind("testcase") if test.find("failure") is not None]
    return {name.rpartition("[")[2].removesuffix("]") for name in names}


def test_trackers_get_what_was_measured(gates: Gates) -> None:
    bmf: Any = json.loads((gates.out / "bencher.json").read_text())
    smaller, bigger = (
        json.loads((gates.out / f"github-benchmark-{name}.json").read_text()) for name in ("smaller", "bigger")
    )

    validate(bmf, BMF)
    assert set(bmf) == {"small/one-build", "small/one-b1", "small/one-text"}
    assert {one["name"] for one in smaller} == {
        "small/one-build engine_bytes", "small/one-b1 itl_p10", "small/one-text perplexity"
    }  # fmt: skip
    assert bigger == []


def test_github_is_pointed_at_the_engine_in_the_suite_file(gates: Gates) -> None:
    wanted = r"^::error file=suite\.yaml,line=(\d+),title=perfgate%3A one-text regressed::perplexity: regressed, "
    (line,) = re.findall(wanted, gates.red.stdout, re.MULTILINE)

    assert (gates.root / "suite.yaml").read_text().splitlines()[int(line) - 1].strip().startswith("one:")


def test_reports_are_made_again_from_the_run(gates: Gates, tmp_path: Path) -> None:
    status = gates.perfgate("report", "perfgate-out/run.json", "--format", "bencher,junit", out=tmp_path)

    assert status == EXIT_RED
    assert (tmp_path / "bencher.json").read_bytes() == (gates.out / "bencher.json").read_bytes()
    assert (tmp_path / "comparison-junit.xml").exists()
    assert not (tmp_path / "comparison.png").exists()


def test_a_baseline_file_may_be_the_first_of_two(gates: Gates, tmp_path: Path) -> None:
    same = gates.perfgate("compare", str(gates.baseline), "first/run.json", out=tmp_path / "same")
    worse = gates.perfgate("compare", str(gates.baseline), "perfgate-out/run.json", out=tmp_path / "worse")

    assert (same, worse) == (EXIT_OK, EXIT_RED)


def test_what_is_no_record_is_refused(gates: Gates, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = gates.perfgate("compare", "first/comparison.json", "first/run.json", out=tmp_path)

    assert status == EXIT_USAGE
    assert "comparison.json is neither a run.json nor a baseline: name one of them" in capsys.readouterr().err


@pytest.mark.parametrize("wish", ["gif", "png,gif"])
def test_an_unknown_format_is_refused_before_anything_is_measured(
    gates: Gates, tmp_path: Path, wish: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = gates.perfgate("run", f"--format={wish}", out=tmp_path)

    assert status == EXIT_USAGE
    allowed = "junit, png, github-action-benchmark, bencher"
    assert capsys.readouterr().err == f"perfgate: --format: found 'gif', allowed: {allowed}\n"
