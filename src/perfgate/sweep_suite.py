"""The `sweep:` section of a suite: its keys, what contradicts what, and the sweep that it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from perfgate.case import BuildWork, LatencyWork, ServingWork, Workload
from perfgate.schema import Anything, Context, Field, ListOf, MapOf, Record, Text, Whole, nearest
from perfgate.sweep import (
    ARGS,
    MOST_CONFIGURATIONS,
    Axis,
    Condition,
    MakeSpec,
    Refuse,
    Span,
    Sweep,
    Unset,
    configurations,
    in_words,
)

_TRAFFIC = ("latency", "serving")
_BUILD = "build"  # the workload that a sweep adds where the suite has none of the kind
_REASON = "reason"
Conflicts = Iterator[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class OrUnset:
    """A value, or null: the key is left out."""

    item: Field

    def parse(self, node: yaml.Node, path: str, context: Context) -> Any:
        if node.tag == "tag:yaml.org,2002:null":
            return Unset.UNSET
        return self.item.parse(node, path, context)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [self.item.json_schema(), {"type": "null"}]}


def sweep_schema(engine: Record, name: Text) -> Record:
    """The section's keys; an axis is any key of an engine."""
    axes: dict[str, Field] = {key: ListOf(OrUnset(field)) for key, field in engine.fields.items() if key != ARGS}
    axes[ARGS] = MapOf(ListOf(OrUnset(Anything())))
    return Record(
        {
            "engine": name,
            "axes": Record(axes),
            "only": ListOf(Record(axes)),
            "skip": ListOf(Record({**axes, _REASON: Text()})),
            "workloads": ListOf(name),
            "traffic": name,
            "rounds": Whole(1, 1000),
            "builds": Whole(1, 1000),
        },
        required=("axes",),
        docs={
            "engine": "the engine whose keys the axes change",
            "axes": "lists of values of engine keys; their product is measured. null leaves a key out",
            "only": "configurations that are wanted; a mapping names values of axes",
            "skip": "configurations that are not wanted",
            "workloads": "what is measured of each configuration (default: all)",
            "traffic": "the latency or serving workload that is weighed against build time",
            "rounds": "measuring processes of each configuration",
            "builds": "cold builds of each configuration, at most as many as rounds",
        },
    )


def read_sweep(
    raw: Mapping[str, Any], bases: Mapping[str, Mapping[str, Any]], works: Mapping[str, Workload], make: MakeSpec,
    refuse: Refuse,
) -> Sweep:  # fmt: skip
    """The sweep of a section without conflicts; `bases` are the keys of the suite's engines, defaults included."""
    span = _span(raw, bases)
    chosen = tuple(works[name] for name in raw.get("workloads", works))
    if not any(isinstance(work, BuildWork) for work in chosen):
        names = {work.name for work in chosen}
        chosen = (BuildWork(_BUILD if _BUILD not in names else f"sweep-{_BUILD}"), *chosen)
    traffic = raw.get("traffic") or next(work.name for work in chosen if isinstance(work, LatencyWork | ServingWork))
    given = {key: raw[key] for key in ("rounds", "builds") if key in raw}
    made = configurations(span, make, refuse)
    found = Sweep(span.axes, made, chosen, traffic, left_out=span.left_out(), **given)
    return replace(found, builds=min(found.builds, found.rounds))


def _span(raw: Mapping[str, Any], bases: Mapping[str, Mapping[str, Any]]) -> Span:
    base = bases[raw.get("engine") or next(iter(bases))]
    axes = tuple(Axis(name, values) for name, values in _flat(raw["axes"]).items())
    return Span(base, axes, _conditions(raw.get("only", ())), _conditions(raw.get("skip", ())))


def _conditions(raw: tuple[Mapping[str, Any], ...]) -> tuple[Condition, ...]:
    return tuple(Condition(tuple(_flat(one).items()), one.get(_REASON, "")) for one in raw)


def _flat(raw: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Values by axis, an argument of `engine_args` being an axis of its own."""
    own = {key: values for key, values in raw.items() if key not in (ARGS, _REASON)}
    return own | {f"{ARGS}.{key}": values for key, values in raw.get(ARGS, {}).items()}


# ------------------------------------------------------------------ what contradicts what


def sweep_conflicts(
    raw: Mapping[str, Any], bases: Mapping[str, Mapping[str, Any]], works: Mapping[str, Mapping[str, Any]],
    refuse: Refuse,
) -> Conflicts:  # fmt: skip
    """(key path, what is wrong) of a section; `works` as the file has them."""
    faults = [*_name_conflicts(raw, bases, works), *_axis_conflicts(raw)]
    yield from faults or _span_conflicts(_span(raw, bases), refuse)


def _name_conflicts(raw: Mapping[str, Any], bases: Mapping[str, Any], works: Mapping[str, Any]) -> Conflicts:
    where = "sweep.engine"
    if "engine" not in raw and len(bases) > 1:
        yield "sweep", f"which engine do the axes change? Name it: engine: {next(iter(bases))}"
    if "engine" in raw and raw["engine"] not in bases:
        yield where, _unknown(raw["engine"], "engines", bases)
    chosen = raw.get("workloads", tuple(works))
    unknown = [name for name in chosen if name not in works]
    yield from (("sweep.workloads", _unknown(name, "workloads", works)) for name in unknown)
    if not unknown:
        yield from _traffic_conflicts(raw, [name for name in chosen if works[name]["kind"] in _TRAFFIC])


def _traffic_conflicts(raw: Mapping[str, Any], able: list[str]) -> Conflicts:
    if not able:
        yield "sweep.workloads", "there is no latency or serving workload: builds would be weighed against nothing"
    elif "traffic" not in raw and len(able) > 1:
        yield (
            "sweep",
            f"which workload is weighed against build time? Name it: traffic: {able[0]} (of {', '.join(able)})",
        )
    elif raw.get("traffic", able[0]) not in able:
        yield "sweep.traffic", _unknown(raw["traffic"], "the latency and serving workloads of the sweep", able)


def _unknown(name: str, where: str, known: Any) -> str:
    return f"no '{name}' under {where}; there: {', '.join(known)}{nearest(name, list(known))}"


def _axis_conflicts(raw: Mapping[str, Any]) -> Conflicts:
    axes = _flat(raw["axes"])
    if not axes:
        yield "sweep.axes", "no axis: name an engine key with a list of values"
    for name, values in axes.items():
        words = [in_words(value) for value in values]
        if not values:
            yield f"sweep.axes.{name}", "has no value"
        for word in sorted({word for word in words if words.count(word) > 1}):
            yield f"sweep.axes.{name}", f"'{word}' stands twice; keep one"
    for key in ("only", "skip"):
        for index, one in enumerate(raw.get(key, ())):
            yield from _condition_conflicts(f"sweep.{key}[{index}]", _flat(one), axes)


def _condition_conflicts(
    where: str, condition: Mapping[str, tuple[Any, ...]], axes: Mapping[str, tuple[Any, ...]]
) -> Conflicts:
    if not condition:
        yield where, "names no axis: it would hold for every configuration"
    for name, values in condition.items():
        if name not in axes:
            yield f"{where}.{name}", _unknown(name, "sweep.axes", axes)
            continue
        for value in (value for value in values if value not in axes[name]):
            there = ", ".join(map(in_words, axes[name]))
            yield f"{where}.{name}", f"'{in_words(value)}' is no value of this axis; there: {there}"


def _span_conflicts(span: Span, refuse: Refuse) -> Conflicts:
    if span.size > MOST_CONFIGURATIONS:
        yield "sweep.axes", f"come to {span.size:,} configurations; a sweep has at most {MOST_CONFIGURATIONS:,}"
        return
    kept = span.kept()
    if not kept:
        yield "sweep", "only and skip leave no configuration"
    reasons = [refuse(span.raw(one)) for one in kept]
    if reasons and all(reasons):
        yield "sweep.axes", f"no configuration is possible: {reasons[0]}"
