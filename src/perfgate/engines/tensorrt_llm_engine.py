"""A loaded TensorRT-LLM engine: tokens by streaming, exact log-probabilities of prompts, its own statistics.

Scoring needs the cache's reuse, chunked prefill and drafts off. Where the spec has any of them on, the first
`score` ends the engine and loads it anew without them, and the next `generate` loads it as it was: a process
holds one engine at a time.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfgate.case import Batching, EngineSpec
from perfgate.engines.base import EngineStats, Request, TokenEvent, first_line, log_probs
from perfgate.engines.device_steps import Steps, shortened
from perfgate.engines.tensorrt_llm_arguments import KEPT_ITERATIONS
from perfgate.engines.tensorrt_llm_installed import api, fields_of
from perfgate.engines.tensorrt_llm_process import ERRORS
from perfgate.engines.tensorrt_llm_stats import iteration_figures, request_figures, steps_told, told_late
from perfgate.engines.tensorrt_llm_streams import Streams
from perfgate.errors import EngineError
from perfgate.plant import Plant

_CHUNK = 64  # rows of logits turned into float64 at once: a vocabulary of 128k makes 64 MiB of them
_SCORE_S = 600.0
_STATS_S = 0.5  # waited for statistics that are still on their way
_STEPPED = 64  # tokens that a request makes for its steps' device times
_RINGS = (1000, KEPT_ITERATIONS)  # iterations that an engine keeps: its default, and what we ask for where we can

Open = Callable[[bool], AbstractContextManager[Any]]  # an LLM for scoring, or one for generating


@dataclass(frozen=True, slots=True)
class Use:
    """How an engine is used. is_one: one load serves generating and scoring; by_logprobs: how prompts are scored."""

    is_one: bool
    by_logprobs: bool = False
    is_speculative: bool = False  # with drafts that are accepted or not by themselves


class LlmEngine:
    """The engine of a spec; `open_llm` loads it for one of two uses."""

    def __init__(self, spec: EngineSpec, plant: Plant, open_llm: Open, use: Use, notes: Mapping[str, str]) -> None:
        self._spec, self._plant, self._open, self._use, self._notes = spec, plant, open_llm, use, dict(notes)
        self._random = np.random.default_rng(20)
        self._stack = ExitStack()
        self._metrics: list[Any] = []
        self._kept: list[Mapping[str, Any]] = []  # iterations read, and not told yet
        self._is_scoring = False
        self._llm = self._stack.enter_context(open_llm(False))
        self._loop = asyncio.new_event_loop()

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        with self._clear_errors("encode a text"):
            return [int(token) for token in self._llm.tokenizer.encode(text, add_special_tokens=False)]

    def generate(self, requests: Sequence[Request], concurrency: int) -> Iterator[TokenEvent]:
        """Run the requests; events are handed over when all are done, stamped as they came.

        Raises:
            EngineError: a request failed, or static batches have prompts of different lengths.
        """
        self._turn_to(scoring=False)
        streams = Streams(self._llm, self._plant)
        params = {length: self._sampling(length) for length in {request.output_len for request in requests}}
        asked = [(request, params[request.output_len]) for request in requests]
        run = streams.batches if self._spec.batching is Batching.STATIC else streams.closed_loop
        with self._clear_errors("run a request"):
            self._wait_for(run(asked, concurrency))
        self._metrics += streams.metrics
        yield from streams.events

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float64]:
        """Natural-log probability of each token but the first.

        Raises:
            EngineError: the engine gives no logits of a prompt, or fewer than it has tokens.
        """
        if len(token_ids) <= 1:
            return np.zeros(0)
        self._turn_to(scoring=True)
        with self._clear_errors("score a text"):
            asked = {"prompt_logprobs": 1} if self._use.by_logprobs else {"return_context_logits": True}
            params = api("SamplingParams")(max_tokens=1, top_k=1, ignore_eos=True, **asked)
            output = self._llm.generate_async(list(token_ids), params).result(_SCORE_S)
        return self._from_logprobs(output, token_ids) if self._use.by_logprobs else self._from_logits(output, token_ids)

    def stats(self) -> EngineStats:
        """Figures of everything since they were last asked for, warm-up included."""
        figures = request_figures(self._metrics) | iteration_figures([*self._kept, *self._iterations()])
        self._metrics, self._kept = [], []
        told = {name: f"{value:.6g}" for name, value in figures.items()}
        return EngineStats(self._use.is_speculative, {**self._notes, **told})

    def device_steps(self, requests: Sequence[Request], concurrency: int) -> Steps:
        """Steps as the engine's own iteration statistics tell them."""
        self._kept += self._iterations()
        metrics, mine = list(self._metrics), shortened(requests[:concurrency], _STEPPED)
        try:
            deque(self.generate(mine, concurrency), maxlen=0)
        except EngineError as exc:
            return Steps(reason=str(exc))
        self._metrics = metrics  # what is told of requests is of the timed ones
        found = self._iterations()
        before = told_late(found)
        self._kept += found[:before]
        return steps_told(found[before:])

    def close(self) -> None:
        """End the engine and all its processes."""
        try:
            self._stack.close()
        finally:
            self._llm = None
            self._loop.close()

    # -------------------------------------------------------------- inside

    def _turn_to(self, *, scoring: bool) -> None:
        if self._use.is_one or scoring is self._is_scoring:
            return
        self._llm = None
        self._stack.close()
        self._llm, self._is_scoring = self._stack.enter_context(self._open(scoring)), scoring

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        self._loop.run_until_complete(work)

    def _sampling(self, output_len: int) -> Any:
        """Greedy in every version (top_k 1), of exactly so many tokens, without text."""
        cls = api("SamplingParams")
        told = {"return_perf_metrics": True} if "return_perf_metrics" in fields_of(cls) else {}
        return cls(max_tokens=output_len, top_k=1, ignore_eos=True, detokenize=False, **told)

    def _from_logits(self, output: Any, token_ids: Sequence[int]) -> NDArray[np.float64]:
        logits = output.context_logits
        count = 0 if logits is None else len(logits)
        if count != len(token_ids):  # tokens from reused blocks have none, and nothing else says so
            raise EngineError(
                f"TensorRT-LLM gave logits of {count} of {len(token_ids)} prompt tokens for '{self._spec.name}': "
                "an engine must be built with gather_context_logits (engine_args), and blocks must not be reused"
            )
        found = [np.zeros(0)]
        for start in range(0, count - 1, _CHUNK):
            end = min(start + _CHUNK, count - 1)
            rows = logits[start:end].float().cpu().numpy()
            targets = [int(token) for token in token_ids[start + 1 : end + 1]]
            found.append(log_probs(rows, targets, self._plant, self._random))
        return np.concatenate(found)

    def _from_logprobs(self, output: Any, token_ids: Sequence[int]) -> NDArray[np.float64]:
        """Entry t of prompt_logprobs tells of what follows token t; some versions leave the actual token out."""
        entries = output.outputs[0].prompt_logprobs or []
        found = []
        for position, token in enumerate(token_ids[1:]):
            entry = entries[position] if position < len(entries) else {}
            if token not in entry:
                raise EngineError(
                    f"TensorRT-LLM told no log-probability of token {position + 1} of {len(token_ids)} for "
                    f"'{self._spec.name}': this version leaves it out; set engine_args scoring: context_logits"
                )
            found.append(entry[token].logprob)
        return np.asarray(found, dtype=np.float64) - math.log(self._plant.perplexity)

    def _iterations(self) -> list[Mapping[str, Any]]:
        """Statistics of iterations that the engine has kept; none where this version or load keeps none."""
        if self._llm is None or self._is_scoring:
            return []
        try:
            found = list(self._llm.get_stats(timeout=_STATS_S))
        except ERRORS as exc:
            self._notes["statistics"] = f"none: {first_line(exc)}"
            return []
        if len(found) in _RINGS:
            self._notes["statistics"] = f"of the last {len(found)} iterations: earlier ones were dropped"
        return found

    @contextmanager
    def _clear_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except EngineError:
            raise
        except ERRORS as exc:
            raise EngineError(f"TensorRT-LLM cannot {what} for '{self._spec.name}': {first_line(exc)}") from exc
