"""The sections `gate` and `policy` of a suite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from perfgate.gpu.validity import GpuLimits, GpuWish
from perfgate.metrics import LOSS, Metric
from perfgate.percent import percent
from perfgate.schema import Choice, Duration, Flag, Fraction, ListOf, MapOf, Record, Whole, nearest
from perfgate.terms import DEFAULT_POLICIES, Action, Gate, Noise, Pairing, Policy, Reaction, Watch

_LIMITS = Record(
    {"margin": Fraction(), "detect": Fraction()},
    docs={"margin": "a change up to this is never red", "detect": "the smallest worsening that must be found"},
)

_WATCH = Record(
    {"creep": Choice.of(Reaction), "suite_shift": Choice.of(Reaction)},
    docs={"creep": "a confirmed slow creep", "suite_shift": "all engines together slower, however little"},
)

GATE = Record(
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
_POLICY = Record({"inconclusive": _ACTIONS, "invalid": _ACTIONS, "no_baseline": Choice.of(Action)})
POLICY = Record({"ci": _POLICY, "local": _POLICY})


def read_gate(raw: Mapping[str, Any], known: Mapping[str, Metric]) -> Gate:
    """The section `gate`; metrics are among those known."""
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


def read_policies(raw: Mapping[str, Any]) -> tuple[tuple[str, Policy], ...]:
    """Policies by name, from the keys of a whole suite."""
    out = []
    for name, default in DEFAULT_POLICIES.items():
        own = raw.get("policy", {}).get(name, {})
        merged = {field.name: Action(own.get(field.name, getattr(default, field.name))) for field in fields(Policy)}
        out.append((name, Policy(**merged)))
    return tuple(out)


def gate_conflicts(gate: Mapping[str, Any], catalogued: Mapping[str, Metric]) -> Iterable[tuple[str, str]]:
    """Key paths, and what is wrong with the keys of the section."""
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
            yield where, f"detect {percent(metric.detect, 3)} is below margin {percent(metric.margin, 3)}"
    for key in ("cpus", "client_cpus"):
        if gate.get("pin") and key in gate:
            yield f"gate.{key}", "gate.pin chooses the cores; give one or the other"
    if both := set(gate.get("cpus", ())) & set(gate.get("client_cpus", ())):
        yield "gate.client_cpus", f"core {min(both)} is one of gate.cpus too: what is kept for the client is no round's"
    if gate.get("first_rounds", 1) > gate.get("most_rounds", 12):
        yield "gate", "first_rounds is larger than most_rounds"
