"""Suites: YAML files read into engines, workloads, limits and policy, and expanded into cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from perfgate.case import (
    BuildWork,
    Case,
    EngineSpec,
    LatencyWork,
    PerplexityWork,
    ServingWork,
    TasksWork,
    Workload,
)
from perfgate.claim import unknown_claim
from perfgate.claim_pairs import ClaimPair
from perfgate.engine_suite import ENGINE, engine_conflicts, engine_of, why_refused
from perfgate.gate_suite import GATE, POLICY, gate_conflicts, read_gate, read_policies
from perfgate.metrics import Metric, catalogue
from perfgate.quality_suite import SUITE_QUALITY, quality_conflicts, references_of
from perfgate.quantise_suite import QUANTIZE, QuantiseSection, read_section, section_conflicts
from perfgate.schema import Choice, FilePath, Flag, ListOf, MapOf, Record, Tagged, Text, Whole, nearest, read
from perfgate.serving_suite import SERVING_SCHEMA, serving_conflicts, serving_work
from perfgate.sweep import Sweep
from perfgate.sweep_suite import read_sweep, sweep_conflicts, sweep_schema
from perfgate.terms import Gate, Policy

SCHEMA_VERSION = 1


class ClaimPolicy(StrEnum):
    """What claims that do not hold lead to."""

    REPORT = "report"
    GATE = "gate"


@dataclass(frozen=True, slots=True)
class Suite:
    """A validated suite. `cases` are engines x workloads as the file asks for them."""

    name: str
    source: Path
    cases: tuple[Case, ...]
    gate: Gate
    policies: tuple[tuple[str, Policy], ...]
    reference: str | None = None  # the engine that load results of the others are compared with
    roofline: bool = False  # the device's limits are measured where they are not known yet
    claims: ClaimPolicy = ClaimPolicy.REPORT
    claim_pairs: tuple[ClaimPair, ...] = ()  # engines that the suite names for claims; others are found
    sweep: Sweep | None = None
    quantising: QuantiseSection | None = None

    @property
    def engines(self) -> tuple[EngineSpec, ...]:
        return tuple(dict.fromkeys(case.engine for case in self.cases))

    @property
    def compared(self) -> tuple[Case, ...]:
        """Closed loops on servers whose results are compared; none where no reference is named."""
        loops = (case for case in self.cases if isinstance(case.work, ServingWork) and case.work.concurrency)
        return tuple(loops) if self.reference else ()

    def policy(self, name: str) -> Policy:
        return dict(self.policies)[name]

    def thorough(self) -> Suite:
        """The same suite with the gate for smaller changes."""
        return replace(self, gate=self.gate.thorough())


_NAME = Text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}", "a name of letters, digits, '.', '_' and '-'")

_WORK = Tagged(
    "kind",
    {
        "build": Record({"kind": Text()}),
        "latency": Record(
            {
                "kind": Text(),
                "prompts": FilePath(),
                "input_len": Whole(1),
                "output_len": Whole(2),
                "concurrency": Whole(1, 65536),
                "requests": Whole(1),
                "warmup_requests": Whole(0),
            },
            required=("prompts",),
        ),
        "perplexity": Record(
            {"kind": Text(), "text": FilePath(), "window": Whole(2), "stride": Whole(1)}, required=("text",)
        ),
        "tasks": Record(
            {"kind": Text(), "tasks": ListOf(Text()), "folder": FilePath(), "limit": Whole(1)},
            required=("tasks", "folder"),
        ),
        "serving": SERVING_SCHEMA,
    },
)

SUITE_SCHEMA = Record(
    {
        "schema": Choice((str(SCHEMA_VERSION),)),
        "suite": _NAME,
        "description": Text(),
        "defaults": Record({"engine": ENGINE}),
        "engines": MapOf(ENGINE),
        "workloads": MapOf(_WORK),
        "cases": ListOf(
            Record({"engines": ListOf(_NAME), "workloads": ListOf(_NAME)}, required=("engines", "workloads"))
        ),
        "gate": GATE,
        "quality": SUITE_QUALITY,
        "policy": POLICY,
        "versus": Record(
            {"reference": _NAME},
            required=("reference",),
            docs={"reference": "the engine that the others' load results are compared with at the end of a run"},
        ),
        "roofline": Flag(),
        "claims": Choice.of(ClaimPolicy),
        "claim_pairs": ListOf(
            Record({"claim": _NAME, "reference": _NAME, "engine": _NAME}, required=("claim", "reference", "engine"))
        ),
        "sweep": sweep_schema(ENGINE, _NAME),
        "quantize": QUANTIZE,
    },
    required=("schema", "suite", "engines", "workloads", "gate"),
    docs={
        "roofline": "measure the device's limits where they are not known yet, and say how near each case came",
        "claims": "whether claims of the field that do not hold here fail their tests",
        "claim_pairs": "engines that a claim is checked on, instead of those that are found",
    },
)


def load_suite(source: Path, own: Iterable[Metric] = ()) -> Suite:
    """Read and check a suite file.

    own: metrics of the user's own that it may gate beside the catalogue's.

    Raises:
        SuiteError: with every fault found, each with file, line, key and what is allowed.
    """
    known = catalogue(own)
    raw = read(source, SUITE_SCHEMA, lambda value: _conflicts(value, known))
    keys = _engine_keys(raw)
    engines = {name: engine_of(name, own) for name, own in keys.items()}
    works = {name: _work(name, dict(own)) for name, own in raw["workloads"].items()}
    reference = raw.get("versus", {}).get("reference")
    cases = _cases(raw, engines, works)
    gate = replace(read_gate(raw["gate"], known), references=references_of(raw, cases))
    return Suite(
        raw["suite"], source.resolve(), cases, gate, read_policies(raw), reference,
        raw.get("roofline", False), ClaimPolicy(raw.get("claims", ClaimPolicy.REPORT)),
        tuple(ClaimPair(**pair) for pair in raw.get("claim_pairs", ())),
        read_sweep(raw["sweep"], keys, works, engine_of, why_refused) if "sweep" in raw else None,
        read_section(raw["quantize"], gate.references, [name for name, one in engines.items() if one.is_quantised])
        if "quantize" in raw else None,
    )  # fmt: skip


def _engine_keys(raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The keys of each engine, those of `defaults` among them."""
    shared = raw.get("defaults", {}).get("engine", {})
    return {name: {**shared, **own} for name, own in raw["engines"].items()}


def _work(name: str, raw: dict[str, Any]) -> Workload:
    kinds: dict[str, Callable[..., Workload]] = {
        "build": BuildWork,
        "latency": LatencyWork,
        "perplexity": PerplexityWork,
        "tasks": TasksWork,
        "serving": lambda name, **raw: serving_work(name, raw),
    }
    return kinds[raw.pop("kind")](name=name, **raw)


def _cases(
    raw: Mapping[str, Any], engines: Mapping[str, EngineSpec], works: Mapping[str, Workload]
) -> tuple[Case, ...]:
    return tuple(Case(engines[engine], works[work]) for engine, work in dict.fromkeys(_pairs_of(raw)))


def _pairs_of(raw: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Names of engine and workload of each case, as the file asks for them."""
    everything = {"engines": list(raw["engines"]), "workloads": list(raw["workloads"])}
    for block in raw.get("cases", (everything,)):
        for engine in block["engines"]:
            yield from ((engine, work) for work in block["workloads"])


_Conflicts = Iterable[tuple[str, str]]  # (key path, what is wrong)


def _conflicts(raw: Mapping[str, Any], known: Mapping[str, Metric]) -> _Conflicts:
    """Faults that need more than one key to see."""
    keys = _engine_keys(raw)
    for name, own in keys.items():
        yield from engine_conflicts(f"engines.{name}", own)
    for name, own in raw["workloads"].items():
        yield from _work_conflicts(f"workloads.{name}", own)
    yield from _case_conflicts(raw)
    yield from gate_conflicts(raw["gate"], known)
    if not list(_unknown_names(raw)):
        yield from quality_conflicts(raw, _pairs_of(raw))
    if "versus" in raw:
        yield from _versus_conflicts(raw, raw["versus"]["reference"])
    yield from _claim_conflicts(raw)
    if "quantize" in raw:
        yield from section_conflicts(raw, keys)
    if "sweep" in raw:
        yield from sweep_conflicts(raw["sweep"], keys, raw["workloads"], why_refused)


def _work_conflicts(where: str, work: Mapping[str, Any]) -> _Conflicts:
    if work["kind"] == "perplexity" and work.get("stride", 256) > work.get("window", 512):
        yield where, "stride is larger than window: tokens between windows would not be scored"
    if work["kind"] == "latency" and work.get("concurrency", 1) > work.get("requests", 16):
        yield where, "concurrency is larger than requests: it could never be reached"
    if work["kind"] == "serving":
        yield from serving_conflicts(where, work)


def _case_conflicts(raw: Mapping[str, Any]) -> _Conflicts:
    unknown = list(_unknown_names(raw))
    yield from unknown
    if not unknown:
        pairs = list(dict.fromkeys(_pairs_of(raw)))
        ids = Counter(f"{engine}-{work}" for engine, work in pairs)
        if not pairs and "sweep" not in raw:
            yield "cases", "the suite comes to no case: name at least one engine and one workload"
        for case_id in (name for name, count in ids.items() if count > 1):
            yield "cases", f"two cases would both be called '{case_id}': rename an engine or a workload"


def _unknown_names(raw: Mapping[str, Any]) -> _Conflicts:
    for index, block in enumerate(raw.get("cases", ())):
        for group in ("engines", "workloads"):
            known = sorted(raw[group])
            for name in (name for name in block[group] if name not in raw[group]):
                there = f"no '{name}' under {group}; there: {', '.join(known)}{nearest(name, known)}"
                yield f"cases[{index}].{group}", there


def _versus_conflicts(raw: Mapping[str, Any], reference: str) -> _Conflicts:
    """Results of an engine lie in one file a concurrency, and the reference must have some."""
    where, engines = "versus.reference", raw["engines"]
    if reference not in engines:
        yield where, f"no '{reference}' under engines; there: {', '.join(engines)}{nearest(reference, engines)}"
        return
    works = raw["workloads"]
    loops = [(engine, works[work].get("concurrency")) for engine, work in dict.fromkeys(_known_pairs(raw))]
    counts = Counter(pair for pair in loops if pair[1] is not None)
    if not any(engine == reference for engine, _ in counts):
        yield where, f"'{reference}' has no serving workload with a concurrency: there is nothing to compare with"
    for engine, level in (pair for pair, count in counts.items() if count > 1):
        yield where, f"'{engine}' has two serving workloads of concurrency {level}; compare them in suites of their own"


def _known_pairs(raw: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Engines with their serving workloads, as far as the names are right."""
    pairs = [] if list(_unknown_names(raw)) else _pairs_of(raw)
    return [(engine, work) for engine, work in pairs if raw["workloads"][work]["kind"] == "serving"]


def _claim_conflicts(raw: Mapping[str, Any]) -> _Conflicts:
    engines = sorted(raw["engines"])
    for index, pair in enumerate(raw.get("claim_pairs", ())):
        where = f"claim_pairs[{index}]"
        if wrong := unknown_claim(pair["claim"]):
            yield f"{where}.claim", wrong
        for key in ("reference", "engine"):
            name = pair[key]
            if name not in raw["engines"]:
                yield (
                    f"{where}.{key}",
                    f"no '{name}' under engines; there: {', '.join(engines)}{nearest(name, engines)}",
                )
        if pair["reference"] == pair["engine"]:
            yield where, "an engine beside itself: name another reference"
