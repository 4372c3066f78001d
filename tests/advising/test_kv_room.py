"""Room for the KV cache: what of a device's memory an engine takes for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from advising_examples import BF16, GPU
from perfgate.advising.room import Room, room_of

SHAPE = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip
MEMORY = 141 * 2**30
BY_KEY = "the device's memory as its key has it, rounded up"


def _room(folder: Path, **args: float | str) -> Room:
    (folder / "config.json").write_text(json.dumps(SHAPE))
    return room_of(replace(BF16, model=folder, engine_args=tuple(sorted(args.items()))), GPU)


@pytest.mark.parametrize(
    ("args", "of_bytes", "why"),
    [
        ({}, lambda weights: 0.9 * MEMORY - weights, BY_KEY),
        ({"gpu_memory_utilization": 0.5}, lambda weights: 0.5 * MEMORY - weights,
         f"by the engine's gpu_memory_utilization 0.5; {BY_KEY}"),
        ({"gpu_memory_utilization": 0.5, "kv_cache_memory_bytes": 4_000_000_000}, lambda _: 4e9,
         f"by the engine's kv_cache_memory_bytes 4000000000; {BY_KEY}"),
        ({"kv_cache_memory_bytes": 9e15}, lambda weights: MEMORY - weights,
         f"by the engine's kv_cache_memory_bytes 9000000000000000.0; {BY_KEY}"),
        ({"kv_cache_config.free_gpu_memory_fraction": 0.5}, lambda weights: 0.5 * (MEMORY - weights),
         f"by the engine's kv_cache_config.free_gpu_memory_fraction 0.5; {BY_KEY}"),
        ({"gpu_memory_utilization": 0.01}, lambda _: 0.0, "the weights alone do not fit"),
        ({"gpu_memory_utilization": "much"}, lambda weights: 0.9 * MEMORY - weights, BY_KEY),
    ],
)  # fmt: skip
def test_what_an_engine_is_told_bounds_its_cache(
    tmp_path: Path, args: dict[str, float | str], of_bytes: Callable[[float], float], why: str
) -> None:
    room = _room(tmp_path, **args)

    assert room.weight_bytes is not None
    assert room.tokens == int(of_bytes(room.weight_bytes) // (2 * 32 * 8 * 128 * 2))
    assert room.why == why
