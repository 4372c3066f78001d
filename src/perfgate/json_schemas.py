"""JSON Schemas (draft 2020-12) of the files that perfgate reads and writes, generated from their records."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def names() -> tuple[str, ...]:
    """What there is a schema of."""
    return tuple(_MADE)


def json_schema(name: str) -> dict[str, Any]:
    """The schema of a kind of file, one of `names()`."""
    return _MADE[name]()


def of_record(kind: type, schema: int, about: str) -> dict[str, Any]:
    """The schema of a record that carries a schema number; fields that later versions add are allowed.

    about: which file it is.
    """
    import msgspec  # the command line knows the names without it

    (made,), parts = msgspec.json.schema_components([kind], schema_hook=_of_floats, ref_template="#/$defs/{name}")
    for part in parts.values():
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])
    whole = parts.pop(made["$ref"].rpartition("/")[2])
    whole["properties"]["schema"] = {"const": schema}
    whole["required"] = [*whole["required"], "schema"]
    return {"$schema": DRAFT, **whole, "title": about, "$defs": parts}


def _of_floats(kind: type) -> dict[str, Any]:
    from perfgate.floats import Floats

    if kind is Floats:
        return {"type": "array", "items": {"type": "number"}}
    raise NotImplementedError(f"{kind.__name__} has no schema")


def _suite() -> dict[str, Any]:
    from perfgate.suite import SUITE_SCHEMA

    return SUITE_SCHEMA.json_schema()


def _run() -> dict[str, Any]:
    from perfgate.record import RUN_SCHEMA, Run

    return of_record(Run, RUN_SCHEMA, "run.json: everything that a gate measured")


def _comparison() -> dict[str, Any]:
    from perfgate.comparison import COMPARISON_SCHEMA, Comparison

    return of_record(Comparison, COMPARISON_SCHEMA, "comparison.json: the verdicts of a gate")


def _baseline() -> dict[str, Any]:
    from perfgate.baselines import BASELINE_SCHEMA, Baseline

    return of_record(Baseline, BASELINE_SCHEMA, "<device key>/<suite>.json: accepted rounds")


def _tradeoffs() -> dict[str, Any]:
    from perfgate.tradeoffs import TRADEOFFS_SCHEMA, Tradeoffs

    return of_record(Tradeoffs, TRADEOFFS_SCHEMA, "tradeoffs.json: what a sweep found")


def _advice() -> dict[str, Any]:
    from perfgate.advising.advice import ADVICE_SCHEMA, Advice

    return of_record(Advice, ADVICE_SCHEMA, "advice.json: what to do next for a goal, with the evidence")


def _tuning() -> dict[str, Any]:
    from perfgate.tune_record import TUNED_SCHEMA, Tuned

    return of_record(Tuned, TUNED_SCHEMA, "tuning.json: the steps of a tuning and the engine that is left")


_MADE: Mapping[str, Callable[[], dict[str, Any]]] = {
    "suite": _suite, "run": _run, "comparison": _comparison, "baseline": _baseline, "tradeoffs": _tradeoffs,
    "advice": _advice,
    "tuning": _tuning,
}  # fmt: skip
