"""The published schemas: as generated, and what they say of files of real commits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError, validate

from conftest import Project
from perfgate.cli import main
from perfgate.json_schemas import json_schema, names

ROOT = Path(__file__).parents[1]
SAMPLES = sorted((ROOT / "tests" / "samples").iterdir())
FILES = {"run": "run.json", "comparison": "comparison.json", "baseline": "baseline.json"}


def record(sample: Path, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((sample / FILES[kind]).read_text())
    return found


@pytest.mark.parametrize("kind", names())
def test_the_published_schema_is_the_one_that_the_command_prints(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", kind]) == 0

    assert capsys.readouterr().out == (ROOT / "docs" / "schema" / f"{kind}.schema.json").read_text(), "make schemas"


def test_without_a_name_the_command_prints_that_of_suites(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0

    assert json.loads(capsys.readouterr().out) == json_schema("suite")


@pytest.mark.parametrize("kind", names())
def test_a_schema_is_valid_itself(kind: str) -> None:
    Draft202012Validator.check_schema(json_schema(kind))


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_files_of_earlier_commits_are_valid(sample: Path, kind: str) -> None:
    validate(record(sample, kind), json_schema(kind))


@pytest.mark.parametrize("path", sorted(ROOT.glob("fixtures/suites/*.yaml")), ids=lambda path: path.stem)
def test_shipped_suites_are_valid(path: Path) -> None:
    validate(yaml.safe_load(path.read_text()), json_schema("suite"))


def test_what_a_gate_writes_today_is_valid(small_project: Project) -> None:
    folder = small_project().parent

    assert [main(["run", "--suite", str(folder / "suite.yaml"), "--rounds", "1"]) for _ in range(2)] == [0, 0]

    (baseline,) = Path(".perfgate/baselines").rglob("*.json")
    for kind, path in {
        "run": Path("perfgate-out/run.json"), "comparison": Path("perfgate-out/comparison.json"), "baseline": baseline
    }.items():  # fmt: skip
        validate(json.loads(path.read_text()), json_schema(kind))


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("run", ("schema",), 2),
        ("run", ("rounds", 0, "side"), "left"),
        ("run", ("rounds", 0, "cases", 0, "values", "tpot_p50"), "fast"),
        ("comparison", ("cases", 0, "verdict"), "fine"),
        ("baseline", ("cases", "one-b1", "metrics", "tpot_p50", "sessions"), [1.0]),
    ],
)
def test_what_no_record_can_hold_is_refused(kind: str, path: tuple[Any, ...], wrong: object) -> None:
    whole = record(SAMPLES[0], kind)
    part: Any = whole
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = wrong

    with pytest.raises(ValidationError):
        validate(whole, json_schema(kind))


@pytest.mark.parametrize("kind", FILES)
def test_a_file_without_its_schema_number_is_refused(kind: str) -> None:
    whole = record(SAMPLES[0], kind)
    del whole["schema"]

    with pytest.raises(ValidationError, match="'schema' is a required property"):
        validate(whole, json_schema(kind))
