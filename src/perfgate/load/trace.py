"""Traces of real traffic: JSON Lines, read strictly and told with every fault at once.

Each line is an object with `timestamp`, `input_length` and `output_length`, and may have `hash_ids`
(one per block of the prompt, equal ids for equal blocks, as the Mooncake traces have them) or the
`prompt` or `messages` themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from perfgate.errors import Fault, UsageError
from perfgate.foreign_json import single_keys
from perfgate.load.lengths import MAX_TOKENS
from perfgate.plain_file import open_plain
from perfgate.schema import nearest

MOONCAKE_BLOCK = 512  # tokens that one hash id stands for (kvcache-ai/Mooncake, its traces' README)
MILLISECONDS = 1000.0  # timestamps a second, as in the Mooncake traces
_SHOWN = 40  # faults that are listed; the others are counted
_NEEDED = ("timestamp", "input_length", "output_length")
_KNOWN = (*_NEEDED, "hash_ids", "prompt", "messages")


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """One request of a trace. due_s: seconds after its first request."""

    due_s: float
    input_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...] = ()
    prompt: str | None = None
    messages: tuple[Mapping[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a trace may hold at most; more is refused before it fills the memory."""

    total_bytes: int = 500_000_000
    line_bytes: int = 16_000_000
    requests: int = 1_000_000


class TraceError(UsageError):
    """Every fault of a trace, one line each."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = f"{len(self.faults)} fault" + ("s" if len(self.faults) != 1 else "")
        shown = [f"the trace has {count}:", *map(str, self.faults[:_SHOWN])]
        if len(self.faults) > _SHOWN:
            shown.append(f"and {len(self.faults) - _SHOWN} more")
        super().__init__("\n  ".join(shown))


def read_trace(
    path: Path, timestamps_per_s: float = MILLISECONDS, block: int = MOONCAKE_BLOCK, limits: Limits = Limits()
) -> tuple[TraceEntry, ...]:
    """Every request of a trace; times count from the first, and blank lines are passed over.

    Raises:
        TraceError: with every fault: line, what was found, what is expected.
    """
    entries: list[TraceEntry] = []
    faults: list[Fault] = []
    for where, line in _lines(path, limits):
        reader = _Line(where, block, faults)
        entry = reader.entry(line, timestamps_per_s)
        if entry and entries and entry.due_s < entries[-1].due_s:
            reader.fault("timestamp", f"{entry.due_s * timestamps_per_s:g}", "one not before the line above")
        elif entry:
            entries.append(entry)
    if not entries and not faults:
        faults.append(Fault(str(path), f"found no request, expected objects with {', '.join(_NEEDED)}"))
    if faults:
        raise TraceError(faults)
    return tuple(replace(entry, due_s=entry.due_s - entries[0].due_s) for entry in entries)


def faster(entries: Iterable[TraceEntry], factor: float) -> tuple[TraceEntry, ...]:
    """The same requests, `factor` times as fast: bursts stay bursts.

    Raises:
        UsageError: the factor is not above 0.
    """
    if not 0 < factor < math.inf:
        raise UsageError(f"found a factor of {factor:g} for the rate of a trace, expected one above 0")
    return tuple(replace(entry, due_s=entry.due_s / factor) for entry in entries)


def at_mean_rate(entries: Sequence[TraceEntry], per_s: float) -> tuple[TraceEntry, ...]:
    """The same requests, scaled so that the gaps between them average 1 / per_s seconds.

    Raises:
        UsageError: the rate is not above 0, or the trace has no span.
    """
    span_s = entries[-1].due_s - entries[0].due_s if entries else 0.0
    if not span_s > 0:
        raise UsageError("a trace whose requests all come at once has no rate that could be scaled")
    if not 0 < per_s < math.inf:
        raise UsageError(f"found a rate of {per_s:g} requests/s for a trace, expected one above 0")
    return faster(entries, per_s * span_s / (len(entries) - 1))


# ------------------------------------------------------------------ lines


def _lines(path: Path, limits: Limits) -> Iterator[tuple[str, bytes]]:
    """Place and bytes of each line that is not blank.

    Raises:
        TraceError: the file cannot be read or is over a limit.
    """
    try:
        with open_plain(path) as file:
            yield from _bounded(file, path, limits)
    except OSError as exc:
        raise TraceError([Fault(str(path), f"cannot be read: {exc.strerror}")]) from exc


def _bounded(file: Any, path: Path, limits: Limits) -> Iterator[tuple[str, bytes]]:
    read = found = 0
    for number, line in enumerate(iter(lambda: file.readline(limits.line_bytes + 1), b""), 1):
        read += len(line)
        found += bool(line.strip())
        for size, most, what in (
            (len(line), limits.line_bytes, "bytes in a line"),
            (read, limits.total_bytes, "bytes"),
            (found, limits.requests, "requests"),
        ):
            if size > most:
                raise TraceError([Fault(f"{path}:{number}", f"found more than {most} {what}, the most that are read")])
        if line.strip():
            yield f"{path}:{number}", line


class _Line:
    """A reader of one line, which adds what is wrong to the faults."""

    def __init__(self, where: str, block: int, faults: list[Fault]) -> None:
        self._where, self._block, self._faults = where, block, faults

    def fault(self, key: str, found: str, expected: str) -> None:
        self._faults.append(Fault(f"{self._where} {key}".rstrip(), f"found {found[:80]}, expected {expected}"))

    def entry(self, line: bytes, timestamps_per_s: float) -> TraceEntry | None:
        """The request, or None where something was wrong."""
        before = len(self._faults)
        plain = self._object(line)
        if plain is None:
            return None
        for key in plain.keys() - set(_KNOWN):
            self.fault(key[:40], "an unknown key", f"one of {', '.join(_KNOWN)}{nearest(key, _KNOWN)}")
        timestamp = self._timestamp(plain)
        lengths = [self._whole(plain, key) for key in _NEEDED[1:]]
        hash_ids = self._hash_ids(plain, lengths[0])
        prompt, messages = self._content(plain)
        if len(self._faults) > before:
            return None
        return TraceEntry(timestamp / timestamps_per_s, lengths[0], lengths[1], hash_ids, prompt, messages)

    def _object(self, line: bytes) -> dict[str, Any] | None:
        try:
            plain = json.loads(line, object_pairs_hook=single_keys, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as exc:
            self.fault("", f"no JSON ({str(exc) or 'nested too deeply'})", "one object a line")
            return None
        if not isinstance(plain, dict):
            self.fault("", _shown(plain), "an object")
            return None
        return plain

    def _timestamp(self, plain: Mapping[str, Any]) -> float:
        value = plain.get("timestamp")
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LATEST:
            return float(value)
        self.fault("timestamp", _shown(value), "a number of 0 or more")
        return 0.0

    def _whole(self, plain: Mapping[str, Any], key: str) -> int:
        value = plain.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_TOKENS:
            return value
        self.fault(key, _shown(value), f"a whole number of tokens from 1 to {MAX_TOKENS}")
        return 0

    def _hash_ids(self, plain: Mapping[str, Any], input_tokens: int) -> tuple[int, ...]:
        if "hash_ids" not in plain:
            return ()
        value = plain["hash_ids"]
        if not isinstance(value, list) or not all(type(one) is int and 0 <= one < 2**63 for one in value):
            self.fault("hash_ids", _shown(value), "a list of whole numbers of 0 or more")
            return ()
        blocks = math.ceil(input_tokens / self._block)
        if input_tokens and len(value) != blocks:
            expected = f"{blocks}: one for each {self._block} of {input_tokens} tokens"
            self.fault("hash_ids", f"{len(value)} ids", expected)
        return tuple(value)

    def _content(self, plain: Mapping[str, Any]) -> tuple[str | None, tuple[Mapping[str, Any], ...] | None]:
        prompt, messages = plain.get("prompt"), plain.get("messages")
        if sum(key in plain for key in ("hash_ids", "prompt", "messages")) > 1:
            self.fault("", "more than one of hash_ids, prompt and messages", "one of them: each is the whole prompt")
        if "prompt" in plain and not isinstance(prompt, str):
            self.fault("prompt", _shown(prompt), "a text")
        if "messages" in plain and not (isinstance(messages, list) and messages and all(map(_is_message, messages))):
            self.fault("messages", _shown(messages), "a list of objects with role and content")
            return None, None
        return prompt, None if messages is None else tuple(messages)


_LATEST = 1e15  # a timestamp in microseconds since 1970 is still below


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and "content" in value


def _shown(value: object) -> str:
    return "nothing" if value is None else json.dumps(value)[:60]


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")
