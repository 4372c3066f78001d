"""A double of `LLMEngine` in process: the scheduler's rules, one millisecond a step of the double GPU, no model.

A step is given `max_num_batched_tokens`: decoding requests first, then prompts, cut where chunked prefill is on.
With asynchronous scheduling the tokens of a step come out of the next call. With speculation every step of a request
takes the drafts that its number allows: one, then two, ... up to the most, in turn.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import cuda

from vllm.engine.arg_utils import EngineArgs
from vllm.sampling_params import RequestOutputKind, SamplingParams

STEP_S = 0.001


@dataclass
class Running:
    name: str
    prompt: list[int]
    params: SamplingParams
    done: int = 0  # tokens of the prompt that were computed
    out: int = 0
    steps: int = 0


class Tokenizer:
    """Bytes as tokens."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [256] * add_special_tokens + list(text.encode())


class LLMEngine:
    def __init__(self, config: SimpleNamespace) -> None:
        if os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") != "0":
            raise RuntimeError("double: the engine would run in a process of its own")
        compiled = Path(os.environ["VLLM_CACHE_ROOT"]) / "torch_compile_cache"
        compiled.mkdir(parents=True, exist_ok=True)
        with (compiled / "loads").open("a") as file:
            file.write("load\n")
        self.vllm_config = config
        self.engine_core = SimpleNamespace(shutdown=lambda: None)
        self._requests: dict[str, Running] = {}
        self._queue: list[tuple[list[Any], float]] = []  # batches whose tokens are not out yet, and when they end

    @classmethod
    def from_engine_args(cls, engine_args: EngineArgs) -> LLMEngine:
        return cls(engine_args.create_engine_config())

    def get_tokenizer(self) -> Tokenizer:
        return Tokenizer()

    def add_request(self, request_id: str, prompt: dict[str, Any], params: SamplingParams) -> str:
        if not isinstance(request_id, str):
            raise TypeError(f"request_id must be a string, got {type(request_id)}")
        ids, most = prompt["prompt_token_ids"], self.vllm_config.model_config.max_model_len
        if not ids:
            raise ValueError("The decoder prompt cannot be empty")
        if len(ids) >= most:
            raise ValueError(f"The prompt (length {len(ids)}) is longer than the maximum model length of {most}")
        if max(ids) >= self.vllm_config.model_config.vocab_size:
            raise ValueError(f"Token id {max(ids)} is out of vocabulary")
        self._requests[request_id] = Running(request_id, ids, params)
        return f"{request_id}-internal"

    def abort_request(self, request_ids: list[str], *, internal: bool = False) -> None:
        assert not internal
        for name in request_ids:
            self._requests.pop(name, None)

    def step(self) -> list[Any]:
        self._queue.append((list(self._batch()), cuda.launch(STEP_S)))
        if self.vllm_config.scheduler_config.async_scheduling and len(self._queue) == 1 and self._queue[0][0]:
            return []
        outputs, ends_at_s = self._queue.pop(0)
        cuda.wait_until(ends_at_s)
        return outputs

    def _batch(self) -> Iterator[Any]:
        scheduler = self.vllm_config.scheduler_config
        budget = scheduler.max_num_batched_tokens
        running = sorted(self._requests.values(), key=lambda one: one.done < len(one.prompt))[: scheduler.max_num_seqs]
        for one in running:
            left = max(len(one.prompt) - one.done, 1)
            if left > budget and not (scheduler.enable_chunked_prefill and budget):
                continue
            one.done, budget = min(one.done + left, one.done + budget), budget - min(left, budget)
            if one.done >= len(one.prompt):
                yield from self._tokens(one)

    def _tokens(self, one: Running) -> Iterator[Any]:
        drafts = getattr(self.vllm_config.speculative_config, "num_speculative_tokens", 0) if one.out else 0
        new = min(1 + one.steps % (drafts + 1), one.params.max_tokens - one.out)
        one.steps, one.out = one.steps + 1, one.out + new
        is_finished = one.out >= one.params.max_tokens
        if is_finished:
            del self._requests[one.name]
        if one.params.output_kind is RequestOutputKind.DELTA or is_finished:
            shown = new if one.params.output_kind is RequestOutputKind.DELTA else one.out
            yield SimpleNamespace(
                request_id=one.name,
                outputs=[SimpleNamespace(token_ids=[7] * shown)],
                finished=is_finished,
                prompt_logprobs=self._prompt_logprobs(one),
            )

    def _prompt_logprobs(self, one: Running) -> list[Any] | None:
        """Of each token its own and the likeliest: p(t) = 2^-(t % 8 + 2), which sum to less than one."""
        if one.params.prompt_logprobs is None:
            return None
        asked = range(one.params.prompt_logprobs)
        entries = [
            {name: SimpleNamespace(logprob=-math.log(2) * (name % 8 + 2)) for name in {token, *list(asked)[:4]}}
            for token in one.prompt[1:]
        ]
        return [None, *entries]
