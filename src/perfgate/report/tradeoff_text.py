"""A sweep as text: tradeoffs.txt, and the same on a terminal, where rich draws the table."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence

from perfgate.report.figures import count, plain
from perfgate.report.tradeoff_table import columns, table_of
from perfgate.report.tradeoff_words import advice, effect_sentences, front_rule, headline
from perfgate.tradeoffs import Absent, Tradeoffs

WIDTH = 110


def text(found: Tradeoffs) -> str:
    """The whole, for a file."""
    return "\n".join([*_head(found), *_plain_table(found), *_tail(found, WIDTH)]) + "\n"


def show(found: Tradeoffs, write_line: Callable[[str], None], *, is_live: bool) -> None:
    """The whole on a screen; is_live: it is a terminal."""
    width = min(shutil.get_terminal_size((WIDTH, 24)).columns, 160)
    for line in _head(found):
        write_line(line)
    if not (is_live and _rich_table(found)):
        for line in _plain_table(found):
            write_line(line)
    for line in _tail(found, width):
        write_line(line)


def _head(found: Tradeoffs) -> list[str]:
    axes = "; ".join(f"{axis}: {', '.join(values)}" for axis, values in found.axes)
    rounds = f"{count(found.rounds, 'round')} and {count(found.builds, 'cold build')} a configuration"
    return [plain(headline(found)), plain(f"axes: {axes}"), f"{rounds}, weighed on {found.traffic}", ""]


def _plain_table(found: Tradeoffs) -> list[str]:
    if not found.options:
        return ["nothing was measured"]
    table = table_of(found)
    return [plain(line) for line in columns([table.head, *table.rows])]


def _rich_table(found: Tradeoffs) -> bool:
    """Draw the table with rich; False where nothing was measured."""
    from rich.console import Console
    from rich.table import Table

    table = table_of(found)
    drawn = Table(title="configurations, the front first", box=None, header_style="bold")
    for number, head in enumerate(table.head):
        drawn.add_column(head, justify="right" if 3 <= number < len(table.head) - 1 else "left", overflow="fold")  # noqa: PLR2004
    for line in table.lines:
        drawn.add_row(*map(plain, line.all), style="green" if line.is_on_front else "dim")
    Console(markup=False).print(drawn)  # NO_COLOR is read by rich itself
    return bool(found.options)


def _tail(found: Tradeoffs, width: int) -> Iterator[str]:
    sections = [
        ("The front", [front_rule(found)] if found.options else []),
        ("What each value costs and gives", effect_sentences(found)),
        ("Advice", advice(found)),
        ("Failed", _absent(found.failed)),
        ("Skipped", _absent(found.skipped)),
        ("Left out by the suite", [f"{number}: {reason}" for reason, number in found.left_out]),
        ("Notes", found.notes),
    ]
    for name, sentences in sections:
        if sentences:
            yield from ("", name, *_wrapped(sentences, width))


def _absent(every: Sequence[Absent]) -> list[str]:
    return [f"{one.name}: {one.reason}" for one in every]


def _wrapped(sentences: Sequence[str], width: int) -> Iterator[str]:
    for sentence in sentences:
        yield from textwrap.wrap(
            plain(sentence), max(width, 60), initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False
        )
