"""JSON for files that people review: sorted keys, a block per record, a line per row of numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from perfgate.record import encode

ROW_DEPTH = 3  # from here on, a record of plain values stands on one line: a document's score


def encode_blocks(record: Any) -> bytes:
    """A record as JSON whose diffs are small: indented by one, sorted keys, rows on one line, final newline.

    A list of plain values is a row, and so is a record of them `ROW_DEPTH` levels down. It holds
    what `encode` gives, in another layout.
    """
    return b"".join(_lines(json.loads(encode(record)), 0)) + b"\n"


def _lines(value: Any, depth: int) -> Iterator[bytes]:
    if _is_row(value, depth):
        yield _row(value)
        return
    is_record = isinstance(value, dict)
    items = sorted(value.items()) if is_record else ((None, item) for item in value)
    yield b"{" if is_record else b"["
    for number, (name, item) in enumerate(items):
        yield b",\n" if number else b"\n"
        yield b" " * (depth + 1)
        if is_record:
            yield _row(name) + b": "
        yield from _lines(item, depth + 1)
    yield b"\n" + b" " * depth + (b"}" if is_record else b"]")


def _is_row(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return not value or (depth >= ROW_DEPTH and all(_is_plain(item) for item in value.values()))
    return not isinstance(value, list) or all(_is_plain(item) for item in value)


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _row(value: Any) -> bytes:
    """One line, a space after each comma and colon; plain values as msgspec writes them, floats losslessly."""
    if isinstance(value, dict):
        return b"{" + b", ".join(_row(name) + b": " + _row(item) for name, item in sorted(value.items())) + b"}"
    if isinstance(value, list):
        return b"[" + b", ".join(map(_row, value)) + b"]"
    return msgspec.json.encode(value)
