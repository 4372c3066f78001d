"""Which engine each is compared with, and what differs in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advising_examples import BF16, FP8, GRAPHS_OFF
from perfgate.advising.pairs import Changed, changes, plainness, techniques
from perfgate.case import Drafting, EngineSpec, KvDtype, Precision, Speculation

KV8 = replace(BF16, name="kv", kv_cache_dtype=KvDtype.FP8)
BOTH = replace(FP8, name="both", kv_cache_dtype=KvDtype.FP8)


def found(*engines: EngineSpec, **named: str) -> dict[str, str]:
    return {one.engine.name: one.reference.name for one in techniques(engines, named)}


def test_the_plainest_engine_is_the_reference_wherever_it_stands() -> None:
    assert found(FP8, GRAPHS_OFF, BF16) == {"fp8": "bf16", "no-graphs": "bf16"}


def test_the_engine_that_differs_in_the_fewest_keys_is_the_reference() -> None:
    pairs = {one.engine.name: one for one in techniques([BF16, FP8, BOTH], {})}

    assert pairs["both"].reference == FP8
    assert pairs["both"].root == BF16
    assert pairs["both"].title == "kv_cache_dtype fp8"


def test_of_two_plain_engines_the_first_is_the_reference() -> None:
    fp16 = replace(BF16, name="fp16", precision=Precision.FP16)

    assert found(fp16, BF16) == {"bf16": "fp16"}


def test_other_models_are_compared_only_where_the_suite_names_the_reference() -> None:
    pruned = replace(BF16, name="pruned", model=Path("p"))

    assert found(BF16, pruned) == {}
    assert found(BF16, pruned, pruned="bf16") == {"pruned": "bf16"}


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        (FP8, (Changed("precision", "bf16", "fp8"),)),
        (replace(BF16, engine_args=(("a", 1),)), (Changed("engine_args.a", "none", "1"),)),
        (replace(BF16, speculative=Speculation(Drafting.NGRAM)), (Changed("speculative", "none", "ngram"),)),
        (GRAPHS_OFF, (Changed("cuda_graphs", "none", "false"),)),
        (replace(BF16, made_by="make it"), ()),
    ],
)
def test_what_differs_is_told_in_words(engine: EngineSpec, expected: tuple[Changed, ...]) -> None:
    assert changes(engine, BF16) == expected


def test_speculation_of_another_length_is_told_apart() -> None:
    short, long = (replace(BF16, speculative=Speculation(Drafting.NGRAM, n)) for n in (2, 5))

    (told,) = changes(long, short)

    assert told.before != told.after


@pytest.mark.parametrize(("engine", "may"), [(FP8, True), (KV8, True), (GRAPHS_OFF, False)])
def test_only_what_changes_numbers_may_cost_quality(engine: EngineSpec, may: bool) -> None:  # noqa: FBT001
    assert techniques([BF16, engine], {})[0].may_cost_quality is may


@given(st.permutations([BF16, FP8, KV8, BOTH, GRAPHS_OFF]))
def test_references_never_go_in_a_circle_and_lead_to_the_plainest(engines: list[EngineSpec]) -> None:
    pairs = techniques(engines, {})

    assert len(pairs) == 4
    assert {one.root.name for one in pairs} == {"bf16"}
    assert all(plainness(one.reference) < plainness(one.engine) for one in pairs)
