"""Prune the shipped model by magnitude: weights set to zero, whole MLP channels or whole heads taken out.

    python scripts/prune.py                       # all that fixtures/suites/compressed.yaml measures
    python scripts/prune.py --zero 0.5 --name half-zero

Needs numpy alone and takes a second. The checkpoints go to build/models, which git ignores: about 8 MB each.
Unstructured: in each matrix of the layers the weights of least magnitude become zero; shapes stay. Structured: MLP
channels of least |gate| |up| |down| (products of the norms), and key-value heads of least |v| |o|, with the query heads
that read them. Nothing is trained afterwards; scripts/distill.py does that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "fixtures" / "models"))

from compressing import Weights, config_of, read_weights, save_checkpoint  # noqa: E402 - a folder of scripts

_MATRICES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


@dataclass(frozen=True, slots=True)
class Pruning:
    """What is taken out: shares of the weights and of MLP channels, and key-value heads of each layer."""

    name: str
    zero: float = 0.0
    channels: float = 0.0
    kv_heads: int = 0


SHIPPED = (
    Pruning("zero20", zero=0.2),
    Pruning("zero50", zero=0.5),
    Pruning("mlp480", channels=0.25),
    Pruning("mlp320", channels=0.5),
    Pruning("heads2", kv_heads=1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "fixtures" / "models" / "tiny-llama")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "models")
    parser.add_argument("--name", help="of one pruned checkpoint; without it all of the shipped suite are made")
    parser.add_argument("--zero", type=float, default=0.0, help="share of the weights set to zero")
    parser.add_argument("--channels", type=float, default=0.0, help="share of the MLP channels taken out")
    parser.add_argument("--kv-heads", type=int, default=0, help="key-value heads taken out of each layer")
    asked = parser.parse_args()
    wanted = SHIPPED if asked.name is None else (Pruning(asked.name, asked.zero, asked.channels, asked.kv_heads),)
    for one in wanted:
        prune(asked.model, one, asked.out / f"tiny-llama-{one.name}")


def prune(base: Path, wish: Pruning, out: Path) -> None:
    """Write the pruned checkpoint."""
    config, weights = config_of(base), {name: values.copy() for name, values in read_weights(base).items()}
    layers, head_dim = int(str(config["num_hidden_layers"])), int(str(config["head_dim"]))
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        if wish.channels:
            _without_channels(weights, prefix, wish.channels)
        if wish.kv_heads:
            _without_heads(weights, prefix, wish.kv_heads, config)
        if wish.zero:
            for name in (*_MATRICES, *_MLP):
                weights[f"{prefix}{name}.weight"] = _with_zeros(weights[f"{prefix}{name}.weight"], wish.zero)
    first = "model.layers.0."
    config["intermediate_size"] = weights[f"{first}mlp.gate_proj.weight"].shape[0]
    config["num_attention_heads"] = weights[f"{first}self_attn.q_proj.weight"].shape[0] // head_dim
    config["num_key_value_heads"] = weights[f"{first}self_attn.k_proj.weight"].shape[0] // head_dim
    made = _told(wish, base.name, weights)
    save_checkpoint(base, weights, config, made, out)
    print(f"{out}: {made['parameters']:,} parameters, {made['nonzero']:,} of them not zero")


def _told(wish: Pruning, base: str, weights: Weights) -> Mapping[str, object]:
    return {
        "made from": base,
        "by": "scripts/prune.py",
        "zero": wish.zero,
        "channels": wish.channels,
        "kv_heads": wish.kv_heads,
        "parameters": sum(one.size for one in weights.values()),
        "nonzero": sum(int(np.count_nonzero(one)) for one in weights.values()),
    }


def _with_zeros(values: NDArray[np.float16], share: float) -> NDArray[np.float16]:
    limit = np.quantile(np.abs(values.astype(np.float32)), share)
    return np.where(np.abs(values.astype(np.float32)) <= limit, np.float16(0), values)


def _without_channels(weights: Weights, prefix: str, share: float) -> None:
    gate, up, down = (weights[f"{prefix}{name}.weight"] for name in _MLP)
    score = _norms(gate, 1) * _norms(up, 1) * _norms(down, 0)
    kept = np.sort(np.argsort(-score)[: round(len(score) * (1 - share))])
    for name, values in zip(_MLP, (gate[kept], up[kept], down[:, kept]), strict=True):
        weights[f"{prefix}{name}.weight"] = values


def _without_heads(weights: Weights, prefix: str, count: int, config: Mapping[str, object]) -> None:
    """Take out key-value heads, each with its group of query heads."""
    width, kv_heads = int(str(config["head_dim"])), int(str(config["num_key_value_heads"]))
    group = int(str(config["num_attention_heads"])) // kv_heads
    q, k, v, o = (weights[f"{prefix}{name}.weight"] for name in _MATRICES)
    of_v = _norms(v.reshape(kv_heads, -1), 1)
    of_o = _norms(o.T.reshape(kv_heads, -1), 1)
    kept = np.sort(np.argsort(-(of_v * of_o))[: kv_heads - count])
    rows = (kept[:, None] * width + np.arange(width)).ravel()
    query_rows = (kept[:, None] * group * width + np.arange(group * width)).ravel()
    for name, values in zip(_MATRICES, (q[query_rows], k[rows], v[rows], o[:, query_rows]), strict=True):
        weights[f"{prefix}{name}.weight"] = values


def _norms(values: NDArray[np.float16], axis: int) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(values.astype(np.float64), axis=axis))


if __name__ == "__main__":
    main()
