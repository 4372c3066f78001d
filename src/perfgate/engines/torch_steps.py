"""Device time of steps in this process: the union of kernel intervals that torch's profiler (CUPTI) saw.

One session of the profiler holds a few windows, each of whole steps: before and after a window the device is waited
for and left idle for a moment, so that its kernels are told by their times alone, whatever streams, threads or CUDA
graphs they came from. Only the device is traced: a kernel's own duration does not depend on how slowly it was
launched. Where CUPTI is missing or not permitted the trace is empty, and that is the reason given.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from perfgate.engines.base import TokenEvent, first_line
from perfgate.engines.device_steps import Step, StepKind, Steps

PREFILLS = 3  # windows over the prompts
DECODES, TOGETHER = 5, 6  # windows over decode steps, and the steps of each
TOKENS = 50  # of a request: all windows, and what those in front make until the last of a batch has its prompt done
_APART_S = 0.002  # idle around a window; the host's clock and the trace's agree to some 50 us
_WORK = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
_PLANTED = "spin_kernel"  # torch.cuda._sleep: a planted wait, never the engine's work

Span = tuple[int, int]  # begin and end, ns since the epoch


@dataclass(frozen=True, slots=True)
class Window:
    """Whole steps of one kind between two moments at which the device was idle."""

    kind: StepKind
    sequences: int
    steps: int
    span: Span

    @property
    def seconds(self) -> float:
        """Of the host's clock."""
        return (self.span[1] - self.span[0]) / 1e9


@dataclass(frozen=True, slots=True)
class Tracer:
    """How work is traced: the profiler's activities, what of a trace counts, and how the device is waited for.

    long_s: prompts that take longer are watched once.
    """

    activities: tuple[str, ...] = ("CUDA",)
    counted: frozenset[str] = _WORK
    settle: Callable[[], None] = lambda: None
    long_s: float = 0.5


@dataclass(slots=True)
class Watch:
    """The windows of a session."""

    tracer: Tracer
    windows: list[Window] = field(default_factory=list)
    _begin_ns: int = 0

    def open(self) -> None:
        """Wait for the device, and begin a window."""
        self.tracer.settle()
        time.sleep(_APART_S)
        self._begin_ns = time.time_ns()

    def close(self, kind: StepKind, sequences: int, steps: int) -> None:
        """Wait for the device, and end the window of so many steps."""
        self.tracer.settle()
        self.windows.append(Window(kind, sequences, steps, (self._begin_ns, time.time_ns())))
        time.sleep(_APART_S)


Run = Callable[[int], Iterator[TokenEvent]]  # all requests at once, at most this many tokens of each


def traced(work: Callable[[Watch], None], tracer: Tracer | None = None) -> Steps:
    """Steps of the windows that `work` opens and closes on this process's GPU; or why there are none."""
    try:
        import torch
        from torch.profiler import ProfilerActivity, profile

        if tracer is None:
            if not torch.cuda.is_available():
                return Steps(reason="no GPU: its share of a step is all of it")
            tracer = Tracer(settle=torch.cuda.synchronize)
        watch = Watch(tracer)
        os.environ.setdefault("TEARDOWN_CUPTI", "0")  # ending it under captured CUDA graphs has crashed
        os.environ.setdefault("DISABLE_CUPTI_LAZY_REINIT", "1")
        with profile(activities=[getattr(ProfilerActivity, name) for name in tracer.activities]) as session:
            work(watch)
            tracer.settle()
        return steps_of(_exported(session), watch.windows, tracer.counted)
    except Exception as exc:  # noqa: BLE001 - torch, CUPTI and engines raise anything; the timed regions stand
        return Steps(reason=f"profiling failed: {type(exc).__name__}: {first_line(exc)}")


def watched(run: Run, count: int, watch: Watch) -> None:
    """Windows over the prompts of `count` requests, then over decode steps that all of them take part in.

    run: yields events as steps end, those of a step at one time.
    """
    for _ in range(PREFILLS):
        watch.open()
        deque(run(1), maxlen=0)
        watch.close(StepKind.PREFILL, count, 1)
        if watch.windows[-1].seconds > watch.tracer.long_s:
            break
    _watched_decode(_steps(run(TOKENS)), count, watch)


def _steps(events: Iterable[TokenEvent]) -> Iterator[list[TokenEvent]]:
    """Events of one step after the other. A step is seen to end when the next one has run: always one ahead."""
    tokens = (event for event in events if event.tokens)
    return (list(group) for _, group in groupby(tokens, key=lambda event: event.time_ns))


def _watched_decode(steps: Iterator[list[TokenEvent]], count: int, watch: Watch) -> None:
    started: set[int] = set()
    for step in steps:
        started |= {event.request for event in step}
        if len(started) == count:
            break
    next(steps, None)  # an engine that schedules ahead launched it before the last first token was seen
    for _ in range(DECODES):
        watch.open()
        taken = list(islice(steps, TOGETHER))
        if len(taken) < TOGETHER or any(len(step) != count for step in taken):
            break  # a request has ended: the steps were not alike
        watch.close(StepKind.DECODE, count, TOGETHER)
    deque(steps, maxlen=0)


@dataclass(slots=True)
class Counted:
    """Windows over decode steps where a library tells of each in a thread or callback of its own.

    skip: steps until every sequence decodes. most: windows, while all sequences go on.
    """

    watch: Watch
    sequences: int
    skip: int
    most: int = DECODES
    seen: int = 0

    def after_step(self) -> None:
        """To be called when a step has ended."""
        self.seen += 1
        window, rest = divmod(self.seen - self.skip, TOGETHER)
        if rest or not 0 <= window <= self.most:
            return
        if window:
            self.watch.close(StepKind.DECODE, self.sequences, TOGETHER)
        if window < self.most:
            self.watch.open()


def _exported(session: Any) -> Mapping[str, Any]:
    """The trace in Chrome's format, the only public one that tells kernels from what launched them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        session.export_chrome_trace(str(path))
        found: Mapping[str, Any] = json.loads(path.read_bytes())
        return found


# ------------------------------------------------------------------ pure


def steps_of(trace: Mapping[str, Any], windows: Sequence[Window], counted: frozenset[str] = _WORK) -> Steps:
    """Windows as steps: the device's seconds of each, shared evenly among the steps of the window."""
    spans = device_spans(trace, counted)
    if not spans:
        return Steps(reason="the profiler saw no kernel: CUPTI is missing, not permitted, or another program has it")
    found = [(one, union_ns(inside(spans, one.span))) for one in windows]
    if not any(busy for _, busy in found):
        return Steps(reason=f"the profiler saw {len(spans)} kernels, none in a window: its clock is not the host's")
    return Steps(tuple(_step(one, busy) for one, busy in found if busy))


def _step(window: Window, busy_ns: int) -> Step:
    return Step(window.kind, window.sequences, busy_ns / window.steps / 1e9, window.seconds / window.steps)


def device_spans(trace: Mapping[str, Any], counted: frozenset[str] = _WORK) -> list[Span]:
    """When the device worked, by begin; times of a trace are microseconds since `baseTimeNanoseconds`."""
    base = int(trace.get("baseTimeNanoseconds", 0))
    events = [one for one in trace["traceEvents"] if one.get("ph") == "X" and one.get("cat") in counted]
    own = [one for one in events if _PLANTED not in one["name"]]
    return sorted(_span(base + round(one["ts"] * 1000), round(one["dur"] * 1000)) for one in own)


def _span(begin: int, duration: int) -> Span:
    return begin, begin + duration


def inside(spans: Iterable[Span], window: Span) -> list[Span]:
    """Those that begin in a window."""
    return [span for span in spans if window[0] <= span[0] < window[1]]


def union_ns(spans: Iterable[Span]) -> int:
    """Time covered by any of the spans, which come by begin: what runs at once counts once."""
    total, reached = 0, 0
    for begin, end in spans:
        total += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return total
