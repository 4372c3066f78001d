"""Model sizes from config.json: published counts, the shipped checkpoint, and what is not known."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from perfgate.model_shape import ModelShape, read_shape, shape_of

TINY = Path(__file__).parents[1] / "fixtures" / "models" / "tiny-llama"

LLAMA_3_8B: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_3_2_1B = LLAMA_3_8B | {
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "head_dim": 64,
    "tie_word_embeddings": True,
}  # fmt: skip
MIXTRAL_8X7B = LLAMA_3_8B | {
    "model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2,
    "sliding_window": None,
}  # fmt: skip
QWEN3_30B_A3B: dict[str, Any] = {
    "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768,
    "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
    "vocab_size": 151936, "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1,
    "mlp_only_layers": [], "tie_word_embeddings": False, "use_sliding_window": False, "sliding_window": None,
}  # fmt: skip


def shape(config: dict[str, Any]) -> ModelShape:
    found = shape_of(config)
    assert isinstance(found, ModelShape)
    return found


@pytest.mark.parametrize(
    ("config", "billions"),
    [(LLAMA_3_8B, 8.030), (LLAMA_3_2_1B, 1.236), (MIXTRAL_8X7B, 46.703), (QWEN3_30B_A3B, 30.532)],
    ids=["llama-3-8b", "llama-3.2-1b", "mixtral-8x7b", "qwen3-30b-a3b"],
)
def test_parameters_are_those_that_the_makers_publish(config: dict[str, Any], billions: float) -> None:
    assert shape(config).total_params / 1e9 == pytest.approx(billions, rel=1e-3)


def test_a_token_goes_through_the_active_experts_only() -> None:
    found = shape(MIXTRAL_8X7B)

    active = found.active_params + 2 * found.head_params  # as the makers count: with embedding and head

    assert active / 1e9 == pytest.approx(12.88, rel=1e-3)


def test_the_shipped_checkpoint_has_as_many_parameters_as_its_weights_file() -> None:
    with (TINY / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    found = read_shape(TINY)

    stored = sum(math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__")

    assert isinstance(found, ModelShape)
    assert found.total_params == pytest.approx(stored, rel=1e-3)


def test_a_window_counts_only_where_it_is_used() -> None:
    asked = LLAMA_3_8B | {"sliding_window": 4096}

    assert shape(asked | {"model_type": "mistral"}).window == 4096
    assert shape(asked | {"model_type": "qwen2", "use_sliding_window": False}).window is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "mamba"}, "not known for this architecture (mamba)"),
        ({"model_type": None}, "not known for this architecture (None)"),
        ({"model_type": "qwen3_moe", "mlp_only_layers": [0]}, "experts in some layers only"),
        ({"hidden_size": "4096"}, "no usable 'hidden_size'"),
        ({"num_hidden_layers": 0}, "no usable 'num_hidden_layers'"),
        ({"vocab_size": True}, "no usable 'vocab_size'"),
        ({"num_attention_heads": 8192}, "no usable 'head_dim'"),
    ],
)
def test_what_is_not_known_is_said(change: dict[str, Any], said: str) -> None:
    assert said in str(shape_of(LLAMA_3_8B | change))


@pytest.mark.parametrize(
    ("text", "said"), [(None, "cannot be read"), ("{", "is damaged"), ("[1]", "is no mapping")], ids=str
)
def test_a_checkpoint_without_a_usable_config_is_not_known(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)

    assert said in str(read_shape(tmp_path))
