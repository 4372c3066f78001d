"""How much of an answer is one and the same token: a broken model streams one over and over, however fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from perfgate.load.answers import Answer
from perfgate.printable import printable

_MOST_CHARS = 20  # of a piece of text that is told


@dataclass(frozen=True, slots=True)
class Sameness:
    """The commonest piece of an answer: a token where the server lists ids, else the text of an event.

    count: how often it came, of so many pieces. ids: the lowest and the highest token id; None where none are listed.
    """

    commonest: str
    count: int
    pieces: int
    ids: tuple[int, int] | None = None


def sameness(answers: Sequence[Answer]) -> Sameness | None:
    """Of all events of one answer; None where nothing came."""
    if ids := [token for one in answers for choice in one.choices for token in choice.token_ids or ()]:
        token, count = Counter(ids).most_common(1)[0]
        return Sameness(f"token {token}", count, len(ids), (min(ids), max(ids)))
    texts = [text for one in answers if (text := one.text)]
    if not texts:
        return None
    text, count = Counter(texts).most_common(1)[0]
    return Sameness(printable(repr(text[:_MOST_CHARS])), count, len(texts))
