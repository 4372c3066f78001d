"""An engine's spec as the keys that a suite file has for it: which differ, and how they are written."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

from perfgate.case import EngineSpec, Quantisation, Speculation

_DEFAULTS = {one.name: one.default for one in fields(EngineSpec)}


def own_keys(spec: EngineSpec) -> dict[str, Any]:
    """All but the name, where it is not the default; paths as texts."""
    values = {name: getattr(spec, name) for name in _DEFAULTS if name != "name"}
    return {name: as_written(value) for name, value in values.items() if value != _DEFAULTS[name]}


def differing(a: EngineSpec, b: EngineSpec) -> list[str]:
    """Keys in which two engines differ, in the order of the fields; their names are none."""
    return [name for name in _DEFAULTS if name != "name" and getattr(a, name) != getattr(b, name)]


def changed_keys(before: EngineSpec, after: EngineSpec) -> dict[str, Any]:
    """What is different in `after`, a default among it."""
    return {name: as_written(getattr(after, name)) for name in differing(before, after)}


def is_alike(value: object, wanted: object) -> bool:
    """Whether two values of a key are one technique: of speculation the method tells, however much is drafted."""
    one, other = (item.method if isinstance(item, Speculation) else item for item in (value, wanted))
    return bool(one == other)


def as_written(value: Any) -> Any:
    """A value of a key as YAML has it; paths as texts."""
    match value:
        case Enum():
            return value.value
        case Path():
            return str(value)
        case Speculation():
            model = {"model": str(value.model)} if value.model else {}
            return {"method": value.method.value, "draft_len": value.draft_len, **model}
        case Quantisation():
            return {key: as_written(item) for key, item in value.given.items()}
        case tuple():
            return dict(value)
        case _:
            return value
