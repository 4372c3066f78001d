"""Advice in words: every figure beside its run, hostile text harmless, sweeps told as runs are."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tradeoff_examples import example

from advising_examples import BF16, FP8, Rounds, material, run, suite, times
from perfgate.advising.advice import Advice, Wish
from perfgate.advising.advise import advise
from perfgate.advising.goals import Goal
from perfgate.advising.ranking import Standing
from perfgate.advising.sources import Source, Sources
from perfgate.advising.swept import Swept, read_swept
from perfgate.errors import RecordError
from perfgate.record import encode
from perfgate.report.advice import markdown, show, write_advice
from perfgate.terminal import PlainScreen

ROUNDS: Rounds = {
    "bf16-c64": [{**one, "ttft_tmean": 0.2} for one in times("output_tokens_per_s", 1000)],
    "fp8-c64": [{**one, "ttft_tmean": 0.3} for one in times("output_tokens_per_s", 1400)[::-1]],
}


def advice(goal: Goal = Goal.COST, name: str = "run.json") -> Advice:
    of = suite(BF16, FP8)
    made = run(of, ROUNDS, {"bf16": 0.0, "fp8": 0.002})
    sources = Sources((Source(name, made),))
    return advise(replace(material(of), sources=sources), Wish(goal, price_per_h=3.6))


def shown(found: Advice) -> str:
    file = io.StringIO()
    show(found, PlainScreen(file).write_line, is_live=False)
    return file.getvalue()


def test_each_line_of_evidence_names_run_case_metric_figures_interval_and_rounds() -> None:
    line = next(one for one in shown(advice()).splitlines() if one.startswith("  better  fp8-c64"))

    for said in ("output_tokens_per_s", "1,000.0 tokens/s", "1,400 tokens/s", "1.40x", "at 95.0 %", "6 pairs", "[1]"):
        assert said in line


def test_what_a_technique_costs_is_evidence_too() -> None:
    assert any(one.startswith("  worse   fp8-c64  ttft_tmean") for one in shown(advice()).splitlines())


def test_prices_are_those_of_the_measured_tokens() -> None:
    (row,) = (one for one in shown(advice()).splitlines() if one.strip().startswith("bf16-c64   "))

    assert float(row.split()[1]) == pytest.approx(1.0, rel=0.001)


def test_nothing_to_compare_is_said() -> None:
    of = suite(BF16)

    found = advise(material(of, run(of, ROUNDS)), Wish(Goal.LATENCY))

    assert "no two engines of one model were measured on a workload that both share" in shown(found)


@pytest.mark.parametrize("goal", Goal)
def test_text_from_outside_is_one_harmless_line(goal: Goal) -> None:
    evil = "run\x1b[31m\n| <script> `x`"

    found = advice(goal, evil)

    assert "\x1b" not in shown(found)
    assert "<script>" not in markdown(found)


def test_files_are_json_and_markdown_of_the_same(tmp_path: Path) -> None:
    paths = write_advice(advice(), tmp_path)

    assert [path.name for path in paths] == ["advice.json", "advice.md"]
    assert "(precision fp8) against bf16" in paths[1].read_text()


def test_on_a_terminal_rich_draws_the_ranked_list(capsys: pytest.CaptureFixture[str]) -> None:
    show(advice(), PlainScreen().write_line, is_live=True)

    assert "better in fp8-c64, worse in none" in capsys.readouterr().out


# ------------------------------------------------------------------ sweeps


def swept(**wish: float) -> Advice:
    return advise(
        replace(material(suite(BF16)), sweeps=(Swept("tradeoffs.json", example()),)),
        Wish(Goal.LATENCY, max_loss=wish.get("max_loss")),
    )


def test_effects_of_a_sweep_are_ranked_by_the_same_rule() -> None:
    by_value = {one.engine: one for one in swept().lines}

    assert by_value["precision int4_wo"].standing is Standing.NOT_WITHOUT
    assert by_value["precision int4_wo"].decides[0].times == pytest.approx(2.0)
    assert by_value["max_input_len 32768"].standing is Standing.LEAVE
    assert "2.00x" in shown(swept())


def test_a_loss_that_is_allowed_lets_a_sweeps_value_be_taken() -> None:
    assert [one.engine for one in swept(max_loss=0.05).of(Standing.TAKE)] == ["precision int4_wo"]


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("ratio", 0.0), ("low", -1.0), ("high", 0.5), ("metric", "none"), ("basis", None)],
)
def test_a_sweep_with_figures_that_cannot_be_is_refused(field: str, wrong: object, tmp_path: Path) -> None:
    whole = json.loads(encode(example()))
    assert read_swept(written(tmp_path, whole)).found == example()
    effect = whole["effects"][0]
    if field == "basis":
        effect["changes"][0]["basis"], effect["pairs"] = "pairs", 1
    else:
        effect["changes"][0][field] = wrong

    with pytest.raises(RecordError, match="is damaged"):
        read_swept(written(tmp_path, whole))


def written(folder: Path, whole: object) -> Path:
    path = folder / "tradeoffs.json"
    path.write_text(json.dumps(whole))
    return path
