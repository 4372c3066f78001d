"""What the field claims of its techniques, as data: read from claims.yaml, with a source for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from perfgate.case import EngineSpec
from perfgate.metrics import CATALOGUE
from perfgate.schema import Choice, Flag, Fraction, ListOf, MapOf, Record, Text, nearest, read
from perfgate.serving_suite import Positive

SHIPPED = Path(__file__).with_name("claims.yaml")
_SCHEMA_VERSION = 1
_KEYS = tuple(field.name for field in fields(EngineSpec) if field.name not in ("name", "model"))


class At(StrEnum):
    """Which of the workloads that two engines share a check is made on: the highest concurrency, or the lowest."""

    MOST = "most"
    LEAST = "least"


@dataclass(frozen=True, slots=True)
class Check:
    """What is claimed of a metric: `least` to `most` times as good as the reference, or at most so much worse.

    instead_times: against a stand-in reference so many times as much is claimed. backends: those that the check makes
    sense of; empty: all.
    """

    name: str
    metric: str
    at: At = At.MOST
    least: float | None = None
    most: float | None = None
    most_worse: float | None = None
    instead_times: float = 1.0
    backends: tuple[str, ...] = ()

    @property
    def least_good(self) -> float:
        """From how many times as good as the reference the claim holds."""
        if self.least is not None:
            return self.least
        return 1 / (1 + (self.most_worse or 0.0))

    def against_stand_in(self) -> Check:
        """What is claimed where another reference stands in."""
        least, most = (None if one is None else one * self.instead_times for one in (self.least, self.most))
        return replace(self, least=least, most=most)


@dataclass(frozen=True, slots=True)
class Claim:
    """A rule of thumb on two engines that differ in `key`: `before` on the reference's side, `after` on the other.

    instead: reference values that stand in where there is none of `before`. beside: keys that may differ too.
    """

    name: str
    says: str
    sources: tuple[str, ...]
    key: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    checks: tuple[Check, ...]
    instead: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    needs_mixed_lengths: bool = False


_METRIC = Choice(tuple(CATALOGUE))
_CHECK = Record(
    {
        "metric": _METRIC,
        "at": Choice.of(At),
        "least": Positive("times as good,"),
        "most": Positive("times as good,"),
        "most_worse": Fraction(),
        "instead_times": Positive("times as much,"),
        "backends": ListOf(Text()),
    },
    required=("metric",),
)
_CLAIM = Record(
    {
        "says": Text(),
        "sources": ListOf(Text(r"https?://\S+", "an address")),
        "differ": Record(
            {"key": Choice(_KEYS), "from": ListOf(Text()), "to": ListOf(Text()), "instead": ListOf(Text())},
            required=("key", "from", "to"),
        ),
        "beside": ListOf(Choice(_KEYS)),
        "needs_mixed_lengths": Flag(),
        "checks": MapOf(_CHECK),
    },
    required=("says", "sources", "differ", "checks"),
)
_FILE = Record({"schema": Choice((str(_SCHEMA_VERSION),)), "claims": MapOf(_CLAIM)}, required=("schema", "claims"))


@cache
def shipped_claims() -> tuple[Claim, ...]:
    """The claims that come with perfgate."""
    return load_claims(SHIPPED)


def load_claims(source: Path) -> tuple[Claim, ...]:
    """Read and check a file of claims.

    Raises:
        SuiteError: with every fault found.
    """
    raw = read(source, _FILE, _conflicts)
    return tuple(_claim(name, own) for name, own in raw["claims"].items())


def unknown_claim(name: str) -> str | None:
    """What is wrong with the name of a claim; None where it is one of ours."""
    known = [claim.name for claim in shipped_claims()]
    return None if name in known else f"no claim '{name}'; there: {', '.join(known)}{nearest(name, known)}"


def _conflicts(raw: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, claim in raw["claims"].items():
        for check, own in claim["checks"].items():
            if ("least" in own) == ("most_worse" in own):
                yield f"claims.{name}.checks.{check}", "needs either 'least' or 'most_worse'"
            if own.get("most", own.get("least", 0)) < own.get("least", 0):
                yield f"claims.{name}.checks.{check}", "'most' is below 'least'"


def _claim(name: str, raw: Mapping[str, Any]) -> Claim:
    differ = raw["differ"]
    return Claim(
        name, raw["says"], raw["sources"], differ["key"], differ["from"], differ["to"],
        tuple(_check(check, own) for check, own in raw["checks"].items()),
        differ.get("instead", ()), raw.get("beside", ()), raw.get("needs_mixed_lengths", False),
    )  # fmt: skip


def _check(name: str, raw: Mapping[str, Any]) -> Check:
    return Check(name, **{**raw, "at": At(raw.get("at", At.MOST))})


def value_of(spec: EngineSpec, key: str) -> str:
    """A value of a spec as claims name it: 'fp8', 'true', 'none'; of speculation its method."""
    value = getattr(spec, key)
    found = getattr(value, "method", value)
    return re.sub("^(None|True|False)$", lambda word: word[0].lower(), str(found))
