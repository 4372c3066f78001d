"""The quality that a suite asks for: which engine is the reference, and what loss of perplexity each other may have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfgate.case import Case, PerplexityWork, Precision
from perfgate.schema import Fraction, MapOf, Record, Text, nearest

# What the field takes as harmless: 1 %, and 3 % for 4-bit weights; a suite may say otherwise.
USUAL, USUAL_INT4 = 0.01, 0.03

_NAME = Text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}", "the name of an engine of this suite")
_DOCS = {
    "reference": "the engine whose scores the loss is measured from",
    "perplexity": "the loss of perplexity that is allowed",
}

ENGINE_QUALITY = Record({"reference": _NAME, "perplexity": Fraction(1.0)}, docs=_DOCS)
SUITE_QUALITY = Record(
    {"reference": _NAME, "perplexity": Fraction(1.0), "precisions": MapOf(Fraction(1.0))},
    docs=_DOCS | {"precisions": "the same by precision, such as {fp8: 1%, int4_wo: 3%}"},
)


@dataclass(frozen=True, slots=True)
class Reference:
    """From which case the loss of another is measured: the same text under the reference engine.

    allowed: the relative loss of perplexity that is no fault (0.01 is 1 %).
    """

    case: str
    engine: str
    reference_case: str
    reference_engine: str
    reference_hash: str
    allowed: float


def references_of(raw: Mapping[str, Any], cases: Sequence[Case]) -> tuple[Reference, ...]:
    """One for every text of an engine that has a reference.

    The suite's own reference is that of engines of the same checkpoint; an engine may name another one.
    """
    by_place = {(case.engine.name, case.work.name): case for case in cases}
    found = []
    for case in cases:
        own = _own(raw, case.engine.name)
        name = own.get("reference") or raw.get("quality", {}).get("reference")
        other = by_place.get((str(name), case.work.name))
        if not isinstance(case.work, PerplexityWork) or other is None or name == case.engine.name:
            continue
        if "reference" in own or other.engine.model == case.engine.model:
            allowed = _allowed(raw, own, case.engine.precision)
            found.append(Reference(case.id, case.engine.name, other.id, other.engine.name, other.hash, allowed))
    return tuple(found)


def _own(raw: Mapping[str, Any], engine: str) -> Mapping[str, Any]:
    shared = raw.get("defaults", {}).get("engine", {}).get("quality", {})
    return {**shared, **raw["engines"][engine].get("quality", {})}


def _allowed(raw: Mapping[str, Any], own: Mapping[str, Any], precision: Precision) -> float:
    """The nearest word counts: the engine's, the precision's, the suite's, what is usual."""
    suite = raw.get("quality", {})
    usual = USUAL_INT4 if precision.startswith("int4") else USUAL
    said = (own.get("perplexity"), suite.get("precisions", {}).get(precision), suite.get("perplexity"), usual)
    return float(next(one for one in said if one is not None))


def quality_conflicts(raw: Mapping[str, Any], pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """Faults of `quality`, in the suite, in defaults and in engines. pairs: engine and workload of every case."""
    suite, defaults = raw.get("quality", {}), raw.get("defaults", {}).get("engine", {}).get("quality", {})
    known = [precision.value for precision in Precision]
    for name in (name for name in suite.get("precisions", {}) if name not in known):
        yield f"quality.precisions.{name}", f"no such precision; known: {', '.join(known)}{nearest(name, known)}"
    if "quality" in raw and not _names_a_reference(raw):
        yield "quality", "the key 'reference' is missing: name the engine that losses are measured from"
    texts = {name for name, work in raw["workloads"].items() if work["kind"] == "perplexity"}
    scored = {(engine, work) for engine, work in pairs if work in texts}
    places = {"quality": suite, "defaults.engine.quality": defaults}
    places |= {f"engines.{name}.quality": engine.get("quality", {}) for name, engine in raw["engines"].items()}
    for where, name in ((where, own["reference"]) for where, own in places.items() if "reference" in own):
        engines = list(raw["engines"])
        if name not in engines:
            yield (
                f"{where}.reference",
                f"no '{name}' under engines; there: {', '.join(engines)}{nearest(name, engines)}",
            )
        elif not any(engine == name for engine, _ in scored):
            yield f"{where}.reference", f"'{name}' scores no text: give it a workload of kind perplexity"
    yield from _unscored(raw, scored)


def _names_a_reference(raw: Mapping[str, Any]) -> bool:
    return "reference" in raw["quality"] or any("reference" in _own(raw, name) for name in raw["engines"])


def _unscored(raw: Mapping[str, Any], scored: set[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """Engines with an allowance of their own, of which no text would tell whether it is kept."""
    for name, engine in raw["engines"].items():
        if not engine.get("quality"):
            continue
        where, reference = (
            f"engines.{name}.quality",
            _own(raw, name).get("reference") or raw.get("quality", {}).get("reference"),
        )
        if reference is None:
            yield where, "no reference to measure from: name one here or under the suite's quality"
        elif reference in raw["engines"] and reference != name:
            mine = {work for owner, work in scored if owner == name}
            if not mine & {work for owner, work in scored if owner == reference}:
                yield where, f"'{name}' and '{reference}' score no text in common: nothing would tell what was lost"
