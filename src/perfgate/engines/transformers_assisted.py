"""Speculation on one request at a time: transformers' assisted generation, drafts from a model or from the prompt.

`generate` hands the tokens of each step to a streamer when the host has them; there they are stamped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from perfgate.engines.base import Request, TokenEvent, wait_after
from perfgate.engines.device_steps import StepKind, Steps, shortened
from perfgate.engines.torch_steps import PREFILLS, Counted, Watch, traced
from perfgate.engines.transformers_model import TorchModel
from perfgate.errors import EngineError
from perfgate.plant import Plant


class AssistedEngine(TorchModel):
    """Greedy generation with drafts; the library does it for batches of one."""

    def __init__(self, *args: Any, draft: Any) -> None:
        """draft: the draft model, or None where drafts are n-grams of the prompt."""
        super().__init__(*args)
        self._draft = draft
        self._model.generation_config.eos_token_id = None  # nothing ends early
        if draft is not None:
            asked = draft.generation_config
            asked.eos_token_id = None
            asked.num_assistant_tokens, asked.num_assistant_tokens_schedule = self._draft_len, "constant"
            asked.assistant_confidence_threshold = 0.0  # else drafts end early when the draft model is unsure

    def generate(self, requests: Sequence[Request], concurrency: int) -> Iterator[TokenEvent]:
        """One request after the other; its events come when it has ended.

        Raises:
            EngineError: more than one at a time was asked for, or torch could not run the model.
        """
        if concurrency > 1:
            raise EngineError(
                f"transformers speculates on one request at a time: concurrency must be 1, found {concurrency}"
            )
        for request in requests:
            with self._clear_errors():
                yield from self._one(request)

    def device_steps(self, requests: Sequence[Request], concurrency: int) -> Steps:
        """Steps of one request by torch's profiler: drafts and their check are a step, as a token event is."""
        del concurrency
        return traced(lambda watch: self._watched(requests[0], watch))

    def _watched(self, request: Request, watch: Watch) -> None:
        for _ in range(PREFILLS):
            watch.open()
            self._one(shortened([request], 1)[0])
            watch.close(StepKind.PREFILL, 1, 1)
        self._one(request, Counted(watch, 1, skip=2).after_step)

    def free(self) -> None:
        """Give all memory back, the draft's with it."""
        self._draft = None
        super().free()

    @property
    def _draft_len(self) -> int:
        assert self._spec.speculative is not None
        return self._spec.speculative.draft_len

    def _one(self, request: Request, after_step: Callable[[], None] = lambda: None) -> list[TokenEvent]:
        stamps = _Stamps(self._plant, after_step)
        due_ns = time.perf_counter_ns()
        ids = self._torch.tensor([list(request.prompt)], device=self._model.device)
        drafts = {"assistant_model": self._draft} if self._draft else {"prompt_lookup_num_tokens": self._draft_len}
        self._model.generate(
            input_ids=ids,
            attention_mask=self._torch.ones_like(ids),
            max_new_tokens=request.output_len,
            do_sample=False,
            pad_token_id=0,
            streamer=stamps,
            **drafts,
        )
        events = [TokenEvent(request.id, time_ns, len(ids), ids) for time_ns, ids in stamps.found]
        return [TokenEvent(request.id, due_ns, 0), *events]


class _Stamps:
    """A streamer as `generate` takes one: put() gets the prompt first, then the tokens of each step."""

    def __init__(self, plant: Plant, after_step: Callable[[], None]) -> None:
        self._plant, self._after_step = plant, after_step
        self._has_prompt = False
        self._last_ns = 0
        self.found: list[tuple[int, tuple[int, ...]]] = []  # (perf_counter_ns, tokens)

    def put(self, tokens: Any) -> None:
        if not self._has_prompt:
            self._has_prompt = True
            return
        if self.found and self._plant.decode > 1:
            wait_after(time.perf_counter_ns() - self._last_ns, self._plant)
        self._last_ns = time.perf_counter_ns()
        self.found.append((self._last_ns, tuple(tokens.flatten().tolist())))
        self._after_step()

    def end(self) -> None:
        """Nothing is left to hand over."""
