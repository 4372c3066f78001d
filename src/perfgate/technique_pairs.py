"""Which engine of a suite each is compared with, and what sets the two apart."""

from __future__ import annotations

from pathlib import Path

from perfgate.case import EngineSpec, Quantisation, Speculation
from perfgate.spec_keys import differing
from perfgate.suite import Suite


def reference_of(suite: Suite, spec: EngineSpec) -> EngineSpec | None:
    """The engine that the suite's quality names; else the first of its backend and model, or else of its model."""
    named = {one.engine: one.reference_engine for one in suite.gate.references}
    if spec.name in named:
        return next(one for one in suite.engines if one.name == named[spec.name])
    before = suite.engines[: suite.engines.index(spec)]
    alike = [one for one in suite.engines if (one.backend, one.model) == (spec.backend, spec.model)]
    if alike[0] != spec:
        return alike[0]
    return next((one for one in before if one.model == spec.model), None)


def differences(reference: EngineSpec, spec: EngineSpec) -> tuple[str, ...]:
    """What sets an engine apart from its reference, as a suite would say it: 'kv_cache_dtype int8'."""
    return tuple(f"{key} {_said(getattr(spec, key))}" for key in differing(reference, spec) if key != "made_by")


def _said(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "by default", True: "on", False: "off"}[value]
    match value:
        case tuple():
            return ", ".join(f"{key} {part}" for key, part in value) or "none"
        case Speculation():
            return f"{value.method}, {value.draft_len} tokens"
        case Quantisation():
            return ", ".join(f"{key} {_said(part)}" for key, part in value.given.items())
        case Path():
            return value.name
    return str(value)
