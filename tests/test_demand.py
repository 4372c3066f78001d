"""What cases ask of a device: widths, batches, speculation, and what cannot be known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfgate.case import (
    Batching,
    BuildWork,
    Case,
    Drafting,
    EngineSpec,
    KvDtype,
    LatencyWork,
    Precision,
    ServingWork,
    Speculation,
)
from perfgate.demand import demand_of, limits_of, widths_of
from perfgate.model_shape import ModelShape, read_shape
from perfgate.model_work import Split, Widths, decode_step, prefill
from test_roofline import CEILINGS

MODELS = Path(__file__).parents[1] / "fixtures" / "models"
SPEC = EngineSpec("e", MODELS / "tiny-llama", precision=Precision.BF16, max_batch_size=64)
WORK = LatencyWork("b1", Path("texts"), input_len=100, output_len=40)


def tiny() -> ModelShape:
    found = read_shape(MODELS / "tiny-llama")
    assert isinstance(found, ModelShape)
    return found


def test_a_step_is_taken_at_the_mean_context() -> None:
    demand = demand_of(Case(SPEC, replace(WORK, concurrency=4)))

    assert demand.decode == decode_step(tiny(), Widths(2, 2, 2), Split(), 4, 120)
    assert demand.prefill == prefill(tiny(), Widths(2, 2, 2), Split(), 100)
    assert demand.is_queued


def test_no_more_run_together_than_the_engine_takes() -> None:
    asked, bounded = (
        demand_of(Case(replace(SPEC, max_batch_size=size), replace(WORK, concurrency=concurrency)))
        for size, concurrency in ((64, 8), (8, 64))
    )

    assert asked.decode == bounded.decode


@pytest.mark.parametrize(
    ("changes", "widths"),
    [
        ({"precision": Precision.FP32}, Widths(4, 4, 4)),
        ({"precision": Precision.FP8, "backend": "vllm"}, Widths(1, 2, 2)),
        ({"precision": Precision.INT8_WO}, Widths(1, 1, 2)),
        ({"precision": Precision.INT4_AWQ, "backend": "vllm"}, Widths(0.5 + 2 / 128, 2, 2)),
        ({"precision": Precision.INT4_WO, "kv_cache_dtype": KvDtype.INT8}, Widths(0.5 + 2 / 32, 1, 1)),
    ],
    ids=["fp32", "fp8", "int8 by NNCF", "awq", "int4 with an int8 cache"],
)
def test_widths_follow_the_spec(changes: dict[str, Any], widths: Widths) -> None:
    assert widths_of(replace(SPEC, **changes)) == widths


def test_a_draft_model_works_too_in_every_step() -> None:
    drafted = Speculation(Drafting.DRAFT_MODEL, 3, MODELS / "tiny-llama-draft")
    ngram = Speculation(Drafting.NGRAM, 3)
    plain, by_model, by_ngram = (
        demand_of(Case(replace(SPEC, speculative=one), WORK)) for one in (None, drafted, ngram)
    )

    assert plain.decode is not None
    assert by_model.decode is not None
    assert by_ngram.decode is not None
    assert by_model.is_speculative
    assert by_ngram.decode.moved_bytes == plain.decode.moved_bytes
    assert by_ngram.decode.flops == pytest.approx(4 * plain.decode.flops)
    assert by_model.decode.moved_bytes > by_ngram.decode.moved_bytes


def test_prompts_of_a_static_batch_are_computed_together() -> None:
    static = replace(SPEC, batching=Batching.STATIC, paged_kv=False)
    one, eight = (demand_of(Case(static, replace(WORK, concurrency=streams))) for streams in (1, 8))

    assert one.prefill is not None
    assert eight.prefill is not None
    assert eight.prefill.flops == pytest.approx(8 * one.prefill.flops)
    assert eight.prefill.moved_bytes < 8 * one.prefill.moved_bytes
    assert not eight.is_queued


def test_drawn_lengths_count_by_their_mean() -> None:
    fixed, drawn = (
        demand_of(Case(SPEC, ServingWork("c", isl=isl, concurrency=2))) for isl in ("300", "uniform:200:400")
    )

    assert fixed.decode is not None
    assert drawn.decode is not None
    assert drawn.decode.moved_bytes == pytest.approx(fixed.decode.moved_bytes, rel=0.01)


@pytest.mark.parametrize(
    ("spec", "work", "part", "said"),
    [
        (SPEC, ServingWork("open", request_rate=2.0), "decode", "not known for an open loop"),
        (replace(SPEC, prefix_caching=True), WORK, "prefill", "not known with prefix caching"),
        (replace(SPEC, model=Path("nowhere")), WORK, "decode", "cannot be read"),
        (
            replace(SPEC, speculative=Speculation(Drafting.DRAFT_MODEL, 3, Path("nowhere"))),
            WORK,
            "decode",
            "the draft model: not known",
        ),
    ],
    ids=["open loop", "prefix caching", "no config", "no draft config"],
)
def test_what_is_not_known_has_its_reason(
    spec: EngineSpec, work: ServingWork | LatencyWork, part: str, said: str
) -> None:
    demand = demand_of(Case(spec, work))

    assert getattr(demand, part) is None
    assert said in demand.untold[part]


def test_only_cases_that_generate_have_a_demand() -> None:
    assert set(limits_of([Case(SPEC, WORK), Case(SPEC, BuildWork("build"))], CEILINGS).demands) == {"e-b1"}
