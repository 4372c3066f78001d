"""JSON that others wrote, such as the config.json of a checkpoint: bounded, with one kind of error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfgate.plain_file import read_up_to

MOST_BYTES = 256 << 20  # as of files to import; the tokenizer.json of a vocabulary of 256,000 takes 35 MB


class ForeignJsonError(ValueError):
    """What is no JSON, or more of it than is read: 'is not JSON: ...', to stand behind the file's name."""


def read_json(path: Path) -> Any:
    """The value that a file holds.

    Infinity and NaN are read, as HuggingFace writes them (Mamba 2); a key that stands twice is refused: readers
    disagree on which of the two counts.

    Raises:
        OSError: it cannot be read.
        ForeignJsonError: it is too large, damaged, nested too deeply, or has a key twice.
    """
    data = read_up_to(path, MOST_BYTES)
    if len(data) > MOST_BYTES:
        raise ForeignJsonError(f"holds more than {MOST_BYTES} bytes, the most that are read")
    try:
        return json.loads(data, object_pairs_hook=single_keys)
    except RecursionError as exc:
        raise ForeignJsonError("is not JSON that can be read: nested too deeply") from exc
    except ValueError as exc:
        raise ForeignJsonError(f"is not JSON: {exc}") from exc


def single_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads(object_pairs_hook=...)`: an object whose keys stand once each.

    Raises:
        ValueError: one stands twice.
    """
    plain = dict(pairs)
    if len(plain) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!r} stands twice")
    return plain


def whole_number(value: object) -> int | None:
    """A number of a config as a whole one; None for what is none: texts, true, 1e999."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == value // 1 and abs(value) < 2**63 else None
