"""How many rounds may be asked for: the same for every command, and for pytest's option."""

from __future__ import annotations

from perfgate.errors import UsageError

MOST_ROUNDS = 1000


def checked_rounds(found: int | str | None, fewest: int = 1, where: str = "--rounds") -> int | None:
    """A number of rounds as asked for; None where nothing was.

    Raises:
        UsageError: no whole number from `fewest` to `MOST_ROUNDS`.
    """
    if found is None:
        return None
    text = str(found)
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(MOST_ROUNDS))
    if not (is_number and fewest <= int(text) <= MOST_ROUNDS):
        raise UsageError(f"{where}: found '{text}', expected a whole number from {fewest} to {MOST_ROUNDS}")
    return int(text)
