"""A model in torch with its tokenizer: what every way of generating with it shares, and scoring."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfgate.case import EngineSpec
from perfgate.engines.base import EngineStats, Scored, first_line, joined, log_probs, scored
from perfgate.errors import EngineError
from perfgate.plant import Plant

_SCORE_CHUNK = 64  # tokens fed at once when scoring, so that later ones read the KV cache

PeakGpuBytes = Callable[[], int | None]  # of all GPUs together; None without one


class TorchModel:
    """A loaded model; the engines of this backend differ in how they generate with it."""

    def __init__(
        self, spec: EngineSpec, tokenizer: Any, model: Any, plant: Plant, weights: str, peak: PeakGpuBytes
    ) -> None:
        import torch
        from transformers import DynamicCache

        self._spec, self._tokenizer, self._model, self._plant = spec, tokenizer, model, plant
        self._torch, self._new_cache, self._mode = torch, DynamicCache, torch.inference_mode
        self._peak_gpu_bytes = peak
        self._random = np.random.default_rng(20)
        # Prefill then makes the last position's logits alone; a few older architectures always make all.
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in _parameters(model) else {}
        self._notes = {
            "device": str(model.device),
            "weights": weights,
            "compute": str(model.dtype).removeprefix("torch."),
            "attention": str(model.config._attn_implementation),  # noqa: SLF001 - its only place
            "threads": str(torch.get_num_threads()),
        }

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        return [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False, verbose=False)]

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float64]:
        """Natural-log probability of each token but the first, over a contiguous KV cache.

        Raises:
            EngineError: torch could not run the model.
        """
        with self._clear_errors():
            plant, random = self._plant, self._random
            chunks = (log_probs(logits, targets, plant, random) for logits, targets in self._chunks(token_ids))
            return np.concatenate([np.zeros(0), *chunks])

    def score_top(self, token_ids: Sequence[int], count: int, top: int) -> Scored:
        """The same of the last tokens, with the likeliest beside each.

        Raises:
            EngineError: torch could not run the model.
        """
        left, parts = len(token_ids) - 1, []
        with self._clear_errors():
            for logits, targets in self._chunks(token_ids):
                wanted = min(len(targets), max(count - left + len(targets), 0))  # of this chunk's last
                left -= len(targets)
                if wanted:
                    parts.append(scored(logits[-wanted:], targets[-wanted:], top, self._plant, self._random))
        return joined(parts)

    def stats(self) -> EngineStats:
        """The settings as read back from the loaded model, and the most GPU memory held so far, of all ranks."""
        return EngineStats(
            is_speculative=self._spec.speculative is not None,
            notes=self._notes,
            peak_gpu_bytes=self._peak_gpu_bytes(),
        )

    def free(self) -> None:
        """Give all memory back but cuBLAS's workspace (32 MiB on an H200); the engine is of no use afterwards."""
        self._model = self._tokenizer = None
        gc.collect()  # modules refer to each other in circles
        if self._torch.cuda.is_initialized():
            self._torch.cuda.empty_cache()

    def _chunks(self, token_ids: Sequence[int]) -> Iterator[tuple[NDArray[np.float32], list[int]]]:
        """Logits [n, vocabulary] and the tokens 1..64, 65..128, ... that follow, over one KV cache."""
        cache = self._new_cache(config=self._model.config)
        last = len(token_ids) - 1
        for start in range(0, last, _SCORE_CHUNK):
            end = min(start + _SCORE_CHUNK, last)
            ids = self._torch.tensor([list(token_ids[start:end])], device=self._model.device)
            logits = self._forward(ids, cache, {})[0].float().cpu().numpy()
            yield logits, [int(token) for token in token_ids[start + 1 : end + 1]]

    def _forward(self, ids: Any, cache: Any, options: Mapping[str, int]) -> Any:
        """Logits of ids [batch, n] behind what the cache holds; entered per call, as the mode is the thread's."""
        with self._mode():
            return self._model(input_ids=ids, past_key_values=cache, use_cache=True, **options).logits

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as exc:
            raise EngineError(f"transformers cannot run '{self._spec.name}': {first_line(exc)}") from exc


def _parameters(model: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(model.forward).parameters
