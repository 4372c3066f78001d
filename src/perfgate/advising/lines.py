"""What to write into a suite to measure techniques: an engine's keys with those of a technique, and its cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from perfgate.case import Speculation
from perfgate.spec_keys import as_written


@dataclass(frozen=True, slots=True)
class Entry:
    """A new engine of a suite: its keys as the file has them, and the workloads that it is to be measured on."""

    name: str
    keys: Mapping[str, Any]
    workloads: tuple[str, ...]


def entry(raw: Mapping[str, Any], engine: str, keys: Mapping[str, Any], workloads: Sequence[str]) -> Entry:
    """An engine with the keys that another has in the suite `raw`, and those of a technique on top."""
    own = {**(raw.get("engines", {}).get(engine) or {}), **{key: as_written(value) for key, value in keys.items()}}
    return Entry(_name(engine, keys, list(raw.get("engines", {}))), own, tuple(workloads))


def suite_lines(raw: Mapping[str, Any], entries: Sequence[Entry]) -> tuple[str, ...]:
    """The lines for all of them: under `engines:`, and under `cases:` where the suite lists its cases."""
    return tuple(_lines(raw, entries)) if entries else ()


def _lines(raw: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[str]:
    yield "engines:"
    yield from (f"  {one.name}: {_flow(dict(one.keys))}" for one in entries)
    if "cases" in raw:
        yield "cases:"
        for works in dict.fromkeys(one.workloads for one in entries):
            names = [one.name for one in entries if one.workloads == works]
            yield f"  - {_flow({'engines': names, 'workloads': list(works)})}"


def _name(engine: str, keys: Mapping[str, Any], taken: Sequence[str]) -> str:
    """'bf16-kv-fp8': what is asked for, short; with a number where that is another engine's."""
    words = "-".join(_word(key, value) for key, value in keys.items())
    wanted = f"{engine}-{words}"[:54]
    free = (name for name in (wanted, *(f"{wanted}-{n}" for n in range(2, 1000))) if name not in taken)
    return next(free)


def _word(key: str, value: object) -> str:
    match key, value:
        case "speculative", Speculation(method):
            return str(method)
        case "kv_cache_dtype", _:
            return f"kv-{value}"
        case "precision", _:
            return str(value)
        case _:
            return key.replace("_", "-")


def _flow(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()
