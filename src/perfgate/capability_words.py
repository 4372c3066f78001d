"""The capability matrix as text for a terminal and as the Markdown page of the docs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perfgate.capabilities import Cell, Column, Standing, rows

COMMAND = "perfgate plan --capabilities markdown"
_LEGEND = {
    Standing.HERE: "it runs on this machine as it is installed",
    Standing.INSTALL: "it would run on this machine, and something has to be installed first",
    Standing.SEEN: "it was seen running on such a device, and the number says where that is written down",
    Standing.CONTRACT: "written against the engine's interface, tested through a double, not yet seen on such a device",
    Standing.NO: "not there, and the number says why",
}


def as_markdown(columns: Sequence[Column]) -> str:
    """A page with the table, its words and the reasons."""
    reasons = _reasons(columns)
    head = ["technique", *(column.title for column in columns)]
    body = [[name, *(_shown(cell, reasons) for cell in cells)] for name, cells in _rows(columns)]
    table = [_line(head), _line(["---"] * len(head)), *map(_line, body)]
    intro = (
        "# What each backend can do\n\n"
        f"Written by `{COMMAND}` from each backend's own answers; do not edit it.\n"
        "Without `markdown` the command asks for this machine and what is installed on it. A precision of 8 or 4 bits\n"
        "may ask for a checkpoint that has it. What ran where stands in engines/seen.yaml.\n"
    )
    return "\n".join([intro, *table, "", *_legend(columns, "- **{}**: {}"), "", *_noted(reasons)])


def as_text(columns: Sequence[Column]) -> str:
    """The same in columns of equal width."""
    reasons = _reasons(columns)
    table = [["technique", *(column.title for column in columns)]]
    table += [[name, *(_shown(cell, reasons) for cell in cells)] for name, cells in _rows(columns)]
    widths = [max(len(row[index]) for row in table) for index in range(len(table[0]))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([*lines, "", *_legend(columns, "{}: {}"), "", *_noted(reasons)])


def _rows(columns: Sequence[Column]) -> Iterator[tuple[str, list[Cell]]]:
    for index, name in enumerate(rows()):
        yield name, [column.cells[index] for column in columns]


def _reasons(columns: Sequence[Column]) -> dict[str, int]:
    """Every reason once, numbered from 1 in the order of the rows."""
    told = (cell.reason for _, cells in _rows(columns) for cell in cells if cell.reason)
    return {reason: number for number, reason in enumerate(dict.fromkeys(told), 1)}


def _shown(cell: Cell, reasons: dict[str, int]) -> str:
    return f"{cell.standing} [{reasons[cell.reason]}]" if cell.reason else str(cell.standing)


def _legend(columns: Sequence[Column], form: str) -> Iterator[str]:
    seen = {cell.standing for column in columns for cell in column.cells}
    return (form.format(one, words) for one, words in _LEGEND.items() if one in seen)


def _noted(reasons: dict[str, int]) -> Iterator[str]:
    return (f"{number}. {reason}" for reason, number in reasons.items())


def _line(words: Sequence[str]) -> str:
    return f"| {' | '.join(words)} |"
