"""Files of others as plain data: bounded in size and depth, digested, and told what is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perfgate.foreign_json import single_keys
from perfgate.importing.faults import Faults
from perfgate.plain_file import read_up_to

MOST_BYTES = 256 * 2**20  # per-request detail of 10,000 requests of 1,000 tokens, with texts, is about 200 MB
MOST_DEPTH = 32
MOST_RESULTS = 1000  # results that one file of JSON Lines may hold


@dataclass(frozen=True, slots=True)
class Source:
    """A file as read. modified: when it was last changed, UTC, ISO 8601."""

    name: str
    data: bytes
    modified: str

    @property
    def digest(self) -> str:
        """SHA-256, hex."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON object of a file: `where` is the file, with the line where it holds several."""

    where: str
    plain: dict[str, Any]


def read_source(path: Path, faults: Faults, most_bytes: int = MOST_BYTES) -> Source | None:
    """A file's bytes, or None after its fault is told: it cannot be read, or is too large."""
    name = str(path)
    try:
        data = read_up_to(path, most_bytes)
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except FileNotFoundError:
        faults.add(name, "nothing", "a result file")
        return None
    except (OSError, ValueError, OverflowError) as exc:
        faults.add(name, f"a file that cannot be read ({getattr(exc, 'strerror', None) or exc})", "a result file")
        return None
    if len(data) > most_bytes:
        faults.add(name, f"more than {most_bytes} bytes", "at most that many")
        return None
    return Source(name, data, modified)


def documents(source: Source, faults: Faults) -> list[Document]:
    """The JSON objects of a file: one, or one a line. Empty after a fault is told."""
    try:
        whole = _decode(source.data)
    except (ValueError, RecursionError) as exc:
        lines = [line for line in enumerate(source.data.split(b"\n"), 1) if line[1].strip()]
        if len(lines) < 2 or not lines[0][1].lstrip().startswith(b"{"):  # noqa: PLR2004 - not JSON Lines either
            faults.add(source.name, f"no JSON ({str(exc) or 'nested too deeply'})", "JSON, or an object a line")
            return []
        return list(_by_line(source.name, lines, faults))
    return list(_object(source.name, whole, faults))


def _by_line(name: str, lines: Sequence[tuple[int, bytes]], faults: Faults) -> Iterator[Document]:
    if len(lines) > MOST_RESULTS:
        faults.add(name, f"{len(lines)} lines", f"at most {MOST_RESULTS} results")
        return
    for number, line in lines:
        where = f"{name}:{number}"
        try:
            yield from _object(where, _decode(line), faults)
        except (ValueError, RecursionError) as exc:
            faults.add(where, f"no JSON ({str(exc) or 'nested too deeply'})", "one object a line")


def _object(where: str, value: Any, faults: Faults) -> Iterator[Document]:
    if not isinstance(value, dict):
        kind = "a list (the companion '.pytorch.json' is not read)" if isinstance(value, list) else "a bare value"
        faults.add(where, kind, "an object with the results")
    elif _is_deep(value):
        faults.add(where, f"more than {MOST_DEPTH} levels of nesting", "at most that many")
    else:
        yield Document(where, value)


def _is_deep(root: Any) -> bool:
    level = [root]
    for _ in range(MOST_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _decode(data: bytes) -> Any:
    return json.loads(data.decode("utf-8-sig"), object_pairs_hook=single_keys)
