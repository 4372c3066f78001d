"""An engine's spec as the keys that a suite file has for it."""

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
    return {name: _plain(value) for name, value in values.items() if value != _DEFAULTS[name]}


def changed_keys(before: EngineSpec, after: EngineSpec) -> dict[str, Any]:
    """What is different in `after`, a default among it."""
    names = [name for name in _DEFAULTS if name != "name"]
    return {name: _plain(getattr(after, name)) for name in names if getattr(after, name) != getattr(before, name)}


def _plain(value: Any) -> Any:
    match value:
        case Enum():
            return value.value
        case Path():
            return str(value)
        case Speculation():
            model = {"model": str(value.model)} if value.model else {}
            return {"method": value.method.value, "draft_len": value.draft_len, **model}
        case Quantisation():
            return {key: _plain(item) for key, item in value.given.items()}
        case tuple():
            return dict(value)
        case _:
            return value
