"""What a decoder moves and does on one device: bytes and FLOPs of a decode step and of a prompt.

Counted are weights and KV cache, as often as they must be read, and the FLOPs of matrices and attention. Activations,
norms and sampling, below a hundredth of either in models that are served, are not.
"""

from __future__ import annotations

from dataclasses import dataclass

from perfgate.model_shape import ModelShape
from perfgate.roofline import Work


@dataclass(frozen=True, slots=True)
class Widths:
    """Bytes of a weight in the layers, of one in the vocabulary head, and of a value in the KV cache."""

    block: float
    head: float
    kv: float


@dataclass(frozen=True, slots=True)
class Split:
    """Tensor and pipeline parallelism: a device has 1/tp of each matrix of 1/pp of the layers."""

    tp: int = 1
    pp: int = 1

    @property
    def devices(self) -> int:
        return self.tp * self.pp


def kv_bytes_per_token(shape: ModelShape, widths: Widths, split: Split) -> float:
    """Keys and values of one position on one device; a head that cannot be split lies on several of them."""
    kv_heads = max(shape.kv_heads / split.tp, 1.0)
    return 2 * shape.layers / split.pp * kv_heads * shape.head_dim * widths.kv


def experts_touched(shape: ModelShape, tokens: float) -> float:
    """How many experts of a layer so many tokens use together, were every expert as likely: E (1 - (1 - k/E)^n)."""
    return float(shape.experts * (1 - (1 - shape.active_experts / shape.experts) ** tokens))


def weight_bytes(shape: ModelShape, widths: Widths, split: Split, tokens: float) -> float:
    """Bytes of weights that one device reads to compute so many tokens at once: each weight once."""
    experts = shape.expert_params * experts_touched(shape, tokens)
    blocks = shape.attention_params + shape.router_params + experts
    return (blocks * widths.block + shape.head_params * widths.head) / split.devices


def decode_step(
    shape: ModelShape, widths: Widths, split: Split, batch: float, context: float, tokens: float = 1
) -> Work:
    """A step of `batch` sequences of so many positions each, which computes `tokens` of every one.

    FLOPs of a token: 2 N for the matrices (a multiplication and an addition for each weight; Kaplan et al., arXiv
    2001.08361, table 1) and 4 layers x heads x head size x context for attention.
    """
    seen = _seen(shape, context)
    moved = weight_bytes(shape, widths, split, batch * tokens) + batch * seen * kv_bytes_per_token(shape, widths, split)
    attention = 4 * shape.layers * shape.heads * shape.head_dim * seen
    flops = batch * tokens * (2 * (shape.active_params + shape.head_params) + attention)
    return Work(moved, flops / split.devices)


def prefill(shape: ModelShape, widths: Widths, split: Split, prompt: float) -> Work:
    """Computing a prompt of so many tokens: its FLOPs, its weights read once and its KV cache written once.

    2 N for each token, of which only the last needs the vocabulary head; attention looks back only, which is half of
    PaLM's 4 layers x heads x head size x prompt (the forward third of its 12 L H Q T).
    """
    attention = 4 * shape.layers * shape.heads * shape.head_dim * _positions_seen(shape, prompt)
    flops = 2 * shape.active_params * prompt + 2 * shape.head_params + attention
    moved = weight_bytes(shape, widths, split, prompt) + prompt * kv_bytes_per_token(shape, widths, split)
    return Work(moved, flops / split.devices)


def _seen(shape: ModelShape, context: float) -> float:
    return context if shape.window is None else min(context, shape.window)


def _positions_seen(shape: ModelShape, prompt: float) -> float:
    """How many positions all tokens of a prompt look at together: 1 + 2 + ... up to the window."""
    full = _seen(shape, prompt)
    return full * (full + 1) / 2 + (prompt - full) * full
