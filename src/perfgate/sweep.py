"""A sweep: the configurations that axes of build options span, as records."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import product
from pathlib import Path
from typing import Any

from perfgate.case import BuildWork, Case, EngineSpec, PerplexityWork, Workload, canonical, short_hash

MOST_CONFIGURATIONS = 2000
ARGS = "engine_args"  # an axis of an argument is called engine_args.NAME
_LONGEST_NAME = 60
_SHORT = {
    "max_batch_size": "bs", "max_input_len": "in", "max_seq_len": "seq", "max_num_tokens": "tok",
    "kv_cache_dtype": "kv-", "tp": "tp", "pp": "pp", "precision": "", "batching": "", "flow": "", "backend": "",
}  # fmt: skip


class Unset(Enum):
    """A value of an axis: the key is left out, so that the choice is the engine's."""

    UNSET = "unset"


Value = Any  # of an axis: what the suite's reader made of it (text, number, flag, mapping, path) or UNSET
Assignment = Mapping[str, Value]  # a value for each axis


@dataclass(frozen=True, slots=True)
class Axis:
    """A build option and the values that it takes, in the suite's order."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """Configurations in which every named axis has one of the values; `reason` is for people."""

    values: tuple[tuple[str, tuple[Value, ...]], ...]
    reason: str = ""

    def holds(self, assignment: Assignment) -> bool:
        return all(assignment[axis] in values for axis, values in self.values)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One point of the product. `spec` is called by the words of its values; `refusal`: why it cannot be a spec."""

    spec: EngineSpec
    values: tuple[tuple[str, str], ...]  # axis -> value in words
    refusal: str = ""

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a suite's `sweep:` asks for.

    traffic: the workload whose figures are weighed against build time. rounds: measuring processes a configuration;
    builds: how many of them are preceded by a build of their own. left_out: configurations that `only` and `skip`
    took out, by reason.
    """

    axes: tuple[Axis, ...]
    configurations: tuple[Configuration, ...]
    works: tuple[Workload, ...]
    traffic: str
    rounds: int = 3
    builds: int = 1
    left_out: tuple[tuple[str, int], ...] = ()

    def cases(self, one: Configuration) -> tuple[Case, ...]:
        """What is measured of a configuration: the build first."""
        return tuple(Case(one.spec, work) for work in self.works)

    @property
    def build_work(self) -> str:
        return next(work.name for work in self.works if isinstance(work, BuildWork))

    @property
    def text_work(self) -> str | None:
        """The text whose perplexity is weighed: the first."""
        return next((work.name for work in self.works if isinstance(work, PerplexityWork)), None)


MakeSpec = Callable[[str, Mapping[str, Any]], EngineSpec]
Refuse = Callable[[Mapping[str, Any]], str]  # why keys of a spec do not go together; empty where they do


@dataclass(frozen=True, slots=True)
class Span:
    """The product of axes over the keys of a base engine."""

    base: Mapping[str, Any]
    axes: tuple[Axis, ...]
    only: tuple[Condition, ...] = ()
    skip: tuple[Condition, ...] = ()

    @property
    def size(self) -> int:
        """Configurations before conditions."""
        size = 1
        for axis in self.axes:
            size *= len(axis.values)
        return size

    def kept(self) -> list[dict[str, Value]]:
        return [one for one in self._all() if self._why_out(one) is None]

    def left_out(self) -> tuple[tuple[str, int], ...]:
        """How many are taken out, by reason."""
        reasons = (self._why_out(one) for one in self._all())
        return tuple(Counter(reason for reason in reasons if reason is not None).items())

    def _all(self) -> Iterator[dict[str, Value]]:
        names = [axis.name for axis in self.axes]
        for values in product(*(axis.values for axis in self.axes)):
            yield dict(zip(names, values, strict=True))

    def _why_out(self, assignment: Assignment) -> str | None:
        if self.only and not any(one.holds(assignment) for one in self.only):
            return "not among sweep.only"
        return next((one.reason or "sweep.skip" for one in self.skip if one.holds(assignment)), None)

    def raw(self, assignment: Assignment) -> dict[str, Any]:
        """The keys of a configuration's spec."""
        own = dict(self.base)
        own[ARGS] = dict(self.base.get(ARGS, {}))
        for axis, value in assignment.items():
            group, _, argument = axis.partition(".")
            keys, key = (own[ARGS], argument) if argument else (own, group)
            if value is Unset.UNSET:
                keys.pop(key, None)
            else:
                keys[key] = value
        return own


def configurations(span: Span, make: MakeSpec, refuse: Refuse) -> tuple[Configuration, ...]:
    """Every configuration that conditions leave, under a name of its own.

    One whose keys contradict each other stays, with the reason, on the base engine's spec.
    """
    found = []
    for assignment in span.kept():
        raw = span.raw(assignment)
        refusal = refuse(raw)
        spec = make(_name(assignment), span.base if refusal else raw)
        values = tuple((axis, in_words(value)) for axis, value in assignment.items())
        found.append(Configuration(spec, values, refusal))
    return tuple(_apart(found))


def _apart(found: Sequence[Configuration]) -> Iterator[Configuration]:
    """Names that two would share, or that are too long, end in a hash of their values."""
    names = Counter(one.name for one in found)
    for one in found:
        if names[one.name] == 1 and len(one.name) <= _LONGEST_NAME:
            yield one
        else:
            ending = short_hash([one.values, canonical(one.spec)])[:8]
            yield replace(one, spec=replace(one.spec, name=f"{one.name[: _LONGEST_NAME - 9]}-{ending}"))


def _name(assignment: Assignment) -> str:
    words = "-".join(_label(axis, value) for axis, value in assignment.items())
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", words).lstrip("_.-") or "base"


def _label(axis: str, value: Value) -> str:
    if value is Unset.UNSET:
        return f"own_{axis.removeprefix(f'{ARGS}.')}"
    if isinstance(value, bool):
        name = axis.removeprefix(f"{ARGS}.")
        return name if value else f"no_{name}"
    if isinstance(value, Path | Mapping):
        return in_words(value)
    return f"{_SHORT.get(axis, axis.removeprefix(f'{ARGS}.') + '-')}{value}"


def in_words(value: Value) -> str:
    """A value of an axis, for people and for the key under which configurations are matched."""
    match value:
        case Unset.UNSET:
            return "unset"
        case bool():
            return "true" if value else "false"
        case Path():
            return "/".join(value.parts[-2:])
        case Mapping():
            return " ".join(f"{in_words(item)}" for item in value.values())
        case _:
            return str(value)
