"""The page of messages names none that the code cannot say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(r"^\| `([^`]+)`", re.MULTILINE)
_HOLE = "\0"  # stands where a text is filled in


def _said() -> Iterator[str]:
    """Every text of the source, with holes where something is filled in."""
    for path in (ROOT / "src" / "perfgate").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(one.value) if isinstance(one, ast.Constant) else _HOLE for one in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_its_messages_are_those_of_the_code() -> None:
    messages, said = ROW.findall((ROOT / "docs" / "troubleshooting.md").read_text()), tuple(_said())
    words = {one: re.compile(".*".join(re.escape(part.strip()) for part in one.split("...")), re.DOTALL)
             for one in messages}  # fmt: skip

    unknown = [one for one, pattern in words.items() if not any(pattern.search(text) for text in said)]

    assert len(messages) > 60  # the table is read at all
    assert unknown == []
