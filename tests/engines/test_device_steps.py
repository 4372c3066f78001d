"""Device times of steps: pure functions, and the driver of windows over a scripted engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.engines.base import Request, TokenEvent
from perfgate.engines.device_steps import Step, StepKind, shortened, step_figures
from perfgate.engines.torch_steps import (
    DECODES,
    PREFILLS,
    TOGETHER,
    Counted,
    Tracer,
    Watch,
    Window,
    device_spans,
    inside,
    steps_of,
    union_ns,
    watched,
)

SPANS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 50)).map(lambda one: (one[0], sum(one))))


@given(SPANS)
def test_union_counts_every_moment_once(spans: list[tuple[int, int]]) -> None:
    moments = {moment for begin, end in spans for moment in range(begin, end)}

    assert union_ns(sorted(spans)) == len(moments)


@given(SPANS, st.lists(st.integers(0, 250), min_size=2, max_size=6, unique=True).map(sorted))
def test_windows_share_the_spans_between_their_edges(spans: list[tuple[int, int]], edges: list[int]) -> None:
    windows = list(pairwise(edges))

    shared = [span for window in windows for span in inside(sorted(spans), window)]

    assert shared == [span for span in sorted(spans) if edges[0] <= span[0] < edges[-1]]


BASE = 1_790_000_000_000_000_000


def event(at_us: float, dur_us: float, cat: str = "kernel", name: str = "gemm") -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "ts": at_us, "dur": dur_us}


def trace(*events: dict[str, Any]) -> dict[str, Any]:
    return {"baseTimeNanoseconds": BASE, "traceEvents": [{"ph": "M", "name": "process_name"}, *events]}


def window(begin_us: int, end_us: int, steps: int = 2) -> Window:
    return Window(StepKind.DECODE, 4, steps, (BASE + begin_us * 1000, BASE + end_us * 1000))


def test_steps_hold_kernels_and_copies_of_their_window_only() -> None:
    found = steps_of(
        trace(
            event(5, 3),  # before the window
            event(100.5, 10),
            event(105, 10, "gpu_memcpy"),  # half of it beside the kernel
            event(100, 90, "cuda_runtime", "cudaLaunchKernel"),  # the host's
            event(150, 40, name="void at::cuda::(anonymous namespace)::spin_kernel(long)"),  # a planted wait
        ),
        [window(90, 200)],
    )

    (told,) = found.steps
    assert (told.kind, told.sequences) == (StepKind.DECODE, 4)
    assert told.device_s == pytest.approx(14.5e-6 / 2)
    assert told.host_s == pytest.approx(55e-6)


def test_a_trace_without_kernels_tells_why_and_no_zero() -> None:
    found = steps_of(trace(event(100, 90, "cuda_runtime", "cudaLaunchKernel")), [window(90, 200)])

    assert found.steps == ()
    assert "CUPTI" in (found.reason or "")


def test_kernels_outside_all_windows_are_no_zero_either() -> None:
    found = steps_of(trace(event(1000, 5)), [window(90, 200)])

    assert found.steps == ()
    assert "none in a window" in (found.reason or "")


def test_spans_keep_nanoseconds_far_from_their_base() -> None:
    assert device_spans(trace(event(4_432_584_951_866.369, 1.001))) == [
        (BASE + 4_432_584_951_866_369, BASE + 4_432_584_951_867_370)
    ]


# ------------------------------------------------------------------ figures


def step(kind: StepKind, device_s: float, sequences: int = 4) -> Step:
    return Step(kind, sequences, device_s)


def test_figures_are_medians_of_their_kind() -> None:
    steps = [step(StepKind.PREFILL, 0.04), *(step(StepKind.DECODE, x) for x in (0.002, 0.003, 0.9))]

    found = step_figures([*steps, step(StepKind.MIXED, 5.0)], wall_step_s=0.006)

    assert found == {
        "device_prefill_p50": pytest.approx(0.01),
        "device_decode_step_p50": pytest.approx(0.003),
        "device_busy_share": pytest.approx(0.5),
    }


@pytest.mark.parametrize(("wall_s", "share"), [(0.00297, 1.0), (0.001, 3.0)])
def test_a_share_slightly_above_one_is_one_and_a_larger_one_is_left_to_be_seen(wall_s: float, share: float) -> None:
    found = step_figures([step(StepKind.DECODE, 0.003)], wall_s)

    assert found["device_busy_share"] == pytest.approx(share)


def test_nothing_known_gives_no_figure() -> None:
    assert step_figures([step(StepKind.DECODE, 0.0)], 0.01) == {}


def test_shortened_requests_never_grow() -> None:
    requests = [Request(0, (1,), 5), Request(1, (1,), 50)]

    assert [one.output_len for one in shortened(requests, 20)] == [5, 20]


# ------------------------------------------------------------------ windows


class Script:
    """An engine that runs `prompts_a_step` prompts a step, one step ahead of what the host sees, and counts steps."""

    def __init__(self, sequences: int, prompts_a_step: int) -> None:
        self.sequences, self._prompts_a_step = sequences, prompts_a_step
        self.ran: list[int] = []  # sequences that decode in each step, 0 where prompts ran too

    def run(self, tokens: int) -> Iterator[TokenEvent]:
        begun, got = 0, dict.fromkeys(range(self.sequences), 0)
        pending: list[list[int]] = []
        yield from (TokenEvent(name, 0, 0) for name in got)
        while True:
            decoding = [name for name in range(begun) if 0 < got[name] < tokens]
            joining = range(begun, min(begun + self._prompts_a_step, self.sequences))
            begun += len(joining)
            mine = [*decoding, *joining]
            for name in mine:
                got[name] += 1
            if mine:
                self.ran.append(0 if joining else len(decoding))
                pending.append(mine)
            if not pending:
                return
            if len(pending) > 1 or not mine:
                yield from [TokenEvent(name, len(self.ran) * 10 + len(pending), 1) for name in pending.pop(0)]


@pytest.mark.parametrize("prompts_a_step", [1, 3, 8])
def test_windows_hold_whole_steps_in_which_every_sequence_decodes(prompts_a_step: int) -> None:
    engine, settled = Script(8, prompts_a_step), list[int]()
    watch = Watch(Tracer(long_s=math.inf, settle=lambda: settled.append(len(engine.ran))))

    watched(engine.run, engine.sequences, watch)

    kinds = [one.kind for one in watch.windows]
    assert kinds == [StepKind.PREFILL] * PREFILLS + [StepKind.DECODE] * DECODES
    edges = settled[2 * PREFILLS :]
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        assert engine.ran[begin:end] == [8] * TOGETHER


def test_long_prompts_are_watched_once() -> None:
    watch = Watch(Tracer(long_s=0.0))

    watched(Script(8, 8).run, 8, watch)

    assert [one.kind for one in watch.windows] == [StepKind.PREFILL] + [StepKind.DECODE] * DECODES


def test_windows_end_where_a_request_does() -> None:
    engine = Script(2, 2)
    watch = Watch(Tracer(long_s=math.inf))

    watched(lambda tokens: engine.run(min(tokens, 2 * TOGETHER)), 2, watch)

    assert [one.kind for one in watch.windows].count(StepKind.DECODE) == 1


def test_counted_windows_lie_behind_the_prompts() -> None:
    edges = list[int]()
    counted = Counted(Watch(Tracer(long_s=math.inf, settle=lambda: edges.append(counted.seen))), 4, skip=3, most=2)

    for _ in range(40):
        counted.after_step()

    assert edges == [3, 3 + TOGETHER, 3 + TOGETHER, 3 + 2 * TOGETHER]
    assert [one.steps for one in counted.watch.windows] == [TOGETHER] * 2
