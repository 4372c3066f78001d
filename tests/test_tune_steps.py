"""Which steps apply: the backend on its device, the precision there is, prompts, streams, what the GPU waits for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfgate.boundness import Bound
from perfgate.capabilities import CPU, GPU
from perfgate.case import (
    Drafting,
    EngineSpec,
    KvDtype,
    LatencyWork,
    PerplexityWork,
    Precision,
    ServingWork,
    Speculation,
)
from perfgate.spec_keys import changed_keys, own_keys
from perfgate.tune_goal import RULES, Goal, is_guarded
from perfgate.tune_steps import STEPS, Scene, Step, back_from, looks

FAKE = "fake_engine:FakeBackend"


def _step(name: str) -> Step:
    return next(step for step in STEPS if step.name == name)


def _spec(**own: Any) -> EngineSpec:
    return EngineSpec("e", Path("model"), backend=FAKE, **own)


def _work(tmp_path: Path = Path(), **own: Any) -> LatencyWork:
    return LatencyWork("load", tmp_path / "texts.jsonl", **own)


def _scene(goal: Goal = Goal.THROUGHPUT, work: Any = None, **own: Any) -> Scene:
    load = work or _work(concurrency=16)
    made = Scene(goal, GPU, (load, PerplexityWork("text", Path("texts.jsonl"))), load, has_text=True)
    return replace(made, **own)


def test_lower_precision_is_tried_in_the_order_of_what_the_device_has() -> None:
    no_fp8 = _spec(engine_args=(("lacks", "precision=fp8"),))

    assert _step("fp8").refusal(_spec(), _scene()) is None
    assert _step("int8_wo").refusal(_spec(), _scene()) == f"fp8 is there on {GPU.key}"
    assert _step("fp8").refusal(no_fp8, _scene()) == "there is no precision=fp8 here"
    assert _step("int8_wo").refusal(no_fp8, _scene()) is None
    assert _step("int4_wo").refusal(replace(no_fp8, precision=Precision.INT8_WO), _scene()) is None


def test_precision_never_rises_and_needs_a_text_that_tells_what_is_lost() -> None:
    assert "already" in (_step("fp8").refusal(_spec(precision=Precision.INT4_WO), _scene()) or "")
    assert "already" in (_step("kv-int8").refusal(_spec(kv_cache_dtype=KvDtype.FP8), _scene()) or "")
    assert "nothing would tell" in (_step("fp8").refusal(_spec(), _scene(has_text=False)) or "")


@pytest.mark.parametrize(
    ("goal", "streams", "words"),
    [(Goal.LATENCY, 16, "throughput only"), (Goal.THROUGHPUT, 8, "holds the 8 streams"), (Goal.THROUGHPUT, 9, None)],
)
def test_a_larger_batch_serves_streams_that_wait(goal: Goal, streams: int, words: str | None) -> None:
    why = _step("batch").refusal(_spec(), _scene(goal, _work(concurrency=streams)))

    assert why is None if words is None else words in (why or "")


def test_a_batch_goes_back_by_a_fifth_but_never_below_the_one_before() -> None:
    assert back_from(32, 16) == 25
    assert back_from(2, 1) is None


def test_chunked_context_is_for_prompts_that_are_long_against_a_step() -> None:
    step = _step("chunked")

    assert step.refusal(_spec(max_num_tokens=256), _scene(work=_work(input_len=129))) is None
    assert "short" in (step.refusal(_spec(max_num_tokens=256), _scene(work=_work(input_len=128))) or "")


def test_a_prefix_cache_is_for_prompts_that_begin_alike_and_are_asked_once(tmp_path: Path) -> None:
    step, head = _step("prefix"), "x" * 300
    alike = [{"id": str(at), "text": f"{head}{at}"} for at in range(20)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in alike))

    once, twice = (_scene(work=_work(tmp_path, requests=asked, warmup_requests=0)) for asked in (20, 21))

    assert step.refusal(_spec(), once) is None
    assert "more than once" in (step.refusal(_spec(), twice) or "")
    (tmp_path / "texts.jsonl").write_text(
        "".join(json.dumps({"id": i, "text": i}) + "\n" for i in "abcdefghijklmnopqrst")
    )
    assert "0 % of the prompts" in (step.refusal(_spec(), once) or "")


def test_the_hosts_steps_are_for_gpus_that_wait_or_of_which_nothing_is_known() -> None:
    step = _step("graphs")

    assert step.refusal(_spec(), _scene(waits=Bound.HOST)) is None
    assert step.refusal(_spec(), _scene(waits=Bound.UNKNOWN)) is None
    assert "busy" in (step.refusal(_spec(), _scene(waits=Bound.GPU)) or "")
    assert "CPU" in (step.refusal(_spec(), _scene(device=CPU)) or "")


def test_speculation_is_for_latency_at_few_streams() -> None:
    few, many = (_scene(Goal.LATENCY, _work(concurrency=streams)) for streams in (4, 5))
    draft = Speculation(Drafting.DRAFT_MODEL, 2, Path("draft"))

    assert _step("ngram").refusal(_spec(), few) is None
    assert "at most 4 streams" in (_step("ngram").refusal(_spec(), many) or "")
    assert "names a draft model" in (_step("draft").refusal(_spec(), few) or "")
    assert _step("draft").spec(_spec(), replace(few, draft=draft)).speculative == draft


def test_each_goal_is_told_by_its_own_workload() -> None:
    one, many, long = _work(), _work(concurrency=8), ServingWork("s", isl="4096", concurrency=4)

    chosen = {goal: RULES[goal].choose((one, many, long)) for goal in Goal}

    assert chosen == {Goal.LATENCY: one, Goal.THROUGHPUT: many, Goal.LONG_CONTEXT: long, Goal.MEMORY: None}


def test_a_goal_spends_what_it_must_and_no_more() -> None:
    assert is_guarded("ttft_p50", Goal.THROUGHPUT)
    assert not is_guarded("tpot_p50", Goal.THROUGHPUT)
    assert is_guarded("tpot_p50", Goal.LATENCY)
    assert not is_guarded("perplexity", Goal.LATENCY)  # judged as a loss, from the start


def test_every_candidate_has_its_part_of_the_probabilities_of_a_wrong_verdict() -> None:
    assert looks(_spec(max_batch_size=8), _scene(work=_work(concurrency=64))) >= len(STEPS) + 4


def test_a_spec_is_told_in_the_keys_of_a_suite() -> None:
    spec = _spec(precision=Precision.INT8_WO, speculative=Speculation(Drafting.NGRAM), max_batch_size=8)

    assert own_keys(spec) == {
        "model": "model", "backend": FAKE, "precision": "int8_wo", "speculative": {"method": "ngram", "draft_len": 3}
    }  # fmt: skip
    assert changed_keys(spec, replace(spec, max_batch_size=16)) == {"max_batch_size": 16}
