"""Techniques beside their references: sources, whose rounds are compared, coverage, and the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfgate.baselines import Baseline, BaselineCase, Provenance, Series
from perfgate.capabilities import TECHNIQUES, Column, matrix
from perfgate.case import Precision
from perfgate.ceilings import CEILINGS_SCHEMA, Kept
from perfgate.cli import main
from perfgate.errors import UsageError
from perfgate.floats import Floats
from perfgate.record import CaseInfo, CaseRound, DocumentScore, Environment, Host, Round, Run, Side, encode, read_record
from perfgate.report.techniques import HAND, page
from perfgate.suite import Suite, load_suite
from perfgate.technique_coverage import KV, coverage, precisions
from perfgate.technique_pairs import differences, reference_of
from perfgate.technique_rounds import rounds_for
from perfgate.technique_sources import Origin, Source, keep_lean, read_sources, run_of_baseline, without_samples
from perfgate.techniques import Group, groups_of

ROOT = Path(__file__).parents[1]
LOADS = ROOT / "docs" / "results" / "h200-8b"
CEILINGS = ROOT / "docs" / "results" / "h200" / "ceilings.json"
H200 = ROOT / "baselines" / "sm_90" / "h200-141gb" / "llama8b_h200.json"
CPU = "cpu/x86_64-avx512"
SUITE = """
schema: 1
suite: small
defaults: {engine: {model: m, kv_cache_dtype: fp32}}
engines:
  fp32: {}
  int8: {precision: int8_wo}
  kv8: {kv_cache_dtype: int8}
  half: {precision: fp16, kv_cache_dtype: fp16}
  small: {model: student, quality: {reference: fp32, perplexity: 5%}}
workloads:
  build: {kind: build}
  b8: {kind: latency, prompts: p.jsonl, concurrency: 8}
  text: {kind: perplexity, text: t.jsonl}
quality: {reference: fp32}
gate: {metrics: {output_tokens_per_s: {}}}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    (tmp_path / "small.yaml").write_text(SUITE)
    return load_suite(tmp_path / "small.yaml")


def run_of(suite: Suite, *speeds: tuple[str, float], nll: dict[str, float] | None = None, **host: float) -> Run:
    """Rounds in this order, each with a throughput at b8; nll: of the one document that an engine scored."""
    infos = tuple(CaseInfo(case.id, case.engine.name, case.kind, case.hash) for case in suite.cases)
    rounds = tuple(
        Round(name, Side.CANDIDATE, at, "", 1.0, tuple(_measured(name, speed, nll or {})), Host(**host))  # type: ignore[arg-type]
        for at, (name, speed) in enumerate(speeds)
    )
    return Run("small", "2026-11-21T20:00:00+00:00", Environment(CPU, "a CPU", {"it": "1"}, "abc"), infos, (), rounds)


def _measured(name: str, speed: float, nll: dict[str, float]) -> list[CaseRound]:
    speeds = {"output_tokens_per_s": speed, "itl_p50": 1 / speed}
    scored = {"a": DocumentScore(nll.get(name, 10.0), 10, 40), "b": DocumentScore(10.0, 10, 40)}
    return [
        CaseRound(f"{name}-build", {"engine_bytes": 100.0, "peak_memory_bytes": 2e6}),
        CaseRound(f"{name}-b8", speeds, samples={"ttft": Floats([1.0, 2.0])}),
        CaseRound(f"{name}-text", {"perplexity": 2.7}, documents=scored),
    ]


def source(suite: Suite, run: Run) -> Source:
    return Source(Path("run.json"), Origin.RUN, run, suite)


def group(suite: Suite, *runs: Run) -> Group:
    return groups_of([source(suite, run) for run in runs])[0]


def row(group: Group, name: str) -> Any:
    return next(one for one in group.rows if one.engine.name == name)


@pytest.fixture(scope="module")
def columns() -> list[Column]:
    return matrix()


TURNS = (("fp32", 100.0), ("int8", 200.0), ("fp32", 110.0), ("int8", 220.0), ("fp32", 90.0), ("int8", 180.0))


# ------------------------------------------------------------------ which engine is compared with which


def test_engines_are_compared_with_the_first_of_their_model_or_the_one_that_quality_names(suite: Suite) -> None:
    found = {spec.name: reference_of(suite, spec) for spec in suite.engines}

    assert {name: one.name if one else None for name, one in found.items()} == {
        "fp32": None, "int8": "fp32", "kv8": "fp32", "half": "fp32", "small": "fp32",
    }  # fmt: skip


def test_a_difference_is_said_as_a_suite_says_it(suite: Suite) -> None:
    by_name = {spec.name: spec for spec in suite.engines}

    assert differences(by_name["fp32"], by_name["half"]) == ("precision fp16", "kv_cache_dtype fp16")
    assert differences(by_name["fp32"], by_name["small"]) == ("model student",)
    assert differences(by_name["fp32"], replace(by_name["fp32"], cuda_graphs=False, tp=2)) == (
        "cuda_graphs off",
        "tp 2",
    )


# ------------------------------------------------------------------ figures and factors


def test_factors_are_of_rounds_that_took_turns(suite: Suite) -> None:
    found = row(group(suite, run_of(suite, *TURNS)), "int8").at("b8").first(["output_tokens_per_s"])

    assert found.value == pytest.approx((200 * 220 * 180) ** (1 / 3))
    assert found.times.value == pytest.approx(2.0)
    assert found.times.low == pytest.approx(found.times.high) == pytest.approx(2.0)  # 90 to 110 cancels within pairs


def test_lower_is_better_turns_the_factor(suite: Suite) -> None:
    found = row(group(suite, run_of(suite, *TURNS)), "int8").at("b8").first(["itl_p50"])

    assert found.value < 0.01
    assert found.times.value == pytest.approx(2.0)


def test_perplexity_is_paired_by_document(suite: Suite) -> None:
    made = group(suite, run_of(suite, *TURNS, nll={"int8": 11.0}))

    found = row(made, "int8").at("text").first(["perplexity"])

    assert 1 / found.times.value - 1 == pytest.approx(0.0513, abs=1e-4)  # exp(1/20) - 1


def test_claims_stand_with_the_engine_that_they_are_about(suite: Suite) -> None:
    made = group(suite, run_of(suite, *TURNS))

    assert {one.asked.claim.name for one in row(made, "int8").findings} == {"int8"}
    assert row(made, "fp32").findings == ()


def test_an_invalid_round_counts_for_nothing(suite: Suite) -> None:
    run = run_of(suite, *TURNS)
    spoilt = replace(run, rounds=tuple(replace(one, fault="killed") for one in run.rounds if one.engine == "int8"))

    assert groups_of([source(suite, spoilt)])[0].rows == ()


def test_a_case_that_the_suite_has_changed_since_is_told(suite: Suite) -> None:
    run = run_of(suite, *TURNS)
    old = replace(run, cases=tuple(replace(one, hash="old") if one.id == "int8-b8" else one for one in run.cases))

    assert row(group(suite, old), "int8").at("b8").is_old


# ------------------------------------------------------------------ several sources


def test_the_last_source_that_has_both_engines_is_taken(suite: Suite) -> None:
    first, second = run_of(suite, *TURNS), run_of(suite, ("fp32", 100.0), ("int8", 300.0))
    alone = run_of(suite, ("fp32", 1000.0))

    found = row(group(suite, first, second, alone), "int8").at("b8").first(["output_tokens_per_s"])

    assert found.times.value == pytest.approx(3.0)
    assert not found.is_across


def test_engines_of_different_sessions_are_compared_and_marked(suite: Suite) -> None:
    before = run_of(suite, *[("fp32", 100.0)] * 3)
    now = run_of(suite, ("int8", 150.0), ("int8", 200.0), ("int8", 200.0))

    found = row(group(suite, before, now), "int8").at("b8").first(["output_tokens_per_s"])

    assert found.is_across
    assert found.times.value == pytest.approx((150 * 200 * 200 / 100**3) ** (1 / 3))
    assert found.times.low < found.times.value < found.times.high  # Welch's: nothing took turns


def test_what_nobody_measured_has_no_rounds(suite: Suite) -> None:
    asked = {case.id: case for case in suite.cases}

    assert rounds_for([source(suite, run_of(suite, *TURNS))], (asked["kv8-b8"],)) is None


def test_accepted_rounds_did_not_take_turns(suite: Suite) -> None:
    series = {"output_tokens_per_s": Series("tokens/s", ((100.0, 110.0), (90.0,)))}
    cases = {name: BaselineCase("h", "k", series) for name in ("fp32-b8", "int8-b8", "gone-b8")}
    baseline = Baseline("small", CPU, Provenance("", "", "a CPU", {}, ""), cases)

    run = run_of_baseline(baseline, suite)

    assert {info.id for info in run.cases} == {"fp32-b8", "int8-b8"}
    assert [one.engine for one in run.rounds] == ["fp32"] * 3 + ["int8"] * 3
    assert run.values("fp32-b8", "output_tokens_per_s", Side.CANDIDATE) == [100.0, 110.0, 90.0]


def test_load_results_are_a_source() -> None:
    found = groups_of(read_sources([LOADS], ROOT))[0]

    assert found.device == "sm_90/h200-141gb"
    assert [one.engine.name for one in found.rows] == ["pytorch", "vllm-tp1", "vllm-tp2"]
    two = row(found, "vllm-tp2")
    assert (two.reference.name, two.differs) == ("vllm-tp1", ("tp 2",))
    assert two.at("c128").first(["output_tokens_per_s"]).times.value == pytest.approx(1.51, abs=0.01)


def test_shares_of_load_results_are_not_told_of_whatever_lies_under_their_model_path() -> None:
    known = [read_record(CEILINGS, Kept, CEILINGS_SCHEMA).ceilings]

    found = groups_of(read_sources([LOADS], ROOT), known)[0]

    assert found.rows
    assert all(one.limit is None for its in found.rows for one in its.measured)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.json", '{"schema": 1}', "neither a run.json nor a baseline"),
        ("x.json", '{"rounds": []}', "x.json"),
        ("results/x", "", "no folder of load results"),
    ],
)
def test_what_is_no_source_is_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if text:
        path.write_text(text)

    with pytest.raises(Exception, match=message):
        read_sources([path if text else path.parent], tmp_path)


def test_a_suite_that_is_not_there_is_told(suite: Suite, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(encode(replace(run_of(suite, *TURNS), suite="../small")))

    with pytest.raises(UsageError, match="name its folder with --suites"):
        read_sources([path], tmp_path / "other")


def test_a_lean_run_has_the_same_figures(suite: Suite, tmp_path: Path) -> None:
    run = run_of(suite, *TURNS, nll={"int8": 11.0})
    (tmp_path / "run.json").write_bytes(encode(run))

    lean = read_sources([keep_lean(tmp_path / "run.json", tmp_path / "kept")], tmp_path)[0].run

    assert lean == without_samples(run)
    assert not any(one.samples for done in lean.rounds for one in done.cases)
    assert group(suite, lean).rows == group(suite, run).rows


# ------------------------------------------------------------------ coverage


def test_every_technique_is_measured_or_says_why_not(suite: Suite, columns: list[Column]) -> None:
    of_cpus = [one for one in columns if not one.device.is_gpu]

    found = {one.technique: one for one in coverage([group(suite, run_of(suite, *TURNS))], of_cpus)}

    assert list(found) == [one.name for one in TECHNIQUES]
    assert all(bool(one.engines) != bool(one.why) for one in found.values())
    assert found["precision int8_wo"].engines == ("small: int8",)
    assert found["precision fp16"].why == "no rounds yet of half in small"
    assert found["KV cache int8"].why == "no rounds yet of kv8 in small"
    assert found["CUDA graphs on"].why.startswith("not supported: openvino: CUDA graphs need an NVIDIA GPU")
    assert found["precision int4_awq"].why == "ran with openvino, and no engine of these suites sets it"


def test_a_skip_gives_its_reason(suite: Suite, columns: list[Column]) -> None:
    run = run_of(suite, *TURNS)
    cases = tuple(replace(one, skip="no kernel") if one.engine == "half" else one for one in run.cases)

    found = coverage([group(suite, replace(run, cases=cases))], columns)

    told = next(one for one in found if one.technique == "precision fp16")
    assert told.why == "no rounds yet of half in small, skipped: no kernel"


def test_the_table_of_precisions_has_every_precision(suite: Suite, columns: list[Column]) -> None:
    found = precisions([group(suite, run_of(suite, *TURNS))], columns)

    names = list(dict.fromkeys(one.precision for one in found))
    assert names == [*map(str, Precision), *(f"KV cache {one}" for one in KV)]
    assert all(bool(one.row) != bool(one.why) for one in found)


def test_speed_alone_is_enough_for_the_table_of_precisions(suite: Suite, columns: list[Column]) -> None:
    run = run_of(suite, ("fp32", 100.0), ("kv8", 110.0))
    lone = replace(run.rounds[1], cases=run.rounds[1].cases[1:2])
    assert [one.case for one in lone.cases] == ["kv8-b8"]

    found = precisions([group(suite, replace(run, rounds=(run.rounds[0], lone)))], columns)

    told = next(one for one in found if one.precision == "KV cache int8")
    assert told.row is not None
    assert told.row.engine.name == "kv8"


def test_an_engine_that_differs_in_more_is_not_said_to_have_no_rounds(tmp_path: Path, columns: list[Column]) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SUITE.replace("kv8: {kv_cache_dtype: int8}", "kv8: {kv_cache_dtype: int8, batching: static}"))
    suite = load_suite(path)

    found = precisions([group(suite, run_of(suite, ("fp32", 100.0), ("kv8", 110.0)))], columns)

    told = next(one for one in found if one.precision == "KV cache int8")
    assert told.why == "kv8 in small differs from its reference in more than that"


# ------------------------------------------------------------------ the page


def test_no_cell_of_the_page_is_empty(suite: Suite, columns: list[Column]) -> None:
    made = page([group(suite, run_of(suite, *TURNS))], columns, "perfgate techniques run.json")

    rows = [line.strip("| ").split(" | ") for line in made.splitlines() if line.startswith("|")]
    assert all(cell.strip() for cells in rows for cell in cells)
    assert "| int8_wo | `int8` (small) | 100.0 B (1.00x) |" in made


@pytest.mark.parametrize(("share", "is_said"), [(0.02, False), (0.4, True)])
def test_a_busy_machine_is_said(suite: Suite, columns: list[Column], share: float, is_said: bool) -> None:  # noqa: FBT001
    run = run_of(suite, *TURNS, foreign_cpu_share=share)

    assert ("**the machine was busy**" in page([group(suite, run)], columns, "x")) is is_said


def test_broken_output_is_told(suite: Suite, columns: list[Column]) -> None:
    run = run_of(suite, *TURNS)
    spoilt = CaseRound("int8-b8", {}, broken=("request 6 gave token -1",))
    first = replace(run.rounds[1], cases=(*run.rounds[1].cases[:1], spoilt))
    made = group(suite, replace(run, rounds=(run.rounds[0], first, *run.rounds[2:])))

    assert "**broken output**, and so no figures, of int8-b8: request 6 gave token -1" in page([made], columns, "x")


def test_the_command_writes_a_page_and_keeps_what_was_written_by_hand(suite: Suite, tmp_path: Path) -> None:
    run, out = tmp_path / "run.json", tmp_path / "page.md"
    run.write_bytes(encode(run_of(suite, *TURNS)))
    args = ["techniques", str(run), str(H200), "--suites", str(tmp_path), "--out", str(out)]
    (tmp_path / "llama8b_h200.yaml").write_text((ROOT / "fixtures" / "suites" / "llama8b_h200.yaml").read_text())

    assert main(args) == 0
    out.write_text(out.read_text() + "\n## By hand\n\nint8 pays.\n")
    assert main(args) == 0

    made = out.read_text()
    assert made.count(HAND) == 1
    assert made.endswith("## By hand\n\nint8 pays.\n")
    assert "## NVIDIA H200 (sm_90/h200-141gb)" in made
    assert "## a CPU (cpu/x86_64-avx512)" in made


def test_the_shipped_page_names_a_command_that_reads_its_sources() -> None:
    shipped = (ROOT / "docs" / "results" / "techniques.md").read_text()

    words = next(line for line in shipped.splitlines() if line.startswith("perfgate techniques ")).split()[2:]

    named = [word for word in words if word.startswith(("docs/", "baselines/"))]
    assert [word for word in named if not (ROOT / word).exists()] == []
