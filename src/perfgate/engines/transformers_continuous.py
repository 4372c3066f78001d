"""In-flight batching over a paged KV cache: transformers' continuous batching.

Its loop runs in a thread of the library's. It notes for every token when the host had it (perf_counter), and hands a
request's tokens over when the request has ended: streaming would copy all of a request's tokens at every step.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfgate.case import EngineSpec
from perfgate.engines.base import Request, Scored, TokenEvent, wait_after
from perfgate.engines.device_steps import StepKind, Steps, shortened
from perfgate.engines.torch_steps import DECODES, PREFILLS, TOGETHER, TOKENS, Counted, Watch, traced
from perfgate.engines.transformers_model import TorchModel
from perfgate.errors import EngineError

_PAGE = 256  # tokens of a block of the KV cache: the library's default
_PATIENCE_S = 0.5  # between looks at whether the library's thread still runs


class ContinuousEngine(TorchModel):
    """Requests join and leave at any step."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._manager: Any = None
        self._names = itertools.count()  # unique over all `generate` calls

    def generate(self, requests: Sequence[Request], concurrency: int) -> Iterator[TokenEvent]:
        """Closed loop: a request joins when another one's last token is there. Events come when a request has ended.

        Raises:
            EngineError: the library failed at a request or its thread ended.
        """
        manager = self._started()
        waiting = iter(requests)
        running: dict[str, Request] = {}
        while True:
            while len(running) < concurrency and (request := next(waiting, None)):
                yield TokenEvent(request.id, time.perf_counter_ns(), 0)
                running[self._add(manager, request)] = request
            if not running:
                return
            done = self._next(manager)
            request = running.pop(done.request_id)
            tokens = [(int(token),) for token in done.generated_tokens]
            told = tokens if len(tokens) == len(done.timestamps) else [()] * len(done.timestamps)
            moments = zip(done.timestamps, told, strict=True)
            yield from (TokenEvent(request.id, int(moment_s * 1e9), 1, ids) for moment_s, ids in moments)

    def device_steps(self, requests: Sequence[Request], concurrency: int) -> Steps:
        """Steps by torch's profiler, counted in the library's thread."""
        mine = requests[:concurrency]
        return traced(lambda watch: self._watched(mine, watch))

    def _watched(self, requests: Sequence[Request], watch: Watch) -> None:
        """Windows over the prompts, then over decode steps that all requests take part in."""
        for _ in range(PREFILLS):
            watch.open()
            deque(self.generate(shortened(requests, 1), len(requests)), maxlen=0)
            watch.close(StepKind.PREFILL, len(requests), 1)
        prompts = sum(len(request.prompt) for request in requests)
        skip = -(-prompts // self._spec.max_num_tokens) + 2  # one is launched ahead
        tokens = min(skip + TOKENS, *(request.output_len for request in requests))
        counted = Counted(watch, len(requests), skip, min(DECODES, (tokens - skip) // TOGETHER))
        with counting(self._started(), counted):
            deque(self.generate(shortened(requests, tokens), len(requests)), maxlen=0)

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float64]:
        """Natural-log probability of each token but the first, over a contiguous KV cache, with the loop stopped."""
        self._stop()
        return super().score(token_ids)

    def score_top(self, token_ids: Sequence[int], count: int, top: int) -> Scored:
        """The same of the last tokens, with the likeliest beside each."""
        self._stop()
        return super().score_top(token_ids, count, top)

    def free(self) -> None:
        """End the library's thread and give all memory back."""
        self._stop()
        super().free()

    def _started(self) -> Any:
        """The library's loop, started where it does not run: its first step makes the KV cache."""
        if self._manager is None:
            from transformers import ContinuousBatchingConfig, GenerationConfig

            known = {field.name for field in fields(ContinuousBatchingConfig)}
            wish = {name: value for name, value in settings(self._spec).items() if name in known}
            if "auto_switch_to_flash" not in known:  # 5.17 leaves the attention alone only where it is paged already
                self._model.set_attn_implementation(f"paged|{self._notes['attention']}")
            greedy = GenerationConfig(do_sample=False, eos_token_id=-1)
            with self._clear_errors():
                self._manager = self._model.init_continuous_batching(greedy, ContinuousBatchingConfig(**wish))
            if self._plant.decode > 1:
                after_each_step(self._manager, lambda step_ns: wait_after(step_ns, self._plant))
            self._manager.start()
            self._notes = self._notes | {name: str(value) for name, value in wish.items()}
        return self._manager

    def _stop(self) -> None:
        if self._manager is not None:
            manager, self._manager = self._manager, None
            with suppress(RuntimeError):  # it failed already, and said why
                manager.stop(block=True, hard_stop=True)
            self._model.set_attn_implementation(self._notes["attention"])

    def _add(self, manager: Any, request: Request) -> str:
        """Hand a request over; -1 is no token, so nothing ends it early."""
        name = f"perfgate-{next(self._names)}"
        given = manager.add_request(
            list(request.prompt),
            request_id=name,
            max_new_tokens=request.output_len,
            record_timestamps=True,
            eos_token_id=-1,
        )
        if given is None:
            raise EngineError(f"transformers took no request of '{self._spec.name}': its loop has ended, see the log")
        return name

    def _next(self, manager: Any) -> Any:
        """The next request that has ended."""
        while True:
            done = manager.get_result(timeout=_PATIENCE_S)
            if done is not None and done.error:
                raise EngineError(f"transformers cannot run '{self._spec.name}': {done.error.splitlines()[0][:300]}")
            if done is not None and done.is_finished():
                return done
            if done is None and not manager.is_running():
                raise EngineError(f"transformers' loop ended while '{self._spec.name}' ran: see the log")


def settings(spec: EngineSpec) -> Mapping[str, Any]:
    """Of `ContinuousBatchingConfig`; the KV cache holds max_batch_size times max_seq_len, so that runs compare."""
    return {
        "max_batch_tokens": spec.max_num_tokens,
        "max_requests_per_batch": spec.max_batch_size,
        "num_blocks": (-(-spec.max_seq_len // _PAGE) + 1) * spec.max_batch_size,
        "allow_block_sharing": spec.prefix_caching,
        "use_cuda_graph": bool(spec.cuda_graphs),
        "use_async_batching": bool(spec.overlap_scheduler),
        "auto_switch_to_flash": False,  # which may fetch kernels
        "seed": 0,
    }


def after_each_step(manager: Any, call: Callable[[int], None]) -> None:
    """Have the loop make a call with each step's nanoseconds, in its own thread, before the next step can begin."""
    step = manager._generation_loop_body  # noqa: SLF001 - the library has no hook; timed regions go without one

    def longer(*args: Any, **kwargs: Any) -> Any:
        before, begin_ns = manager.current_batch, time.perf_counter_ns()
        goes_on = step(*args, **kwargs)
        if manager.current_batch > before:
            call(time.perf_counter_ns() - begin_ns)
        return goes_on

    manager._generation_loop_body = longer  # noqa: SLF001


@contextmanager
def counting(manager: Any, counted: Counted) -> Iterator[None]:
    """Tell of each step inside."""
    before = manager._generation_loop_body  # noqa: SLF001
    after_each_step(manager, lambda _: counted.after_step())
    try:
        yield
    finally:
        manager._generation_loop_body = before  # noqa: SLF001
