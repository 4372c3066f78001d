"""Text from outside (a log, an answer, a file's words) made fit for one line of a file or of a terminal."""

from __future__ import annotations

import re


def printable(text: str) -> str:
    """No lone surrogates, no control codes, no breaks: a space stands in for each."""
    clean = text.encode("utf-8", "replace").decode()
    return "".join(char if char.isprintable() else " " for char in clean)


def printable_lines(text: str) -> str:
    """The same of each line. Lines of ours go on with two blanks: any other break came with a text from outside."""
    return text if text.isprintable() else "\n".join(map(printable, re.split(r"\n(?=  )", text)))
