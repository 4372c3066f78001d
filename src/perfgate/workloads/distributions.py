"""Next-token distributions beside a reference's: kept by their heads, compared by top-1 agreement and KL divergence.

The reference engine runs in another process, so the heads (the 20 likeliest tokens and their log-probabilities before
every scored token) go through a file. Of KL(reference || engine) a lower bound is told: tokens that are in both heads
count one by one, all others as one, and joining outcomes never raises the divergence (log-sum inequality; Cover and
Thomas, Elements of Information Theory, 2.7.1).
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from perfgate.errors import PerfgateError
from perfgate.record import Likeness, decode, read_bounded, write_atomic

TOP = 20  # the most that vLLM tells by default
MOST_BYTES = 64 * 1024 * 1024  # of a file: 420,000 tokens; documents beyond have no figures
_TOKEN_BYTES = TOP * (4 + 4)
_UNREADABLE = (  # what zipfile and numpy raise of files that are none, or that claim what no memory holds
    *(PerfgateError, OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error, NotImplementedError),
    *(RuntimeError, TypeError, OverflowError, MemoryError, SyntaxError, TokenError, struct.error),
)
_TINY = 1e-7  # float32 log-probabilities sum to 1 no better than this


@dataclass(frozen=True, slots=True)
class Alike:
    """Where the reference's distributions lie. keeps: this engine is the reference and writes them.

    tag: of what they depend on (engine, text, windows, planted loss); a file with another tag is not read.
    """

    reference: str
    path: Path
    tag: str
    keeps: bool


@dataclass(frozen=True, slots=True)
class _Said:
    """What stands beside the numbers of a file: its tag, and the tokens of each document."""

    tag: str
    sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Heads:
    """Before each scored token of a document the likeliest ones, likeliest first: [tokens, k]."""

    ids: NDArray[np.int32]
    log_probs: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


def likeness(reference: Heads, now: Heads) -> Likeness:
    """Agreement on the likeliest token, and the sum of lower bounds of KL(reference || engine) in nats."""
    if not len(reference):
        return Likeness(0, 0, 0.0)
    same = reference.ids[:, :, None] == now.ids[:, None, :]  # [tokens, k of the reference, k of the engine]
    shared = same.any(axis=2)
    found = np.take_along_axis(now.log_probs, same.argmax(axis=2), axis=1)
    p_log, q_log = (np.where(shared, one, 0.0).astype(np.float64) for one in (reference.log_probs, found))
    p, q = (np.where(shared, np.exp(one), 0.0) for one in (p_log, q_log))
    heads = (p * (p_log - q_log)).sum(axis=1)
    p_rest, q_rest = (np.maximum(1.0 - one.sum(axis=1), _TINY) for one in (p, q))
    bound = np.maximum(heads + p_rest * np.log(p_rest / q_rest), 0.0)
    return Likeness(len(reference), int((reference.ids[:, 0] == now.ids[:, 0]).sum()), float(bound.sum()))


def keep(alike: Alike, documents: Mapping[str, Heads]) -> None:
    """Write the reference's heads, document by document up to the cap."""
    fitting: dict[str, Heads] = {}
    room = MOST_BYTES // _TOKEN_BYTES
    for name, heads in documents.items():
        room -= len(heads)
        if room < 0:
            break
        fitting[name] = heads
    sizes = {name: len(heads) for name, heads in fitting.items()}
    said = json.dumps({"tag": alike.tag, "sizes": sizes}).encode()
    ids = np.concatenate([np.zeros((0, TOP), np.int32), *(_padded(one.ids, -1) for one in fitting.values())])
    log_probs = np.concatenate([np.zeros((0, TOP)), *(_padded(one.log_probs, -np.inf) for one in fitting.values())])
    with io.BytesIO() as file:
        np.savez(file, ids=ids, log_probs=log_probs.astype(np.float32), said=np.frombuffer(said, np.uint8))
        write_atomic(alike.path, file.getvalue())


def _padded(rows: NDArray[np.generic], filler: float) -> NDArray[np.generic]:
    """A small vocabulary has fewer than `TOP` tokens."""
    return np.pad(rows, ((0, 0), (0, TOP - rows.shape[1])), constant_values=filler)


def kept(alike: Alike) -> Mapping[str, Heads] | str:
    """The reference's heads by document; why there are none, where there are none."""
    try:
        data = io.BytesIO(read_bounded(alike.path))
        if (size := _unpacked(data)) > _most_unpacked():
            return f"the distributions of {alike.reference} hold {size} bytes, at most {_most_unpacked()} are read"
        with np.load(data, allow_pickle=False) as file:
            said = decode(np.asarray(file["said"]).tobytes(), _Said, alike.path)
            ids, log_probs = np.asarray(file["ids"]), np.asarray(file["log_probs"])
    except _UNREADABLE:
        return f"the distributions of {alike.reference} were not kept"
    if said.tag != alike.tag:
        return f"the distributions of {alike.reference} are of another run"
    if not _is_whole(said, ids, log_probs):
        return f"the distributions of {alike.reference} are damaged"
    ends = np.cumsum(list(said.sizes.values()))
    starts = [0, *ends[:-1]]
    return {
        name: Heads(ids[start:end], log_probs[start:end])
        for name, start, end in zip(said.sizes, starts, ends, strict=True)
    }


def _most_unpacked() -> int:
    """Bytes: what `keep` writes, and as much again for the documents' names."""
    return 2 * MOST_BYTES


def _unpacked(data: IO[bytes]) -> int:
    """What an archive says that it holds, in bytes; no member gives more than it says."""
    with ZipFile(data) as pack:
        return sum(one.file_size for one in pack.infolist())


def _is_whole(said: _Said, ids: NDArray[Any], log_probs: NDArray[Any]) -> bool:
    """Whether the numbers are those of the documents beside them."""
    sizes = said.sizes.values()
    is_shaped = ids.shape == log_probs.shape == (sum(sizes), TOP) and min(sizes, default=0) >= 0
    is_typed = ids.dtype.kind == "i" and log_probs.dtype.kind == "f"
    return is_shaped and is_typed and bool((log_probs < 1).all())  # NaN is not; rounding may lead above 0
