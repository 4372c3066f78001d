"""Quality in real pytest runs, on the fake engine: a loss within, a loss beyond, broken output; what is recorded."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from conftest import Project
from perfgate.record import RUN_SCHEMA, Run, Side, read_record

ENGINES = """
  good: {max_batch_size: 4, precision: int8_wo, engine_args: {step_us: 400, loss: 0.005}}
  lossy: {max_batch_size: 4, precision: int8_wo, engine_args: {step_us: 300, loss: 0.05}}
  stuck: {max_batch_size: 4, precision: int8_wo, engine_args: {step_us: 300, output: repeat}}
  random: {max_batch_size: 4, engine_args: {step_us: 300, output: repeat, load_format: dummy}}
"""
QUALITY = "quality: {reference: one, precisions: {int8_wo: 2%}}\ngate:"


def _gate(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *args)


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "quality.csv").open() as file:
        return {row["engine"]: row for row in csv.DictReader(file)}


def test_losses_are_judged_shown_and_keep_engines_out_of_the_baseline(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    small_project(ENGINES, lambda text: text.replace("gate:", QUALITY, 1))

    found = _gate(pytester, "--perfgate-rounds", "1")

    out = pytester.path / "perfgate-out"
    assert found.ret == 1
    found.stdout.fnmatch_lines(
        [
            "*text *perplexity *bits/byte *against *loss *99 % interval *allowed *top-1 *KL >= *verdict*",
            "* one-text *reference*",
            "* good-text *+0.5 %*2.0 %*100.0 %*within*",
            "* lossy-text *+5.1 %*2.0 %*EXCEEDED*",
            "*BROKEN*stuck-b1*",
            "*outputs are one token over and over*",
        ]
    )
    found.stdout.fnmatch_lines(["*nothing of lossy was recorded: lossy-text perplexity_loss is regressed*"])
    found.stdout.fnmatch_lines(["*output of random was not checked: weights are random (load_format: dummy)*"])
    assert {name: row["standing"] for name, row in _rows(out).items()} == {
        "one": "reference", "good": "within", "lossy": "exceeded", "stuck": "within", "random": "within",
    }  # fmt: skip
    run = read_record(out / "run.json", Run, RUN_SCHEMA)
    measured = {case.case: case for one in run.rounds for case in one.cases if one.side is Side.CANDIDATE}
    scoring = measured["good-text"].scoring
    assert scoring is not None
    assert (scoring.window, scoring.stride, scoring.least_context) == (64, 32, 32)
    assert scoring.tokens == sum(one.tokens for one in measured["good-text"].documents.values())
    assert measured["good-text"].values["kl_divergence"] == 0.0
    stored = next((pytester.path / ".perfgate" / "baselines").rglob("small.json")).read_text()
    assert {name for name in ("one", "good", "lossy", "stuck", "random") if f'"{name}-b1"' in stored} == {
        "one", "good", "random",
    }  # fmt: skip
    html = (out / "report.html").read_text()
    assert '<table id="quality">' in html
    assert "EXCEEDED" in html
    assert "lossy-text" in (out / "summary.md").read_text()


def test_without_the_reference_an_engine_is_measured_and_its_loss_not_judged(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    small_project(ENGINES, lambda text: text.replace("gate:", QUALITY, 1))

    found = _gate(pytester, "--perfgate-rounds", "1", "-k", "lossy and text")

    assert found.ret == 0
    assert _rows(pytester.path / "perfgate-out")["lossy"]["standing"] == "not judged"
