"""The commonest piece of a server's answer."""

from __future__ import annotations

import json

import pytest

from perfgate.load.answers import answer
from perfgate.load.sameness import Sameness, sameness

Event = dict[str, object]


def _text(text: str, **more: object) -> Event:
    return {"choices": [{"text": text, **more}]}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([_text("!")] * 3 + [_text("")], Sameness("'!'", 3, 3)),
        ([_text("a"), _text("b"), _text("b")], Sameness("'b'", 2, 3)),
        ([{"choices": [{"delta": {"content": "x"}}]}] * 2, Sameness("'x'", 2, 2)),
        ([{"choices": [{"delta": {"reasoning_content": "hm"}}]}] * 2, Sameness("'hm'", 2, 2)),
        ([_text("a", token_ids=[7, 7]), _text("b", token_ids=[9])], Sameness("token 7", 2, 3, (7, 9))),
        ([_text("\x1b[31m" * 9)], Sameness("'\\x1b[31m\\x1b[31m\\x1b[31m\\x1b[31m'", 1, 1)),
        ([_text(""), {"choices": [], "usage": {"completion_tokens": 0}}], None),
        ([], None),
    ],
)
def test_ids_come_before_text(events: list[Event], expected: Sameness | None) -> None:
    assert sameness([answer(json.dumps(event).encode()) for event in events]) == expected
