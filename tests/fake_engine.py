"""A backend without an engine library: `fake_engine:FakeBackend` in a suite, with tests/ on the import path.

Its behaviour is told by `engine_args`:

    fail       where an EngineError is raised: build, load, run or score; `crash` kills the process while running
    say        the text of that error, also printed, with $NAMES of the environment; 'told to fail' by default
    hang       true: running sleeps without end
    fail_step  the step, counted from 1 over the engine's life, at which an EngineError is raised
    refuse     the reason for which `support` says no
    build_s    seconds that a build sleeps half-way
    build_log  a file that gets one line per finished build
    gate       a file whose existence a build waits for half-way
    run_log    a file that gets a line of request ids for each call of `generate`
    load_log   a file that gets a line when an engine is loaded and one when it is left: 'begins FOLDER PID', 'ends ...'
    load_gate  a file whose existence loading waits for
    step_us    length of a decode step, 200 by default; twice that where the spec has cuda_graphs: false
    speeds     what makes steps shorter or longer: 'precision=int8_wo:0.5 prefix_caching=True:2'
    lacks      what `support` says no to, in the same way without factors: 'precision=fp8 kv_cache_dtype=fp8'
    oom_at     the max_batch_size from which loading ends with CUDA's words for a lack of memory
    sleep      true: a step sleeps; else it keeps the core busy, as decoding does
    device_us  the device's time of a decode step, which the engine then tells; a prompt takes ten times as long
    chatty     bytes that it writes to its log when it is loaded
    output     what it generates: repeat (one token), foreign (none of its vocabulary), nothing; else tokens that vary
    clock      backwards, still: times of its events that cannot be; steps: nothing but its steps takes time, and that
               exactly as long as it should, without any waiting
    cut        true: every request ends one token early
    loss       nats that every token scores worse than it would; broken: its scores are no numbers
    int4_loss  the same of int4_wo alone, in groups of 32; half of it in groups of 16
    noise      spread between processes, log units: each draws the length of all its steps anew
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from perfgate.case import EngineSpec, Precision
from perfgate.device import Device
from perfgate.engines.base import (
    ClosedLoop,
    EngineStats,
    Prepared,
    Request,
    Scored,
    Source,
    Support,
    TokenEvent,
    log_probs,
    scored,
    wait_after,
)
from perfgate.engines.cache import Phases, model_digest
from perfgate.engines.device_steps import Step, StepKind, Steps
from perfgate.errors import EngineError
from perfgate.plant import Plant

WEIGHTS = "weights.bin"
VOCABULARY = 256


@dataclass(slots=True)
class FakeBackend:
    """A backend whose engines are three small files."""

    name: str = "fake"
    version: str = "1.0"
    quantising: ClassVar = {Precision.INT4_WO: frozenset({"group_size", "calibration", "calibration_texts"})}
    int4_group_size: ClassVar = 32

    def versions(self) -> Mapping[str, str]:
        return {"fake": self.version}

    def support(self, spec: EngineSpec, device: Device) -> Support:
        del device
        args = dict(spec.engine_args)
        lacked = [one for one in str(args.get("lacks", "")).split() if _has(spec, one)]
        reason = f"there is no {lacked[0]} here" if lacked else args.get("refuse")
        return Support(None if reason is None else str(reason))

    def prepare(self, spec: EngineSpec, device: Device, into: Path) -> Prepared:
        args, phases = dict(spec.engine_args), Phases()
        with phases("convert"):
            (into / WEIGHTS).write_text(f"{model_digest(spec.model)} {spec.precision}\n")
        _fail_if(args, "build")
        with phases("compile"):
            time.sleep(float(args.get("build_s", 0)))
            _wait_for(args.get("gate"))
            (into / "compiled").mkdir()
            (into / "compiled" / "plan.txt").write_text(f"for {device.key}\n")
            (into / "config.txt").write_text(f"{spec.max_batch_size} at a time\n")
        if "build_log" in args:
            with Path(str(args["build_log"])).open("a") as log:
                log.write(f"built by {os.getpid()}\n")
        return Prepared(into, phases.seconds)

    @contextmanager
    def load(self, spec: EngineSpec, prepared: Path, plant: Plant) -> Iterator[FakeEngine]:
        args = dict(spec.engine_args)
        with _logged(args.get("load_log")):
            _wait_for(args.get("load_gate"))
            yield self._loaded(spec, prepared, plant, args)

    def _loaded(self, spec: EngineSpec, prepared: Path, plant: Plant, args: dict[str, str | float]) -> FakeEngine:
        sys.stdout.write("so much to say\n" * (int(args.get("chatty", 0)) // 15))
        _fail_if(args, "load")
        if not (prepared / WEIGHTS).exists():
            raise EngineError(f"no engine in {prepared}")
        if spec.max_batch_size >= float(args.get("oom_at", math.inf)):
            sys.stdout.write("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n")
            raise EngineError("CUDA out of memory. Tried to allocate 2.00 GiB")
        slow = (2 if spec.cuda_graphs is False else 1) * _factor(spec, str(args.get("speeds", "")))
        if spec.precision is Precision.INT4_WO and "int4_loss" in args:
            group = (spec.quantisation.group_size if spec.quantisation else None) or 32
            told = args["int4_loss"]
            args["loss"] = told if told == "broken" else float(told) * group / 32
        engine = SteppedFakeEngine if "device_us" in args else FakeEngine
        return engine(args | {"step_us": slow * float(args.get("step_us", 200))}, plant)


class FakeEngine:
    """Decodes at a steady pace and knows its text by heart: bytes are tokens, a fixed table their odds."""

    def __init__(self, args: Mapping[str, str | float], plant: Plant) -> None:
        self._args = args
        self._plant = plant
        self._steps = 0
        self._stepped_ns = 0  # by the clock of steps alone
        self._began_ns = time.perf_counter_ns()
        luck = math.exp(float(args.get("noise", 0)) * np.random.default_rng().standard_normal())
        self._step_ns = int(float(args.get("step_us", 200)) * 1000 * luck)
        self._logits = np.random.default_rng(7).standard_normal((VOCABULARY, VOCABULARY))

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def generate(self, requests: Sequence[Request], concurrency: int) -> Iterator[TokenEvent]:
        if "run_log" in self._args:
            with Path(str(self._args["run_log"])).open("a") as log:
                log.write(f"{' '.join(str(request.id) for request in requests)}\n")
        return self.generate_live(ClosedLoop(requests), concurrency)

    def generate_live(self, source: Source, concurrency: int) -> Iterator[TokenEvent]:
        _fail_if(self._args, "run")
        if self._args.get("fail") == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        while self._args.get("hang"):
            time.sleep(1)
        left = dict[int, int]()
        while (joining := source.join(concurrency - len(left), is_idle=not left)) is not None or left:
            for name in source.left():
                left.pop(name, None)
            for request in joining or ():
                left[request.id] = request.output_len - bool(self._args.get("cut"))
                yield TokenEvent(request.id, self._now(), 0)
            if not left:
                continue
            self._step()
            now = self._now()
            if self._args.get("output") != "nothing":
                yield from [TokenEvent(request_id, now, 1, (self._token(request_id),)) for request_id in left]
            left = {request_id: tokens - 1 for request_id, tokens in left.items() if tokens > 1}

    def _now(self) -> int:
        match self._args.get("clock"):
            case "still":
                return self._began_ns
            case "steps":
                return self._began_ns + self._stepped_ns
            case "backwards":
                return 2 * self._began_ns - time.perf_counter_ns()
            case _:
                return time.perf_counter_ns()

    def _token(self, request: int) -> int:
        match self._args.get("output"):
            case "repeat":
                return 0
            case "foreign":
                return -1
            case _:
                return (self._steps * 7 + request) % VOCABULARY

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float64]:
        _fail_if(self._args, "score")
        noise = np.random.default_rng(11)
        found = log_probs(self._logits[list(token_ids[:-1])], list(token_ids[1:]), self._plant, noise)
        return found - self._loss

    def score_top(self, token_ids: Sequence[int], count: int, top: int) -> Scored:
        _fail_if(self._args, "score")
        before, targets = list(token_ids[:-1])[-count:], list(token_ids[1:])[-count:]
        found = scored(self._logits[before], targets, top, self._plant, np.random.default_rng(11))
        return Scored(found.log_probs - self._loss, found.top_ids, found.top_log_probs)

    @property
    def _loss(self) -> float:
        told = self._args.get("loss", 0.0)
        return math.nan if told == "broken" else float(told)

    def stats(self) -> EngineStats:
        return EngineStats(notes={"pace": "sleeping" if self._args.get("sleep") else "busy"})

    def _step(self) -> None:
        self._steps += 1
        if self._steps == self._args.get("fail_step"):
            raise EngineError(f"told to fail at step {self._steps}")
        if self._args.get("clock") == "steps":
            self._stepped_ns += int(self._step_ns * self._plant.decode)
            return
        begin = time.perf_counter_ns()
        if self._args.get("sleep"):
            time.sleep(self._step_ns / 1e9)
        while time.perf_counter_ns() < begin + self._step_ns:
            pass
        wait_after(time.perf_counter_ns() - begin, self._plant)


class SteppedFakeEngine(FakeEngine):
    """The same on a device whose times are told."""

    def device_steps(self, requests: Sequence[Request], concurrency: int) -> Steps:
        """Three decode steps and a prefill, whatever the host did."""
        device_s, count = float(self._args["device_us"]) / 1e6, min(concurrency, len(requests))
        if not device_s:
            return Steps(reason="told not to tell")
        decode = Step(StepKind.DECODE, count, device_s)
        return Steps((Step(StepKind.PREFILL, count, 10 * device_s * count), decode, decode, decode))


def _has(spec: EngineSpec, told: str) -> bool:
    """Whether 'key=value' is so in a spec."""
    key, _, value = told.partition("=")
    return str(getattr(spec, key)) == value


def _factor(spec: EngineSpec, speeds: str) -> float:
    pairs = (one.rpartition(":") for one in speeds.split())
    return math.prod(float(factor) for told, _, factor in pairs if _has(spec, told))


def _fail_if(args: Mapping[str, str | float], stage: str) -> None:
    if args.get("fail") == stage:
        said = os.path.expandvars(str(args.get("say", f"told to fail at '{stage}'")))
        sys.stdout.write(f"{said}\n")
        raise EngineError(said)


@contextmanager
def _logged(file: str | float | None) -> Iterator[None]:
    if file is None:
        yield
        return
    with Path(str(file)).open("a", buffering=1) as log:  # whole lines, in the order in which they were written
        log.write(f"begins {Path.cwd().name} {os.getpid()}\n")
        yield
        log.write(f"ends {Path.cwd().name} {os.getpid()}\n")


def _wait_for(gate: str | float | None) -> None:
    while gate is not None and not Path(str(gate)).exists():
        time.sleep(0.005)
