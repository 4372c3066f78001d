"""Bytes and FLOPs of a decoder: counted by hand for a small one, and laws that hold for all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.model_shape import ModelShape
from perfgate.model_work import Split, Widths, decode_step, experts_touched, kv_bytes_per_token, prefill, weight_bytes

SMALL = ModelShape(layers=2, hidden=8, heads=4, kv_heads=2, head_dim=2, inner=16, vocabulary=32)
BLOCKS = 2 * (2 * 8 * 2 * (4 + 2) + 3 * 8 * 16)  # q, k, v, o and the gated MLP of two layers
HEAD = 32 * 8
ONE = Split()
HALF = Widths(2, 2, 2)

shapes = st.builds(
    ModelShape,
    layers=st.integers(1, 128), hidden=st.integers(1, 16384), heads=st.integers(1, 128), kv_heads=st.integers(1, 128),
    head_dim=st.integers(1, 256), inner=st.integers(1, 65536), vocabulary=st.integers(1, 300_000),
)  # fmt: skip
widths = st.builds(Widths, *[st.sampled_from([0.5, 1.0, 2.0, 4.0])] * 3)
counts = st.integers(1, 4096)


def test_a_decode_step_by_hand() -> None:
    work = decode_step(SMALL, HALF, ONE, batch=3, context=10)

    kv_token = 2 * 2 * 2 * 2 * 2  # keys and values, layers, heads, head size, bytes
    assert kv_bytes_per_token(SMALL, HALF, ONE) == kv_token
    assert work.moved_bytes == (BLOCKS + HEAD) * 2 + 3 * 10 * kv_token
    assert work.flops == 3 * (2 * (BLOCKS + HEAD) + 4 * 2 * 4 * 2 * 10)


def test_a_prompt_by_hand() -> None:
    work = prefill(SMALL, HALF, ONE, prompt=10)

    assert work.flops == 2 * BLOCKS * 10 + 2 * HEAD + 4 * 2 * 4 * 2 * (1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 10)
    assert work.moved_bytes == (BLOCKS + HEAD) * 2 + 10 * 32


def test_a_window_bounds_what_attention_looks_at() -> None:
    near = replace(SMALL, window=4)

    assert decode_step(near, HALF, ONE, 1, 100) == decode_step(SMALL, HALF, ONE, 1, 4)
    assert prefill(near, HALF, ONE, 6).flops == 2 * BLOCKS * 6 + 2 * HEAD + 64 * (1 + 2 + 3 + 4 + 4 + 4)


def test_more_tokens_touch_more_experts_up_to_all() -> None:
    mixture = replace(SMALL, experts=8, active_experts=2)

    assert experts_touched(mixture, 1) == pytest.approx(2)
    assert experts_touched(mixture, 2) == pytest.approx(3.5)
    assert experts_touched(mixture, 1000) == pytest.approx(8)


@given(shapes, widths, counts, counts)
def test_more_streams_and_longer_contexts_are_more_work(
    shape: ModelShape, wide: Widths, batch: int, context: int
) -> None:
    less = decode_step(shape, wide, ONE, batch, context)

    for more in (decode_step(shape, wide, ONE, batch + 1, context), decode_step(shape, wide, ONE, batch, context + 1)):
        assert more.moved_bytes > less.moved_bytes
        assert more.flops > less.flops


@given(shapes, widths, counts)
def test_a_longer_prompt_is_more_work_by_more_than_its_length(shape: ModelShape, wide: Widths, prompt: int) -> None:
    once, twice = (prefill(shape, wide, ONE, tokens) for tokens in (prompt, 2 * prompt))

    layers_once = once.flops - 2 * shape.head_params
    assert twice.flops - 2 * shape.head_params > 2 * layers_once * (1 - 1e-9)
    assert twice.moved_bytes > once.moved_bytes


@given(shapes, widths, counts, counts, st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]))
def test_parallelism_divides_flops_and_weights_and_never_a_kv_head(
    shape: ModelShape, wide: Widths, batch: int, context: int, tp: int, pp: int
) -> None:
    whole, part = (decode_step(shape, wide, split, batch, context) for split in (ONE, Split(tp, pp)))

    assert part.flops == pytest.approx(whole.flops / (tp * pp))
    weights = weight_bytes(shape, wide, Split(tp, pp), batch)
    assert weights == pytest.approx(weight_bytes(shape, wide, ONE, batch) / (tp * pp))
    share = kv_bytes_per_token(shape, wide, Split(tp, pp)) / kv_bytes_per_token(shape, wide, ONE)
    assert share == pytest.approx(max(1 / tp, 1 / shape.kv_heads) / pp)


@given(shapes, widths, counts, counts, st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_bytes_scale_with_the_widths_and_flops_do_not(
    shape: ModelShape, wide: Widths, batch: int, context: int, times: float
) -> None:
    wider = Widths(wide.block * times, wide.head * times, wide.kv * times)

    before, after = (decode_step(shape, one, ONE, batch, context) for one in (wide, wider))

    assert after.moved_bytes == pytest.approx(before.moved_bytes * times)
    assert after.flops == before.flops
