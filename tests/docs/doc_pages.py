"""Pages of the documentation as readers of Markdown see them: fenced blocks, code within lines, links, headings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NO_COMMANDS = {ROOT / "CHANGELOG.md"}  # of releases, whose commands were those of their day


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `line` is the first of its text, counted from 1."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Link:
    """A link that stays in the repository: the file, relative to the page (empty: the page itself), and #anchor."""

    target: str
    anchor: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for token in _tokens(page):
        if token.type == "fence" and token.map:
            yield Block(page, token.map[0] + 2, token.info.strip(), token.content)


def code_in_lines(page: Path) -> Iterator[Block]:
    """What stands between backticks; `line` is that of its paragraph or table row."""
    for token in _inline(page):
        for child in token.children or ():
            if child.type == "code_inline":
                yield Block(page, (token.map or [0])[0] + 1, "", child.content.replace("\\|", "|"))


def links(page: Path) -> Iterator[Link]:
    """Links and pictures that lead to files of the repository."""
    for token in _inline(page):
        for child in token.children or ():
            address = str(child.attrs.get("href") or child.attrs.get("src") or "")
            if address and not re.match(r"[a-z]+:", address):
                target, _, anchor = address.partition("#")
                yield Link(target, anchor)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page: letters, digits, '-' and '_'; repeated ones are counted."""
    tokens, seen, found = _tokens(page), Counter[str](), set[str]()
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            told = "".join(child.content for child in inline.children or ())
            anchor = re.sub(r"[^\w\- ]", "", told.lower()).replace(" ", "-")
            found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
            seen[anchor] += 1
    return found


def _inline(page: Path) -> Iterator[Token]:
    return (token for token in _tokens(page) if token.type == "inline")


@cache
def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
