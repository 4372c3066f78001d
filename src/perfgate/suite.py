"""Suites: YAML files read into engines, workloads, limits and policy, and expanded into cases."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from perfgate.case import (
    Batching,
    BuildWork,
    Case,
    Drafting,
    EngineSpec,
    Flow,
    KvDtype,
    LatencyWork,
    PerplexityWork,
    Precision,
    ServingWork,
    Speculation,
    TasksWork,
    Workload,
)
from perfgate.claim import unknown_claim
from perfgate.claim_pairs import ClaimPair
from perfgate.engines import BACKENDS, installed_backends
from perfgate.errors import Fault, SuiteError
from perfgate.gpu.validity import GpuLimits, GpuWish
from perfgate.heartbeat import STALL_S
from perfgate.metrics import LOSS, Kind, Metric, catalogue
from perfgate.quality_suite import ENGINE_QUALITY, SUITE_QUALITY, Reference, quality_conflicts, references_of
from perfgate.quantise_suite import (
    QUANTISATION,
    QUANTIZE,
    QuantiseSection,
    quantisation_conflicts,
    read_quantisation,
    read_section,
    section_conflicts,
)
from perfgate.schema import (
    Anything,
    Choice,
    Context,
    Duration,
    FilePath,
    Flag,
    Fraction,
    ListOf,
    MapOf,
    Record,
    Tagged,
    Text,
    Whole,
    nearest,
    read,
)
from perfgate.serving_suite import SERVING_SCHEMA, serving_conflicts, serving_work
from perfgate.sweep import Sweep
from perfgate.sweep_suite import read_sweep, sweep_conflicts, sweep_schema

SCHEMA_VERSION = 1
THOROUGH = 0.6  # of a metric's margin and detect under --perfgate-thorough: 3 % instead of 5 %
THOROUGH_NOTE = f"thorough: detect and margin at {THOROUGH:.0%}"


class Action(StrEnum):
    """What the gate does with a verdict that is neither ok nor a regression."""

    FAIL = "fail"
    WARN = "warn"
    RECORD = "record"  # no-baseline only: store these rounds as the local baseline


@dataclass(frozen=True, slots=True)
class Policy:
    """What `inconclusive`, `invalid` and `no-baseline` lead to."""

    inconclusive: Action
    invalid: Action
    no_baseline: Action


DEFAULT_POLICIES = {
    "ci": Policy(Action.FAIL, Action.FAIL, Action.FAIL),
    "local": Policy(Action.WARN, Action.WARN, Action.WARN),
}


@dataclass(frozen=True, slots=True)
class Noise:
    """What is assumed of a metric's noise while few rounds are known (standard deviations of log values).

    round_sd: between processes of one session; session_sd: between sessions (host state, day);
    pair_sd: of the difference between two rounds that run beside each other;
    two_modes: probability that an engine of which little is known runs in two modes, now in one, now in the other.
    """

    round_sd: float = 0.02
    session_sd: float = 0.02
    pair_sd: float = 0.03
    two_modes: float = 0.25


class Reaction(StrEnum):
    """What a signal of the watch does to a gate."""

    REPORT = "report"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Watch:
    """Which signals make a whole gate red (`perfgate.watch`)."""

    creep: Reaction = Reaction.REPORT
    suite_shift: Reaction = Reaction.REPORT


class ClaimPolicy(StrEnum):
    """What claims that do not hold lead to."""

    REPORT = "report"
    GATE = "gate"


class Pairing(StrEnum):
    """How rounds of the baseline engine run beside the candidate's.

    Interleaved: both are loaded and take turns, which cancels interference but needs memory for two.
    Consecutive: one right after the other.
    """

    INTERLEAVED = "interleaved"
    CONSECUTIVE = "consecutive"


@dataclass(frozen=True, slots=True)
class Gate:
    """What is judged, how strictly, and with how much evidence.

    Rounds are a side's measuring processes per engine: at least `first`, at most `most`.
    cpus: cores that every round is pinned to; empty: not pinned. client_cpus: cores kept for the client of serving
    workloads; empty: it shares the round's. pin: both are chosen, near the GPU. gpu: its limits, and locked clocks.
    round_timeout_s: for measuring; a round that starts a server has `server_start_s` more.
    stall_s: after which a round or a build is ended that tells nothing and uses neither CPU, disk nor GPU.
    alpha: probability of any false alarm in the whole gate; beta: of calling a `detect`-sized
    worsening of one metric ok. rebuild_baseline: packages of a baseline's engine may be installed
    to run it again. references: from which texts the losses of others are measured, and what is allowed.
    """

    metrics: tuple[Metric, ...]
    noise: Noise = Noise()
    alpha: float = 0.005
    beta: float = 0.004
    first_rounds: int = 1
    most_rounds: int = 12
    budget_s: float = 600.0
    round_timeout_s: float = 300.0
    max_foreign_cpu: float = 0.5
    pairing: Pairing = Pairing.CONSECUTIVE
    rebuild_baseline: bool = False
    cpus: tuple[int, ...] = ()
    watch: Watch = Watch()
    server_start_s: float = 900.0
    stall_s: float = STALL_S
    client_cpus: tuple[int, ...] = ()
    pin: bool = False
    gpu: GpuWish = field(default_factory=GpuWish)
    references: tuple[Reference, ...] = ()

    def metric(self, name: str) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)

    def thorough(self) -> Gate:
        """The same gate for smaller changes of its noisy metrics, with twice the rounds allowed."""
        finer = tuple(
            metric.with_limits(metric.margin * THOROUGH, metric.detect * THOROUGH)
            if metric.kind is Kind.NOISY
            else metric
            for metric in self.metrics
        )
        return replace(self, metrics=finer, most_rounds=self.most_rounds * 2)


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


@dataclass(frozen=True, slots=True)
class BackendName:
    """One of perfgate's backends, one that a package brings by entry point, or 'module:Class' of the user's own."""

    def parse(self, node: yaml.Node, path: str, context: Context) -> str | None:
        if isinstance(node, yaml.ScalarNode) and re.fullmatch(r"[\w.]+:\w+", node.value):
            return str(node.value)
        if isinstance(node, yaml.ScalarNode) and node.value in BACKENDS:
            return str(node.value)
        return Choice((*BACKENDS, *installed_backends())).parse(node, path, context)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(BACKENDS)}, {"type": "string", "pattern": r"^[\w.]+:\w+$"}]}


_NAME = Text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}", "a name of letters, digits, '.', '_' and '-'")

_SPECULATIVE = Record(
    {"method": Choice.of(Drafting), "draft_len": Whole(1, 64), "model": FilePath()},
    required=("method",),
    docs={"draft_len": "tokens proposed per step", "model": "draft checkpoint, for draft_model"},
)

_ENGINE = Record(
    {
        "backend": BackendName(),
        "model": FilePath(),
        "precision": Choice.of(Precision),
        "kv_cache_dtype": Choice.of(KvDtype),
        "batching": Choice.of(Batching),
        "paged_kv": Flag(),
        "prefix_caching": Flag(),
        "chunked_prefill": Flag(),
        "speculative": _SPECULATIVE,
        "max_batch_size": Whole(1, 65536),
        "max_num_tokens": Whole(1),
        "max_seq_len": Whole(1),
        "cuda_graphs": Flag(),
        "overlap_scheduler": Flag(),
        "context_fmha": Flag(),
        "remove_input_padding": Flag(),
        "tp": Whole(1, 1024),
        "pp": Whole(1, 1024),
        "engine_args": MapOf(Anything()),
        "flow": Choice.of(Flow),
        "max_input_len": Whole(1),
        "builder_cmd": Text(r"(?s).{1,4000}", "a command line"),
        "quality": ENGINE_QUALITY,
        "quantisation": QUANTISATION,
        "made_by": Text(r".{1,300}", "a command line"),
    },
    docs={
        "flow": "TensorRT-LLM: a compiled engine, or its PyTorch backend; without it the version's own",
        "made_by": "the command that makes the checkpoint: where that is missing, cases are skips that name it",
        "quality": "its reference and the loss it may have, where they are not the suite's",
        "builder_cmd": "TensorRT-LLM: a command that builds the engine, with {model_name}, {output_dir} and others",
    },
)
_DEFAULT_BACKEND = next(field.default for field in fields(EngineSpec) if field.name == "backend")
_TENSORRT_LLM_ONLY = ("flow", "max_input_len", "builder_cmd")

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

_LIMITS = Record(
    {"margin": Fraction(), "detect": Fraction()},
    docs={"margin": "a change up to this is never red", "detect": "the smallest worsening that must be found"},
)

_WATCH = Record(
    {"creep": Choice.of(Reaction), "suite_shift": Choice.of(Reaction)},
    docs={"creep": "a confirmed slow creep", "suite_shift": "all engines together slower, however little"},
)

_GATE = Record(
    {
        "metrics": MapOf(_LIMITS),
        "noise": Record(
            {
                "round_sd": Fraction(2.0),
                "session_sd": Fraction(2.0),
                "pair_sd": Fraction(2.0),
                "two_modes": Fraction(1.0),
            }
        ),
        "alpha": Fraction(0.5),
        "beta": Fraction(0.5),
        "first_rounds": Whole(1, 1000),
        "most_rounds": Whole(1, 1000),
        "budget": Duration(),
        "round_timeout": Duration(),
        "server_start": Duration(),
        "stall": Duration(),
        "max_foreign_cpu": Fraction(1.0),
        "pairing": Choice.of(Pairing),
        "rebuild_baseline": Flag(),
        "cpus": ListOf(Whole(0, 65535)),
        "client_cpus": ListOf(Whole(0, 65535)),
        "pin": Flag(),
        "max_throttled": Fraction(1.0),
        "max_clock_move": Fraction(1.0),
        "shared_gpu": Flag(),
        "lock_clocks": Whole(1, 100_000),
        "watch": _WATCH,
    },
    required=("metrics",),
    docs={
        "client_cpus": "cores kept for the client of serving workloads",
        "pin": "choose the cores of rounds and clients, near the GPU",
        "max_throttled": "share of a round in which its GPU may be slowed by heat or a power brake",
        "max_clock_move": "how far clocks may move in a round without the power cap as the reason",
        "shared_gpu": "processes of others may use the GPU",
        "lock_clocks": "SM clock in MHz to ask the GPU for",
    },
)

_GATE_SAME = (  # what is kept as it is read
    "alpha", "beta", "first_rounds", "most_rounds", "max_foreign_cpu", "rebuild_baseline", "cpus", "client_cpus", "pin",
)  # fmt: skip

_ACTIONS = Choice((Action.FAIL, Action.WARN))
_POLICY = Record(
    {"inconclusive": _ACTIONS, "invalid": _ACTIONS, "no_baseline": Choice.of(Action)},
)

SUITE_SCHEMA = Record(
    {
        "schema": Choice((str(SCHEMA_VERSION),)),
        "suite": _NAME,
        "description": Text(),
        "defaults": Record({"engine": _ENGINE}),
        "engines": MapOf(_ENGINE),
        "workloads": MapOf(_WORK),
        "cases": ListOf(
            Record({"engines": ListOf(_NAME), "workloads": ListOf(_NAME)}, required=("engines", "workloads"))
        ),
        "gate": _GATE,
        "quality": SUITE_QUALITY,
        "policy": Record({"ci": _POLICY, "local": _POLICY}),
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
        "sweep": sweep_schema(_ENGINE, _NAME),
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
    engines = {name: _engine(name, own) for name, own in keys.items()}
    works = {name: _work(name, dict(own)) for name, own in raw["workloads"].items()}
    reference = raw.get("versus", {}).get("reference")
    cases = _cases(raw, engines, works)
    gate = replace(_gate(raw["gate"], known), references=references_of(raw, cases))
    return Suite(
        raw["suite"], source.resolve(), cases, gate, _policies(raw), reference,
        raw.get("roofline", False), ClaimPolicy(raw.get("claims", ClaimPolicy.REPORT)),
        tuple(ClaimPair(**pair) for pair in raw.get("claim_pairs", ())),
        read_sweep(raw["sweep"], keys, works, _engine, _why_refused) if "sweep" in raw else None,
        read_section(raw["quantize"], gate.references, [name for name, one in engines.items() if one.is_quantised])
        if "quantize" in raw else None,
    )  # fmt: skip


def _engine_keys(raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The keys of each engine, those of `defaults` among them."""
    shared = raw.get("defaults", {}).get("engine", {})
    return {name: {**shared, **own} for name, own in raw["engines"].items()}


def read_engine(name: str, fields: Mapping[str, Any], folder: Path) -> EngineSpec:
    """An engine's spec from the keys that a suite has for engines; paths are relative to the folder.

    Raises:
        SuiteError: with every fault.
    """
    context = Context(folder / "engine")
    plain = {key: str(value) if isinstance(value, (Path, StrEnum)) else value for key, value in fields.items()}
    node = yaml.compose(yaml.safe_dump(plain, sort_keys=False), Loader=yaml.SafeLoader)
    assert node is not None  # there is a mapping, if an empty one
    found = _ENGINE.parse(node, "", context)
    faults = [replace(one, where=f"engine '{name}' {one.where.partition(' ')[2]}".rstrip()) for one in context.faults]
    if not faults:
        faults = [Fault(f"engine '{name}'", what) for _, what in _engine_conflicts("", found)]
    if faults:
        raise SuiteError(faults)
    return _engine(name, found)


def _engine(name: str, raw: Mapping[str, Any]) -> EngineSpec:
    plain = {key: value for key, value in raw.items() if key != "quality"}  # no part of what is built or measured
    converters: dict[str, Any] = {
        "precision": Precision,
        "kv_cache_dtype": KvDtype,
        "batching": Batching,
        "flow": Flow,
        "speculative": _speculation,
        "quantisation": read_quantisation,
        "engine_args": lambda args: tuple(sorted(args.items())),
    }
    for key, convert in converters.items():
        if key in plain:
            plain[key] = convert(plain[key])
    return EngineSpec(name=name, **plain)


def _speculation(raw: Mapping[str, Any]) -> Speculation:
    return Speculation(Drafting(raw["method"]), raw.get("draft_len", 3), raw.get("model"))


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


def _gate(raw: Mapping[str, Any], known: Mapping[str, Metric]) -> Gate:
    limits = raw["metrics"]
    metrics = tuple(known[name].with_limits(own.get("margin"), own.get("detect")) for name, own in limits.items())
    plain = {key: raw[key] for key in _GATE_SAME if key in raw}
    for key in ("budget", "round_timeout", "server_start", "stall"):
        if key in raw:
            plain[f"{key}_s"] = raw[key]
    if "pairing" in raw:
        plain["pairing"] = Pairing(raw["pairing"])
    limits = {"max_throttled": "throttled", "max_clock_move": "clock_move", "shared_gpu": "foreign"}
    gpu = GpuWish(GpuLimits(**{limits[key]: raw[key] for key in limits if key in raw}), raw.get("lock_clocks"))
    watch = Watch(**{key: Reaction(word) for key, word in raw.get("watch", {}).items()})
    return Gate(metrics=metrics, noise=Noise(**raw.get("noise", {})), watch=watch, gpu=gpu, **plain)


def _policies(raw: Mapping[str, Any]) -> tuple[tuple[str, Policy], ...]:
    out = []
    for name, default in DEFAULT_POLICIES.items():
        own = raw.get("policy", {}).get(name, {})
        merged = {field.name: Action(own.get(field.name, getattr(default, field.name))) for field in fields(Policy)}
        out.append((name, Policy(**merged)))
    return tuple(out)


_Conflicts = Iterable[tuple[str, str]]  # (key path, what is wrong)


def _conflicts(raw: Mapping[str, Any], known: Mapping[str, Metric]) -> _Conflicts:
    """Faults that need more than one key to see."""
    keys = _engine_keys(raw)
    for name, own in keys.items():
        yield from _engine_conflicts(f"engines.{name}", own)
    for name, own in raw["workloads"].items():
        yield from _work_conflicts(f"workloads.{name}", own)
    yield from _case_conflicts(raw)
    yield from _gate_conflicts(raw["gate"], known)
    if not list(_unknown_names(raw)):
        yield from quality_conflicts(raw, _pairs_of(raw))
    if "versus" in raw:
        yield from _versus_conflicts(raw, raw["versus"]["reference"])
    yield from _claim_conflicts(raw)
    if "quantize" in raw:
        yield from section_conflicts(raw, keys)
    if "sweep" in raw:
        yield from sweep_conflicts(raw["sweep"], keys, raw["workloads"], _why_refused)


def _why_refused(engine: Mapping[str, Any]) -> str:
    """What contradicts what in the keys of one engine; empty where nothing does."""
    return "; ".join(what for _, what in _engine_conflicts("", engine))


def _engine_conflicts(where: str, engine: Mapping[str, Any]) -> _Conflicts:
    draft = engine.get("speculative") or {}
    if "model" not in engine:
        yield where, "the key 'model' is missing, here and in defaults.engine"
    if draft.get("method") == Drafting.DRAFT_MODEL and "model" not in draft:
        yield f"{where}.speculative", "draft_model needs the key 'model': the draft checkpoint"
    if draft.get("method") == Drafting.NGRAM and "model" in draft:
        yield f"{where}.speculative", "ngram drafts from the prompt; remove 'model'"
    if draft and engine.get("batching") == Batching.STATIC:
        yield where, "speculative decoding runs with in-flight batching; remove one of the two"
    backend = engine.get("backend", _DEFAULT_BACKEND)
    if backend in BACKENDS and backend != "tensorrt_llm":
        for key in (key for key in _TENSORRT_LLM_ONLY if key in engine):
            yield f"{where}.{key}", f"the backend {backend} has no such key: it is tensorrt_llm's; remove it"
    yield from quantisation_conflicts(where, engine)


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


def _gate_conflicts(gate: Mapping[str, Any], catalogued: Mapping[str, Metric]) -> _Conflicts:
    for name, own in gate["metrics"].items():
        where = f"gate.metrics.{name}"
        if name not in catalogued:
            known = sorted(catalogued)
            yield where, f"no such metric; known: {', '.join(known)}{nearest(name, known)}"
            continue
        if name == LOSS:
            yield where, "is judged against the reference that `quality` names, which also states the allowed loss"
            continue
        metric = catalogued[name].with_limits(own.get("margin"), own.get("detect"))
        if metric.detect < metric.margin:
            yield where, f"detect {metric.detect:.3%} is below margin {metric.margin:.3%}"
    for key in ("cpus", "client_cpus"):
        if gate.get("pin") and key in gate:
            yield f"gate.{key}", "gate.pin chooses the cores; give one or the other"
    if both := set(gate.get("cpus", ())) & set(gate.get("client_cpus", ())):
        yield "gate.client_cpus", f"core {min(both)} is one of gate.cpus too: what is kept for the client is no round's"
    if gate.get("first_rounds", 1) > gate.get("most_rounds", 12):
        yield "gate", "first_rounds is larger than most_rounds"
