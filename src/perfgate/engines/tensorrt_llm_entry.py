"""What a prepared TensorRT-LLM engine is on disk: a record of how it was made, and the autotuner's choices.

The autotuner's file checks neither GPU nor version when it is read, so that it lies in our entry, whose key
has both. It is packed: loading writes to it, and an entry must not change. The pack is filled up to a power
of two, since its exact size says nothing and would make `engine_bytes` differ between builds.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from perfgate.case import Flow
from perfgate.errors import EngineError
from perfgate.record import encode_pretty, read_record, write_atomic

SCHEMA = 1
_RECORD = "perfgate-tensorrt-llm.json"
_PACK, _LEAST_PACK = "autotuner.tar", 1 << 20
_FILE = "autotuner.json"  # the name that the engine is given; several ranks write names like it beside


@dataclass(frozen=True, slots=True)
class Record:
    """How an engine was prepared; `told` is for people."""

    flow: Flow
    version: str
    told: Mapping[str, str]
    schema: int = SCHEMA


def write(folder: Path, record: Record) -> None:
    write_atomic(folder / _RECORD, encode_pretty(record))


def read(folder: Path) -> Record:
    """The record of an entry.

    Raises:
        EngineError: the folder was not prepared by this backend.
        RecordError: it is damaged or of another schema.
    """
    if not (folder / _RECORD).exists():
        raise EngineError(f"{folder} was not prepared by the backend tensorrt_llm: no {_RECORD} in it")
    return read_record(folder / _RECORD, Record, SCHEMA)


@contextmanager
def tuned(entry: Path, *, keep: bool) -> Iterator[Path]:
    """A path for the autotuner's file in a folder of its own, filled from the entry; `keep` packs it afterwards.

    Raises:
        EngineError: the pack is damaged, or holds anything but plain files.
    """
    with TemporaryDirectory(prefix="perfgate-autotuner-") as name:
        work = Path(name)
        if (entry / _PACK).exists():
            _unpack(entry / _PACK, work)
        yield work / _FILE
        if keep and any(work.iterdir()):
            write_atomic(entry / _PACK, _packed(work))


def has_tuned(entry: Path) -> bool:
    """Whether the entry holds choices of the autotuner."""
    return (entry / _PACK).exists()


def _unpack(path: Path, work: Path) -> None:
    try:
        with tarfile.open(path, "r:") as pack:  # packed by nothing: no file is larger than the pack
            pack.extractall(work, _plain_files(pack), filter="data")
    except (tarfile.TarError, OSError, ValueError, OverflowError) as exc:
        raise EngineError(
            f"{path} is damaged: found {exc}, expected files of the autotuner; remove {path.parent}, it is built anew"
        ) from exc


def _plain_files(pack: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """Its members as far as they are what `_packed` writes; read one by one, as a size below 0 leads back to the first.

    Raises:
        ValueError: one is another: a folder, a link, a device, a file with holes.
    """
    found = []
    for one in pack:
        if not one.isreg() or one.issparse() or one.size < 0 or "/" in one.name:
            raise ValueError(f"'{one.name}'")
        found.append(one)
    return found


def _packed(work: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as pack:
        for path in sorted(work.iterdir()):
            pack.add(path, arcname=path.name)
    data = out.getvalue()
    return data.ljust(max(_LEAST_PACK, 1 << (len(data) - 1).bit_length()), b"\0")
