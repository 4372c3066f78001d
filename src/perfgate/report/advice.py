"""Advice on a terminal, as advice.md and as advice.json."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from perfgate.advising.advice import Advice
from perfgate.advising.ranking import Standing
from perfgate.record import encode_pretty, write_atomic
from perfgate.report.advice_words import RANKED, Block, blocks, ranked_row, title
from perfgate.report.limits import aligned
from perfgate.report.markdown import escaped

WIDTH = 110
_MOST_WIDTH, _LEAST_WIDTH = 160, 60
_COLOURS = {
    Standing.TAKE: "green", Standing.NOT_WITHOUT: "yellow", Standing.DEPENDS: "yellow", Standing.MORE: "cyan",
    Standing.LEAVE: "dim",
}  # fmt: skip


def write_advice(advice: Advice, out: Path) -> list[Path]:
    """advice.json and advice.md in the folder."""
    files = {out / "advice.json": encode_pretty(advice), out / "advice.md": markdown(advice).encode()}
    for path, content in files.items():
        write_atomic(path, content)
    return list(files)


def show(advice: Advice, write_line: Callable[[str], None], *, is_live: bool) -> None:
    """The whole on a screen; is_live: it is a terminal, where rich draws the ranked list."""
    width = min(shutil.get_terminal_size((WIDTH, 24)).columns, _MOST_WIDTH)
    write_line(title(advice))
    for block in blocks(advice):
        if is_live and block.head == RANKED:
            _rich_table(advice)
            continue
        for line in _lines(block, max(width, _LEAST_WIDTH)):
            write_line(line)


def markdown(advice: Advice) -> str:
    """The same as GitHub-flavoured Markdown."""
    parts = [f"# {escaped(title(advice))}", *(part for block in blocks(advice) for part in _markdown(block))]
    return "\n\n".join(parts) + "\n"


def _lines(block: Block, width: int) -> Iterator[str]:
    yield ""
    if block.title:
        yield block.title
    for sentence in block.sentences:
        first, later = ("  - ", "    ") if block.title else ("", "  ")
        yield from textwrap.wrap(sentence, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)
    if block.rows:
        yield from aligned([block.head, *block.rows], of_text=block.of_text)
    yield from (f"    {line}" for line in block.paste)


def _markdown(block: Block) -> Iterator[str]:
    if block.title:
        yield f"## {escaped(block.title)}"
    if block.sentences:
        yield "\n".join(f"- {escaped(one)}" for one in block.sentences)
    if block.rows:
        yield _table(block.head, block.rows)
    if block.paste:
        yield "\n".join(["```yaml", *(line.replace("`", "'") for line in block.paste), "```"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(escaped, row))} |" for row in rows)])


def _rich_table(advice: Advice) -> None:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for name in RANKED:
        drawn.add_column(name, justify="right" if name == "gain" else "left", overflow="fold")
    for one in advice.lines:
        drawn.add_row(*ranked_row(one), style=_COLOURS[one.standing])
    Console(markup=False).print(drawn)  # NO_COLOR is read by rich itself
