"""Rows of text as a table in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def markdown_rows(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first row is the heading."""
    head, *body = rows
    yield _row(head)
    yield f"|{'---|' * len(head)}"
    yield from map(_row, body)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
