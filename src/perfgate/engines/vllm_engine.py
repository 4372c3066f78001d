"""vLLM's engine in this process, driven step by step: every token is stamped when the host has it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfgate.case import EngineSpec
from perfgate.engines.base import EngineStats, Request, Scored, TokenEvent, first_line
from perfgate.engines.device_steps import Steps, shortened
from perfgate.engines.torch_steps import traced, watched
from perfgate.engines.vllm_plant import Slowdown, worse_log_prob
from perfgate.errors import EngineError
from perfgate.plant import Plant

_NEIGHBOURS = 20  # log-probabilities asked for beside a token's own where noise is planted: vLLM's default most


class VllmEngine:
    """In-flight batching on the paged KV cache: `LLMEngine.add_request` and `step`, no thread or process between."""

    def __init__(self, spec: EngineSpec, engine: Any, plant: Plant) -> None:
        self._spec, self._engine, self._plant = spec, engine, plant
        self._slowdown = Slowdown(plant, is_ahead=_config(engine).scheduler_config.async_scheduling)
        self._random = np.random.default_rng(20)
        self._count = 0
        self._notes = notes(engine)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        return [int(token) for token in self._engine.get_tokenizer().encode(text, add_special_tokens=False)]

    def generate(self, requests: Sequence[Request], concurrency: int) -> Iterator[TokenEvent]:
        """Closed loop: a request joins at the step after another one ended; EOS is a token like any other.

        Raises:
            EngineError: vLLM refused a request or failed at a step.
        """
        waiting = iter([(request, *_asked(request)) for request in requests])
        running: dict[str, Request] = {}
        has_tokens: set[str] = set()  # those past their prompt
        try:
            while True:
                while len(running) < concurrency and (joining := next(waiting, None)):
                    request, prompt, sampling = joining
                    yield TokenEvent(request.id, time.perf_counter_ns(), 0)
                    running[self._add(prompt, sampling)] = request
                if not running:
                    return
                yield from self._step(running, has_tokens)
        finally:
            if running:
                self._engine.abort_request(list(running))

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float64]:
        """Natural-log probability of each token but the first, of the prompt's own log-probabilities.

        A request for them reads no cached prefix.

        Raises:
            EngineError: vLLM refused the text (one longer than max_seq_len - 1) or failed at a step.
        """
        if len(token_ids) < 2:  # noqa: PLR2004 - the first token has no context
            return np.zeros(0)
        output = self._scored([int(token) for token in token_ids])
        pairs = zip(token_ids[1:], output.prompt_logprobs[1:], strict=True)
        return np.asarray([self._log_prob(token, entry) for token, entry in pairs])

    def score_top(self, token_ids: Sequence[int], count: int, top: int) -> Scored:
        """The same of the last tokens, with the likeliest beside each; vLLM's default limit is 20 of them.

        A planted loss of perplexity worsens the tokens' own probabilities, not the heads.

        Raises:
            EngineError: as `score`, or more heads are asked for than `max_logprobs` allows.
        """
        output = self._scored([int(token) for token in token_ids], top)
        pairs = list(zip(token_ids, output.prompt_logprobs, strict=True))[-count:]
        width = min(top, *(len(entry) for _, entry in pairs))  # of a vocabulary smaller than `top`
        heads = [sorted(entry.items(), key=lambda one: -one[1].logprob)[:width] for _, entry in pairs]
        return Scored(
            np.asarray([self._log_prob(token, entry) for token, entry in pairs]),
            np.asarray([[int(token) for token, _ in head] for head in heads]),
            np.asarray([[float(one.logprob) for _, one in head] for head in heads]),
        )

    def stats(self) -> EngineStats:
        """Settings as vLLM says it runs with them, the KV cache's size and the most GPU memory held so far."""
        cache = _config(self._engine).cache_config
        return EngineStats(
            is_speculative=self._spec.speculative is not None,
            notes=self._notes,
            kv_blocks=cache.num_gpu_blocks,
            kv_block_tokens=cache.block_size,
            peak_gpu_bytes=_peak_gpu_bytes() if self._spec.tp * self._spec.pp == 1 else None,
        )

    def device_steps(self, requests: Sequence[Request], concurrency: int) -> Steps:
        """Steps by torch's profiler; vLLM 0.26 times none on the device. Workers of tp and pp are other processes."""
        if self._spec.tp * self._spec.pp > 1:
            return Steps(reason="not known here: the GPUs' work is launched by vLLM's workers, in other processes")
        mine = requests[:concurrency]
        return traced(lambda watch: watched(lambda n: self.generate(shortened(mine, n), concurrency), len(mine), watch))

    def close(self) -> None:
        """Give the GPU's memory back; the engine is of no use afterwards."""
        self._engine.engine_core.shutdown()
        self._engine = None

    def _step(self, running: dict[str, Request], has_tokens: set[str]) -> Iterator[TokenEvent]:
        """One step of the engine, and what every request got from it."""
        is_decoding = bool(has_tokens)
        begin_ns = time.perf_counter_ns()
        with _clear_errors("failed at a step"):
            outputs = self._engine.step()
        if is_decoding:
            self._slowdown.after_step(time.perf_counter_ns() - begin_ns)
        now_ns = time.perf_counter_ns()
        for output in outputs:
            request, tokens = running[output.request_id], tuple(output.outputs[0].token_ids)
            has_tokens.add(output.request_id)
            if output.finished:
                del running[output.request_id]
                has_tokens.discard(output.request_id)
            if tokens:
                yield TokenEvent(request.id, now_ns, len(tokens), tokens)

    def _add(self, prompt: Any, sampling: Any) -> str:
        """Hand a request over; its outputs carry the name that this returns."""
        self._count += 1
        name = str(self._count)
        with _clear_errors("refused a request"):
            self._engine.add_request(name, prompt, sampling)
        return name

    def _scored(self, token_ids: list[int], least: int = 0) -> Any:
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        beside = max(least, _NEIGHBOURS if self._plant.perplexity > 1 else 0)
        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            prompt_logprobs=beside,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self._add(tokens_input(token_ids), sampling)
        with _clear_errors("failed at scoring"):
            while True:
                if outputs := self._engine.step():
                    return outputs[0]

    def _log_prob(self, token: int, entry: Any) -> float:
        """Of one token; entry: token -> Logprob, of the token itself and its likeliest neighbours."""
        own = float(entry[int(token)].logprob)
        if self._plant.perplexity <= 1:
            return own
        others = [float(one.logprob) for name, one in entry.items() if name != token]
        return worse_log_prob(own, np.asarray(others), self._plant, self._random)


@contextmanager
def _clear_errors(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as exc:  # torch, pydantic and vLLM raise classes without a common parent
        raise EngineError(f"vLLM {what}: {first_line(exc)}") from exc


def _asked(request: Request) -> tuple[Any, Any]:
    """The prompt and the sampling of a request, made before it is due.

    ignore_eos alone makes exactly `output_len` tokens; min_tokens would mask EOS at every step, which costs time.
    """
    from vllm import SamplingParams
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind

    sampling = SamplingParams(
        temperature=0.0,
        max_tokens=request.output_len,
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )
    return tokens_input(list(request.prompt)), sampling


def _config(engine: Any) -> Any:
    return engine.vllm_config


def notes(engine: Any) -> dict[str, str]:
    """What vLLM says it runs with, once it is loaded (`VllmConfig` after all defaults)."""
    config = _config(engine)
    told = {
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "quantization": config.model_config.quantization,
        "load_format": config.load_config.load_format,
        "max_model_len": config.model_config.max_model_len,
        "enforce_eager": config.model_config.enforce_eager,
        "cudagraph_mode": getattr(config.compilation_config.cudagraph_mode, "name", None),
        "kv_cache_dtype": config.cache_config.cache_dtype,
        "kv_blocks": config.cache_config.num_gpu_blocks,
        "kv_block_tokens": config.cache_config.block_size,
        "prefix_caching": config.cache_config.enable_prefix_caching,
        "chunked_prefill": config.scheduler_config.enable_chunked_prefill,
        "async_scheduling": config.scheduler_config.async_scheduling,
        "max_num_seqs": config.scheduler_config.max_num_seqs,
        "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
        "v2_model_runner": config.use_v2_model_runner,
        "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
        "pipeline_parallel_size": config.parallel_config.pipeline_parallel_size,
        "speculation": getattr(config.speculative_config, "method", None),
    }
    return {name: str(value) for name, value in told.items()}


def _peak_gpu_bytes() -> int | None:
    """The most memory that torch held on this process's GPU; the CUDA context itself (about 0.5 GB) is not in it."""
    import torch

    return int(torch.cuda.max_memory_reserved()) if torch.cuda.is_available() else None
