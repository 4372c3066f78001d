"""Serving workloads as a suite writes them: their keys, and the faults that need more than one key to see.

numpy and scipy come with lengths and counts, and are imported only for a suite that has such a workload.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from perfgate.case import Arrivals, PromptKind, PromptPrefix, ServingRoute, ServingTimeouts, ServingWork, Slo
from perfgate.errors import UsageError
from perfgate.schema import Choice, Context, Duration, Field, Flag, Fraction, Record, Text, Whole

MOST_STREAMS = 65536
_HISTOGRAMS = (".json", ".csv")
_PLAIN = re.compile(r"\d{1,6}(?:\.\d{1,6})?", re.ASCII)


def _text(node: yaml.Node) -> str:
    return node.value.strip() if isinstance(node, yaml.ScalarNode) else ""


@dataclass(frozen=True, slots=True)
class LengthText:
    """A length in tokens, as `perfgate.load.lengths` reads it; the path of a histogram becomes absolute."""

    def parse(self, node: yaml.Node, path: str, context: Context) -> str | None:
        from perfgate.load.lengths import parse_lengths

        text, folder = _text(node), context.source.resolve().parent
        try:
            parse_lengths(text, folder)
        except UsageError as exc:
            context.fault(node, path, str(exc))
            return None
        return str((folder / text).resolve()) if Path(text).suffix in _HISTOGRAMS else text

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["integer", "string"], "description": "tokens: 512, uniform:LOW:HIGH, a histogram file"}


@dataclass(frozen=True, slots=True)
class CountText:
    """A number of requests: 200, or 5x the concurrency."""

    def parse(self, node: yaml.Node, path: str, context: Context) -> str | None:
        from perfgate.load.shapes import Count

        try:
            Count.parse(_text(node))
        except UsageError as exc:
            context.fault(node, path, str(exc))
            return None
        return _text(node)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?x$"}]}


@dataclass(frozen=True, slots=True)
class Positive:
    """A number above 0, such as 2.5."""

    unit: str

    def parse(self, node: yaml.Node, path: str, context: Context) -> float | None:
        text = _text(node)
        if _PLAIN.fullmatch(text) and float(text) > 0:
            return float(text)
        context.fault(node, path, f"found '{text[:60]}', expected {self.unit} above 0, such as 2.5")
        return None

    def json_schema(self) -> dict[str, Any]:
        return {"type": "number", "exclusiveMinimum": 0}


def _times(kind: type[Slo | ServingTimeouts]) -> Record:
    """A duration for each field of a record of seconds: `ttft` for `ttft_s`."""
    return Record({field.name.removesuffix("_s"): Duration() for field in fields(kind)})


_FIELDS: dict[str, Field] = {
    "kind": Text(),
    "isl": LengthText(),
    "osl": LengthText(),
    "concurrency": Whole(1, MOST_STREAMS),
    "request_rate": Positive("requests/s"),
    "arrivals": Choice.of(Arrivals),
    "requests": CountText(),
    "warmup_requests": CountText(),
    "seed": Whole(0),
    "prefix": Record(
        {"groups": Whole(1), "tokens": Whole(1), "share": Fraction(1.0)}, required=("groups", "tokens")
    ),
    "route": Choice.of(ServingRoute),
    "prompts": Choice.of(PromptKind),
    "ignore_eos": Flag(),
    "slo": _times(Slo),
    "timeouts": _times(ServingTimeouts),
}  # fmt: skip

SERVING_SCHEMA = Record(
    _FIELDS,
    docs={
        "isl": "input tokens",
        "osl": "output tokens",
        "concurrency": "requests in flight (closed loop)",
        "request_rate": "requests/s, whether earlier ones are done or not (open loop)",
        "requests": "measured a round: a count, or 5x the concurrency",
        "warmup_requests": "sent before those at the same load, not counted",
        "slo": "what a request keeps to that counts for goodput_per_s",
    },
)


def serving_work(name: str, raw: Mapping[str, Any]) -> ServingWork:
    """The workload that a checked mapping describes."""
    route = ServingRoute(raw.get("route", "completions"))
    requests, warmup = _counts(raw)
    same = ("isl", "osl", "concurrency", "request_rate", "seed", "ignore_eos")
    return ServingWork(
        name=name,
        **{key: raw[key] for key in same if key in raw},
        arrivals=Arrivals(raw.get("arrivals", "poisson")) if "request_rate" in raw else None,
        requests=requests,
        warmup_requests=warmup,
        prefix=PromptPrefix(**raw["prefix"]) if "prefix" in raw else None,
        route=route,
        prompts=_prompts(raw),
        slo=Slo(**_seconds(raw["slo"])) if raw.get("slo") else None,
        timeouts=ServingTimeouts(**_seconds(raw["timeouts"])) if raw.get("timeouts") else None,
    )


def serving_conflicts(where: str, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key path, what is wrong) where keys do not go together."""
    if ("concurrency" in raw) == ("request_rate" in raw):
        yield where, "give exactly one of concurrency (closed loop) and request_rate (open loop)"
        return
    if "arrivals" in raw and "request_rate" not in raw:
        yield f"{where}.arrivals", "belongs to request_rate; a closed loop sends as soon as a slot is free"
    yield from _count_conflicts(where, raw)
    if raw.get("route") == ServingRoute.CHAT and raw.get("prompts") == PromptKind.IDS:
        yield f"{where}.prompts", "the chat route takes text, not token ids: leave it out, or use route: completions"
    if "prefix" in raw:
        yield from _prefix_conflicts(f"{where}.prefix", raw)


def _prompts(raw: Mapping[str, Any]) -> PromptKind:
    default = PromptKind.TEXT if raw.get("route") == ServingRoute.CHAT else PromptKind.IDS
    return PromptKind(raw.get("prompts", default))


def _counts(raw: Mapping[str, Any]) -> tuple[int, int]:
    """Measured and warm-up requests: 10 and 1 times the concurrency; of an open loop 100, and a tenth of those."""
    from perfgate.load.shapes import Count

    streams = raw.get("concurrency")
    requests = Count.parse(raw.get("requests", "10x" if streams else "100")).of(streams)
    warmup = Count.parse(raw.get("warmup_requests", "1x" if streams else str(max(1, requests // 10)))).of(streams)
    return requests, warmup


def _count_conflicts(where: str, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    try:
        requests, _ = _counts(raw)
    except UsageError as exc:
        keys = [key for key in ("requests", "warmup_requests") if "x" in raw.get(key, "")]
        yield f"{where}.{keys[0] if keys else 'requests'}", str(exc)
        return
    if requests < max(1, raw.get("concurrency", 1)):
        yield f"{where}.requests", f"comes to {requests}: the concurrency could never be reached"


def _prefix_conflicts(where: str, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from perfgate.load.lengths import parse_lengths

    least, tokens = parse_lengths(raw.get("isl", ServingWork("").isl)).least, raw["prefix"]["tokens"]
    if least <= tokens:
        yield where, f"prompts of {least} tokens cannot begin with {tokens} common ones and go on: raise isl"


def _seconds(raw: Mapping[str, float]) -> dict[str, float]:
    return {f"{key}_s": seconds for key, seconds in raw.items()}
