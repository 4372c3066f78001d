"""A model's linear layers cut over ranks by transformers' own plan, in plain tensors.

What the library does under `tp_plan="auto"` when it infers (5.17 to 5.23): a column-wise layer makes this rank's
outputs, a row-wise one sums all ranks' in one all-reduce, the output head's logits are gathered. Done here, so that
random weights and versions with other loaders go the same way, and the cut weights are those of one device.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perfgate.errors import EngineError

_COLUMNS, _ROWS = "colwise", "rowwise"
_GATHERED = ("colwise_gather_output", "colwise_rep")  # as before, and the older name
# Every rank keeps all of it. Embeddings are looked up, so that cutting them saves memory and costs an all-reduce.
_KEPT = ("replicate", "replicated_with_grad_allreduce", "embedding_rowwise", "embedding_colwise")
_STYLES = (_COLUMNS, _ROWS, *_GATHERED, *_KEPT)


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a model that one rank of `size` holds."""

    rank: int = 0
    size: int = 1

    def of(self, tensor: Any, dim: int) -> Any:
        """This rank's equal part along a dimension, in memory of its own."""
        return tensor.detach().chunk(self.size, dim)[self.rank].clone()


WHOLE = Share()


def cut(model: Any, share: Share) -> None:
    """Leave of the planned layers what the rank holds, and have them talk to the other ranks.

    Raises:
        EngineError: transformers has no plan for the model, or one that holds more than linear layers.
    """
    if share == WHOLE:
        return
    plan = _plan(model)
    for name, layer in model.named_modules():
        style = plan.get(re.sub(r"\.\d+(?=\.|$)", ".*", name))
        if style is not None and style not in _KEPT:
            _cut_layer(layer, style, share, name)


def _plan(model: Any) -> Mapping[str, str]:
    plan = dict(model.tp_plan or {})
    if not plan:
        raise EngineError(f"transformers has no tensor-parallel plan for {type(model).__name__}: set tp to 1")
    if others := sorted(set(plan.values()) - set(_STYLES)):
        raise EngineError(
            f"the tensor-parallel plan of {type(model).__name__} holds {', '.join(others)}: this backend cuts "
            "plain linear layers alone; set tp to 1"
        )
    return plan


def _cut_layer(layer: Any, style: str, share: Share, name: str) -> None:
    """Weights are [outputs, inputs]."""
    import torch

    if not isinstance(layer, torch.nn.Linear):
        raise EngineError(f"{name} is a {type(layer).__name__}: this backend cuts plain linear layers alone")
    length = layer.in_features if style == _ROWS else layer.out_features
    if length % share.size:
        if style in _GATHERED:
            return  # whole on every rank: no more than slower
        raise EngineError(f"{name} is {length} wide, which does not divide by tp {share.size}")
    layer.weight = torch.nn.Parameter(share.of(layer.weight, int(style == _ROWS)), requires_grad=False)
    if style == _ROWS:
        if layer.bias is not None and share.rank:
            layer.bias = None  # summed once
        layer.register_forward_hook(_summed)
        return
    if layer.bias is not None:
        layer.bias = torch.nn.Parameter(share.of(layer.bias, 0), requires_grad=False)
    if style in _GATHERED:
        layer.register_forward_hook(_gathered)


def _summed(layer: Any, args: Any, out: Any) -> Any:  # noqa: ARG001 - a hook's arguments
    import torch.distributed as dist

    dist.all_reduce(out)
    return out


def _gathered(layer: Any, args: Any, out: Any) -> Any:  # noqa: ARG001
    """[..., outputs / size] of each rank -> [..., outputs]."""
    import torch
    import torch.distributed as dist

    parts = [torch.empty_like(out) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, out.contiguous())
    return torch.cat(parts, dim=-1)
