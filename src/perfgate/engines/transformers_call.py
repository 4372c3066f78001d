"""What rank 0 tells the other ranks before each of its forward passes, and how ranks meet."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from perfgate.case import EngineSpec
from perfgate.engines.base import first_line
from perfgate.engines.transformers_sharding import Share
from perfgate.errors import EngineError

_HEAD = struct.Struct("<5q")
_MEETING_S = 1800.0  # ranks load for this long at most; a round's own deadline is usually shorter


class Kind(IntEnum):
    """What is asked of a rank."""

    FORWARD = 1
    MEMORY = 2


@dataclass(frozen=True, slots=True)
class RankJob:
    """What a rank has to load. meet: the file at which ranks find each other."""

    engine: EngineSpec
    prepared: Path
    meet: Path
    threads: int
    rank: int

    @property
    def share(self) -> Share:
        return Share(self.rank, self.engine.tp)


@dataclass(frozen=True, slots=True)
class Call:
    """Ids [batch, n] behind what the KV cache holds; keep: positions from the end that need logits, 0 for all."""

    kind: Kind
    ids: NDArray[np.int64]
    has_new_cache: bool = False
    keep: int = 0

    def packed(self) -> bytes:
        return _HEAD.pack(self.kind, *self.ids.shape, self.has_new_cache, self.keep) + self.ids.tobytes()


MEMORY = Call(Kind.MEMORY, np.zeros((0, 0), np.int64))


def calls(source: BinaryIO) -> Iterator[Call]:
    """Calls as they come, until rank 0 closes its end or is gone."""
    while len(head := source.read(_HEAD.size)) == _HEAD.size:
        kind, batch, length, is_new, keep = _HEAD.unpack(head)
        data = source.read(8 * batch * length)
        if len(data) < 8 * batch * length:
            return
        yield Call(Kind(kind), np.frombuffer(data, np.int64).reshape(batch, length), bool(is_new), keep)


@contextmanager
def joined(meet: Path, share: Share, device: str) -> Iterator[None]:
    """The process group of all ranks: NCCL between GPUs, gloo on a CPU.

    Left by an error, NCCL's is not destroyed: that may wait for a rank that is gone.

    Raises:
        EngineError: they do not find each other.
    """
    import torch.distributed as dist

    try:
        dist.init_process_group(
            "nccl" if device.startswith("cuda") else "gloo",
            init_method=f"file://{meet}",
            rank=share.rank,
            world_size=share.size,
            timeout=timedelta(seconds=_MEETING_S),
        )
    except (RuntimeError, ValueError) as exc:
        raise EngineError(f"rank {share.rank} of {share.size} cannot join the others: {first_line(exc)}") from exc
    try:
        yield
    except BaseException:
        if dist.get_backend() == "gloo":
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def total(value: int, device: str) -> int:
    """The sum of every rank's value; all have come this far when it returns."""
    import torch
    import torch.distributed as dist

    held = torch.tensor([value], dtype=torch.int64, device=device)
    dist.all_reduce(held)
    return int(held.item())


def peak_gpu_bytes() -> int | None:
    """The most GPU memory that torch held in this process; None without a GPU."""
    import torch

    return int(torch.cuda.max_memory_reserved()) if torch.cuda.is_initialized() else None


def device_of_rank(device: str, rank: int) -> str:
    """'cuda:1' of 'cuda' and 1, made this thread's device; a CPU is shared by all ranks."""
    import torch

    if device != "cuda":
        return device
    torch.cuda.set_device(rank)
    return f"cuda:{rank}"


def told(kwargs: Any) -> Call:
    """The call that a forward pass's arguments amount to."""
    return Call(
        Kind.FORWARD,
        kwargs["input_ids"].cpu().numpy(),
        kwargs["past_key_values"].get_seq_length() == 0,
        kwargs.get("logits_to_keep", 0),
    )
