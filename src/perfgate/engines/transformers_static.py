"""Static batching: a greedy loop of our own over a contiguous KV cache, so that every token can be stamped.

Eager by default. Compiled (cuda_graphs on a GPU, engine_args torch_compile anywhere) the decode step runs over a
StaticCache of fixed addresses, which CUDA graphs need; the prompt is always run eagerly.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from perfgate.engines.base import Request, TokenEvent, check_one_length, wait_after
from perfgate.engines.device_steps import Steps
from perfgate.engines.torch_steps import traced, watched
from perfgate.engines.transformers_model import TorchModel
from perfgate.heartbeat import beat

_BLOCK = 64  # static caches are made this much longer at a time, so that few lengths are compiled for
_SHAPES = 64  # batch sizes x cache lengths compiled for; torch gives up after 8 unless told otherwise


class StaticEngine(TorchModel):
    """Static batching: a batch of equally long prompts starts and ends together."""

    def generate(self, requests: Sequence[Request], concurrency: int) -> Iterator[TokenEvent]:
        """Batches of `concurrency` requests, one after the other.

        Raises:
            EngineError: prompts of a batch differ in length, which static batching would have to pad;
                or torch could not run the batch.
        """
        with self._clear_errors():
            for start in range(0, len(requests), concurrency):
                yield from self._batch(requests[start : start + concurrency])

    def greedy(self, prompts: Sequence[Sequence[int]], output_len: int) -> Iterator[list[int]]:
        """The next token of each prompt, `output_len` times; EOS is a token like any other.

        Handing the tokens to the host waits for the device: when a step is yielded, its work is done.
        """
        ids = self._torch.tensor([list(prompt) for prompt in prompts], device=self._model.device)
        cache = self._cache(len(prompts), ids.shape[1] + output_len)
        for step in range(output_len):
            begin_ns = time.perf_counter_ns()
            ids = self._logits(ids, cache, is_decode=step > 0)[:, -1].argmax(dim=-1, keepdim=True)
            tokens = ids[:, 0].tolist()
            if step and self._plant.decode > 1:
                wait_after(time.perf_counter_ns() - begin_ns, self._plant)
            yield tokens

    def device_steps(self, requests: Sequence[Request], concurrency: int) -> Steps:
        """Steps of one batch by torch's profiler."""
        batch = requests[:concurrency]
        return traced(lambda watch: watched(lambda n: self._batch(batch, n), len(batch), watch))

    def _batch(self, batch: Sequence[Request], most: int | None = None) -> Iterator[TokenEvent]:
        """All tokens of a batch, or the first `most`; the KV cache has room for all: compiled steps are bound to it."""
        check_one_length(batch)
        due_ns = time.perf_counter_ns()
        yield from (TokenEvent(request.id, due_ns, 0) for request in batch)
        for tokens in islice(self.greedy([request.prompt for request in batch], batch[0].output_len), most):
            now_ns = time.perf_counter_ns()
            pairs = zip(batch, tokens, strict=True)
            yield from (TokenEvent(request.id, now_ns, 1, (token,)) for request, token in pairs)

    def _cache(self, batch: int, tokens: int) -> Any:  # noqa: ARG002 - the compiled engine needs to know
        return self._new_cache(config=self._model.config)

    def _logits(self, ids: Any, cache: Any, *, is_decode: bool) -> Any:  # noqa: ARG002
        return self._forward(ids, cache, self._last_only)


class CompiledEngine(StaticEngine):
    """The same with a compiled decode step; on a GPU it is replayed as a CUDA graph.

    The step is compiled for each batch size and cache length when it first comes: a minute or more for a model of
    billions of parameters, seconds where an earlier process left it in the cache that `transformers.py` names.
    """

    def __init__(self, *args: Any, mode: str | None) -> None:
        super().__init__(*args)
        self._mode = self._torch.no_grad  # the cache outlives a call: no inference tensors
        self._has_graphs = mode == "reduce-overhead"
        self._torch.compiler.config.recompile_limit = _SHAPES
        self._step = self._torch.compile(self._model.forward, mode=mode, fullgraph=True, dynamic=False)
        self._caches: dict[tuple[int, int], Any] = {}
        self._notes = self._notes | {"decode": f"torch.compile, mode {mode or 'default'}, static cache"}

    def free(self) -> None:
        """Give all memory back, the caches' with it."""
        self._step = None
        self._caches.clear()
        super().free()

    def _cache(self, batch: int, tokens: int) -> Any:
        """One cache per batch size and length in blocks: graphs are bound to its addresses."""
        from transformers import StaticCache

        size = -(-tokens // _BLOCK) * _BLOCK
        if (batch, size) not in self._caches:
            beat(f"compiling the decode step for {batch} sequences of up to {size} tokens")
            self._caches[batch, size] = StaticCache(config=self._model.config, max_cache_len=size)
        cache = self._caches[batch, size]
        with self._mode():
            cache.reset()
        return cache

    def _logits(self, ids: Any, cache: Any, *, is_decode: bool) -> Any:
        if not is_decode:
            return self._forward(ids, cache, self._last_only)
        if self._has_graphs:
            self._torch.compiler.cudagraph_mark_step_begin()  # what the last step returned may be written over
        with self._mode():
            return self._step(input_ids=ids, past_key_values=cache, use_cache=True).logits
