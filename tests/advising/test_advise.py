"""Advice on runs made by hand: what is taken, left, measured more, and tried next."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from advising_examples import BF16, C1, C64, FP8, GPU, GRAPHS_OFF, TEXT, Rounds, material, run, suite, times
from perfgate.advising.advice import Advice, Wish
from perfgate.advising.advise import advise
from perfgate.advising.goals import Goal
from perfgate.advising.quality import Cost
from perfgate.advising.ranking import Line, Standing
from perfgate.advising.sources import Source, Sources
from perfgate.case import Case, EngineSpec, KvDtype, LatencyWork
from perfgate.demand import limits_of
from perfgate.record import CaseRound, decode, encode
from perfgate.roofline import Ceilings, Rate

SPEED, E2EL = "output_tokens_per_s", "e2el_tmean"
SHAPE = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
}  # fmt: skip
COPY = Rate(4.0e12, 3.9e12, 4.1e12, 9)
CEILINGS = Ceilings(GPU.device, GPU.product, {}, "", COPY, {"bf16": Rate(6e14, 6e14, 6e14, 9)})


def throughput(before: float, after: float, engine: str = "fp8", spread: float = 0.002, count: int = 6) -> Rounds:
    return {
        "bf16-c64": times(SPEED, before, spread, count),
        f"{engine}-c64": times(SPEED, after, spread, count)[::-1],
    }


def only(advice: Advice) -> Line:
    (found,) = advice.lines
    return found


def asked(rounds: Rounds, *engines: EngineSpec, goal: Goal = Goal.THROUGHPUT, **wish: object) -> Advice:
    of = suite(*(engines or (BF16, FP8)))
    return advise(material(of, run(of, rounds, {"bf16": 0.0, "fp8": 0.002})), Wish(goal, **wish))  # type: ignore[arg-type]


# ------------------------------------------------------------------ what was measured


def test_a_shown_gain_within_the_allowed_loss_is_taken_with_its_evidence() -> None:
    line = only(asked(throughput(1000, 1400)))

    (evidence,) = line.decides
    assert line.standing is Standing.TAKE
    assert (evidence.case, evidence.reference_case, evidence.metric) == ("fp8-c64", "bf16-c64", SPEED)
    assert (evidence.run, evidence.rounds, evidence.reference_rounds) == ("run0.json", 6, 6)
    assert evidence.basis == "6 pairs of rounds that took turns"
    assert evidence.times == pytest.approx(1.4, rel=0.01)
    assert evidence.low is not None
    assert evidence.low > 1.3
    assert line.quality.cost is Cost.WITHIN
    assert line.quality.documents == 12


def test_a_gain_that_costs_more_quality_than_allowed_is_not_taken() -> None:
    line = only(asked(throughput(1000, 1400), max_loss=0.001))

    assert line.standing is Standing.NOT_WITHOUT
    assert "exceeds the allowed 0.1 % loss against bf16" in line.reason


def test_a_gain_of_what_was_never_scored_asks_for_a_text() -> None:
    of = suite(BF16, FP8, works=(C64,))

    line = only(advise(material(of, run(of, throughput(1000, 1400))), Wish(Goal.THROUGHPUT)))

    assert line.standing is Standing.MORE
    assert line.next == "score one text by both engines (a workload of kind perplexity)"


def test_what_changes_no_number_needs_no_score() -> None:
    of = suite(BF16, replace(GRAPHS_OFF, cuda_graphs=True), works=(C64,))

    line = only(advise(material(of, run(of, throughput(1000, 1400, "no-graphs"))), Wish(Goal.THROUGHPUT)))

    assert line.standing is Standing.TAKE


def test_harm_is_left() -> None:
    line = only(asked(throughput(1000, 700, "no-graphs"), BF16, GRAPHS_OFF))

    assert line.standing is Standing.LEAVE
    assert line.reason == "worse in no-graphs-c64, better in none"


def test_what_noise_hides_is_to_be_measured_more_with_the_rounds_that_it_takes() -> None:
    line = only(asked(throughput(1000, 1060, spread=0.04, count=3)))

    (evidence,) = line.decides
    assert line.standing is Standing.MORE
    assert evidence.more_rounds is not None
    assert 0 < evidence.more_rounds < 200
    assert f"about {evidence.more_rounds} more rounds a side of fp8-c64" in line.next


def test_one_round_a_side_decides_nothing_and_says_what_it_assumes() -> None:
    line = only(asked(throughput(1000, 3000, count=1)))

    assert line.standing is Standing.MORE
    assert "noise of 1.4 % is assumed: one round a side tells none" in line.next


def test_no_gain_is_left() -> None:
    assert only(asked(throughput(1000, 1001))).standing is Standing.LEAVE


def test_better_under_one_load_and_worse_under_another_depends() -> None:
    rounds = {**throughput(1000, 1400), "bf16-c1": times(SPEED, 200), "fp8-c1": times(SPEED, 150)}

    line = only(asked(rounds))

    assert line.standing is Standing.DEPENDS
    assert line.reason == "better in fp8-c64, worse in fp8-c1"
    assert only(asked(rounds, workloads=("c64",))).standing is Standing.TAKE
    assert only(asked(rounds, cases=("*-c1",))).standing is Standing.LEAVE


def test_broken_output_is_left_however_fast() -> None:
    of = suite(BF16, FP8)
    made = run(of, throughput(1000, 2000))
    last = made.rounds[-1]
    assert last.engine == "fp8"
    bad = replace(last, cases=(*last.cases, CaseRound("fp8-text", {}, broken=("document 'd1' scored nan",))))

    line = only(advise(material(of, replace(made, rounds=(*made.rounds[:-1], bad))), Wish(Goal.THROUGHPUT)))

    assert line.standing is Standing.LEAVE
    assert line.reason == "its output is broken: fp8-text: document 'd1' scored nan"


def test_the_more_is_compared_the_wider_each_interval() -> None:
    both = {**throughput(1000, 1400), "bf16-c1": times(SPEED, 200), "fp8-c1": times(SPEED, 250)}

    one, two = (only(asked(rounds)).decides[-1] for rounds in (throughput(1000, 1400), both))

    assert [one.confidence, two.confidence] == pytest.approx([0.95, 0.975])
    assert one.low is not None
    assert two.low is not None
    assert two.low < one.low


def test_what_a_gain_costs_elsewhere_is_told() -> None:
    rounds = throughput(1000, 1400)
    dearer = {
        name: [{**one, "ttft_tmean": 0.2 if name.startswith("fp8") else 0.1} for one in values]
        for name, values in rounds.items()
    }

    line = only(asked(dearer))

    assert [(one.metric, one.finding.value) for one in line.beside] == [("ttft_tmean", "worse")]


def test_taken_techniques_come_first_the_largest_gain_before_others() -> None:
    faster = replace(BF16, name="chunked", chunked_prefill=True)
    rounds = {**throughput(1000, 1400), "chunked-c64": times(SPEED, 1700), "no-graphs-c64": times(SPEED, 500)}

    found = asked(rounds, BF16, GRAPHS_OFF, FP8, faster)

    assert [one.engine for one in found.lines] == ["chunked", "fp8", "no-graphs"]


def test_cases_that_changed_since_are_left_out_and_named() -> None:
    of = suite(BF16, FP8)
    made = run(of, throughput(1000, 1400))
    other = replace(made, cases=tuple(replace(one, hash="old") if one.id == "fp8-c64" else one for one in made.cases))

    found = advise(material(of, other), Wish(Goal.THROUGHPUT))

    assert found.lines == ()
    assert "left out, as the suite has changed since they were measured: fp8-c64" in found.notes


def test_engines_of_two_runs_are_compared_with_what_sessions_differ_by() -> None:
    of = suite(BF16, FP8)
    rounds, scored = throughput(1000, 1400), {"bf16": 0.0, "fp8": 0.002}
    alone = [run(of, {name: rounds[name]}, scored) for name in rounds]

    apart = only(advise(material(of, *alone), Wish(Goal.THROUGHPUT))).decides[0]
    beside = only(asked(rounds)).decides[0]

    assert (apart.run, apart.reference_run) == ("run1.json", "run0.json")
    assert apart.basis == "6 and 6 rounds of two runs"
    assert apart.low is not None
    assert beside.low is not None
    assert apart.low < beside.low


# ------------------------------------------------------------------ cost, memory, long contexts


def test_two_devices_must_give_twice_the_tokens_for_the_same_price() -> None:
    tp2 = replace(BF16, name="tp2", tp=2)

    found = asked(throughput(1000, 1600, "tp2"), BF16, tp2, goal=Goal.COST, price_per_h=3.6)

    assert only(found).standing is Standing.LEAVE
    assert only(found).decides[0].times == pytest.approx(0.8, rel=0.01)
    assert {one.case: one.price for one in found.prices} == {
        "bf16-c64": pytest.approx(1.0, rel=0.01), "tp2-c64": pytest.approx(1.25, rel=0.01),
    }  # fmt: skip


def test_long_contexts_are_judged_on_the_longest_prompts_alone(tmp_path: Path) -> None:
    long = LatencyWork("long", Path("t"), 8192, 128, concurrency=4, requests=8)
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    bf16, fp8 = (replace(one, model=tmp_path, max_seq_len=8192, max_num_tokens=8192) for one in (BF16, FP8))
    of = suite(bf16, fp8, works=(C64, long, TEXT))
    rounds = {f"{name}-{work.name}": times(E2EL, 1.0) for name in ("bf16", "fp8") for work in (C64, long)}

    found = advise(material(of, run(of, rounds)), Wish(Goal.LONG_CONTEXT))

    assert {one.case for one in only(found).decides} == {"fp8-long"}
    room, narrow = found.rooms
    assert room.kv_bytes_per_token == 2 * 32 * 8 * 128 * 2
    assert room.weight_bytes == pytest.approx(16.06e9, rel=0.01)
    assert room.tokens == int((0.9 * 141 * 2**30 - (room.weight_bytes or 0)) // 131072)
    assert room.sequences == room.tokens // 8192
    assert (narrow.tokens or 0) > room.tokens
    kv8 = next(one for one in found.next if one.technique == "KV cache fp8")
    assert kv8.most == pytest.approx(2.0)
    assert "65.5 kB instead of 131.1 kB" in kv8.reason


# ------------------------------------------------------------------ what to try next


def bounded(tmp_path: Path, step_s: float, work: LatencyWork = C1, **values: float) -> Advice:
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    spec = replace(BF16, model=tmp_path)
    of = suite(spec, works=(work,))
    made = {"itl_p50": step_s, SPEED: 1 / step_s, "ttft_p50": 0.02, "e2el_p50": 0.02 + 127 * step_s, **values}
    measured = run(of, {f"bf16-{work.name}": [made] * 3}, limits=limits_of([Case(spec, work)], CEILINGS))
    return advise(material(of, measured), Wish(Goal.LATENCY))


def test_decode_at_the_memory_bandwidth_is_helped_by_fewer_bytes_alone(tmp_path: Path) -> None:
    found = bounded(tmp_path, 0.0045)

    fp8 = next(one for one in found.next if one.technique == "precision fp8")
    assert "decode of bf16-c1 uses 84 % of the measured memory bandwidth (run0.json)" in fp8.reason
    assert "a step would move 8.11 GB instead of 15.08 GB" in fp8.reason
    assert fp8.most == pytest.approx(0.0045 / (8.11e9 / 4e12), rel=0.01)
    assert "n-gram speculation" in {one.technique for one in found.next}
    assert not {"CUDA graphs on", "overlap scheduler on"} & {one.technique for one in found.next}


def test_a_device_that_waits_for_the_host_is_helped_by_taking_work_off_it(tmp_path: Path) -> None:
    found = bounded(tmp_path, 0.02, device_busy_share=0.4)

    assert [one.technique for one in found.next] == ["CUDA graphs on", "overlap scheduler on"]
    assert [one.most for one in found.next] == pytest.approx([2.5, 2.5])
    assert "the device worked 40 % of a decode step of bf16-c1" in found.next[0].reason


def test_a_busy_device_rules_graphs_out_with_a_figure(tmp_path: Path) -> None:
    found = bounded(tmp_path, 0.0045, device_busy_share=0.98)

    assert any("cannot make bf16-c1 more than 1.02x as fast" in one for one in found.notes)


def test_prompts_that_take_a_large_part_ask_for_chunks_and_prefixes(tmp_path: Path) -> None:
    found = bounded(tmp_path, 0.008, C64, ttft_p50=0.8, e2el_p50=2.0)

    reasons = {one.technique: one.reason for one in found.next}
    assert "takes 40 % of a request's time" in reasons["chunked prefill"]
    assert "prefix caching" in reasons


def test_what_the_device_cannot_do_is_not_proposed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    spec = replace(BF16, model=tmp_path)
    of = suite(spec, works=(C1,))
    old = replace(GPU, device="sm_80/a100-80gb")
    made = run(of, {"bf16-c1": [{SPEED: 200.0, "device_busy_share": 0.99}] * 2}, environment=old)

    found = advise(material(of, made), Wish(Goal.LATENCY))

    named = {one.technique for one in found.next}
    assert "precision fp8" not in named
    assert "n-gram speculation" in named


def test_a_technique_that_was_measured_is_not_proposed_and_one_of_the_suite_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    bf16, fp8 = (replace(one, model=tmp_path) for one in (BF16, FP8))
    kv = replace(bf16, name="narrow", kv_cache_dtype=KvDtype.FP8)
    of = suite(bf16, fp8, kv, works=(C1,))
    busy = {"device_busy_share": 0.99}
    rounds = {f"{name}-c1": [{SPEED: 200.0, E2EL: 1.0, **busy}] * 3 for name in ("bf16", "fp8")}

    found = advise(material(of, run(of, rounds)), Wish(Goal.LATENCY))

    known = {one.technique: one.known_as for one in found.next}
    assert "precision fp8" not in known
    assert known["KV cache fp8"] == "narrow"
    assert known["KV cache int8"] == ""
    assert "  bf16-kv-int8: {kv_cache_dtype: int8}" in found.suite_lines
    assert not any("fp8" in line for line in found.suite_lines)
    assert "engines of the suite without a valid round here: narrow" in found.notes


# ------------------------------------------------------------------ records


def test_advice_is_a_record_that_json_holds() -> None:
    found = asked(throughput(1000, 1400), goal=Goal.COST, price_per_h=2.0)

    assert decode(encode(found), Advice, "advice.json") == found


def test_a_source_with_no_order_of_rounds_is_not_paired() -> None:
    of = suite(BF16, FP8)
    made = run(of, throughput(1000, 1400), {"bf16": 0.0, "fp8": 0.002})
    sources = Sources((Source("b.json", made, is_ordered=False),))

    found = advise(replace(material(of), sources=sources), Wish(Goal.THROUGHPUT))

    assert only(found).decides[0].basis == "6 and 6 rounds"
