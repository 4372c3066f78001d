"""How large a language model is, from the config.json of its checkpoint: parameters by what they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfgate.foreign_json import ForeignJsonError, read_json

_MLP_MATRICES = 3  # gate, up and down of a gated MLP, which all families below have

# Decoders of one build: q, k, v, o; a gated MLP; a vocabulary head. Biases and norms, below 0.1 % of the
# parameters, are left out.
DENSE = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "granite", "olmo2")
# With experts in every layer: how many there are, and the key of an expert's inner size.
EXPERTS = {
    "mixtral": ("num_local_experts", "intermediate_size"),
    "qwen3_moe": ("num_experts", "moe_intermediate_size"),
}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a decoder. experts: MLPs of a layer, of which each token goes through `active_experts`.

    window: positions that attention looks back at most; None: all.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocabulary: int
    is_tied: bool = False
    experts: int = 1
    active_experts: int = 1
    window: int | None = None

    @property
    def attention_params(self) -> int:
        """Of all layers: queries and output over all heads, keys and values over the shared ones (GQA)."""
        return self.layers * 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)

    @property
    def expert_params(self) -> int:
        """Of one MLP in every layer."""
        return self.layers * _MLP_MATRICES * self.hidden * self.inner

    @property
    def router_params(self) -> int:
        return self.layers * self.hidden * self.experts if self.experts > 1 else 0

    @property
    def head_params(self) -> int:
        """Of the vocabulary head; tied or not, a step reads all of it. The embedding is looked up, not multiplied."""
        return self.vocabulary * self.hidden

    @property
    def active_params(self) -> int:
        """What multiplies each token in the layers: Kaplan's N, without embedding and head."""
        return self.attention_params + self.router_params + self.active_experts * self.expert_params

    @property
    def total_params(self) -> int:
        blocks = self.attention_params + self.router_params + self.experts * self.expert_params
        return blocks + self.head_params * (1 if self.is_tied else 2)


def read_shape(checkpoint: Path) -> ModelShape | str:
    """The shape that a checkpoint's config.json tells, or why it is not known."""
    path = checkpoint / "config.json"
    try:
        config = read_json(path)
    except OSError:
        return f"not known: {path.name} of the checkpoint cannot be read"
    except ForeignJsonError:
        return f"not known: {path.name} of the checkpoint is damaged"
    return shape_of(config) if isinstance(config, dict) else f"not known: {path.name} is no mapping"


def shape_of(config: Mapping[str, Any]) -> ModelShape | str:
    """The same of a config in HuggingFace's words."""
    family = config.get("model_type")
    if family not in (*DENSE, *EXPERTS):
        return f"not known for this architecture ({str(family)[:40]})"
    if config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1:
        return f"not known for this architecture ({family} with experts in some layers only)"
    experts_key, inner_key = EXPERTS.get(str(family), ("", "intermediate_size"))
    try:
        return _shape(config, experts_key, inner_key)
    except (KeyError, TypeError, ValueError) as exc:
        return f"not known: config.json has no usable {exc}"


def _shape(config: Mapping[str, Any], experts_key: str, inner_key: str) -> ModelShape:
    heads, hidden = _whole(config, "num_attention_heads"), _whole(config, "hidden_size")
    return ModelShape(
        layers=_whole(config, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=_whole(config, "num_key_value_heads", heads),
        head_dim=_whole(config, "head_dim", hidden // heads),
        inner=_whole(config, inner_key),
        vocabulary=_whole(config, "vocab_size"),
        is_tied=bool(config.get("tie_word_embeddings", config.get("model_type") == "gemma")),
        experts=_whole(config, experts_key) if experts_key else 1,
        active_experts=_whole(config, "num_experts_per_tok") if experts_key else 1,
        window=_window(config),
    )


def _whole(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A positive whole number; null counts as absent, as HuggingFace writes it."""
    value = config.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise KeyError(key)
    return value


def _window(config: Mapping[str, Any]) -> int | None:
    """Qwen has the number in its config and does not use it unless told."""
    has_window = config.get("use_sliding_window", True) and config.get("sliding_window") is not None
    return _whole(config, "sliding_window") if has_window else None
