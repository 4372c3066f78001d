"""One imported result: what defines its case, its figures in our metrics, and what was left out of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perfgate.case import short_hash
from perfgate.metrics import CATALOGUE, needed_samples

MS = 1e-3  # seconds
LATENCY = "latency"  # the kinds of workload whose metrics these results hold
BUILD = "build"


@dataclass(frozen=True, slots=True)
class Figures:
    """values: by metric, in its canonical unit. samples: seconds by stem. left_out: why figures are not among them."""

    values: Mapping[str, float] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What was measured. definition: everything that defines the case, as far as the file tells; None: not told."""

    instrument: str
    name: str  # for people: what the case is called unless a name is given
    model: str
    definition: Mapping[str, Any]
    kind: str = LATENCY

    @property
    def hash(self) -> str:
        """Changes with the instrument too: nothing that keeps figures by case ever mixes two of them."""
        return short_hash({"imported": self.instrument, "kind": self.kind, **self.definition})


@dataclass(frozen=True, slots=True)
class Result:
    """One result: one case of one round.

    where: file and line. faults: why its figures must not be judged. started: UTC, ISO 8601; None: not told.
    versions, product: as told. untold: what the file does not tell. ignored: its keys that mean nothing to us.
    """

    where: str
    setting: Setting
    figures: Figures
    faults: tuple[str, ...] = ()
    started: str | None = None
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    product: str = ""
    untold: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


class Collector:
    """Gathers figures; those that must not be gated are left out, each with its reason."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self._left_out: list[str] = []

    def put(self, metric: str, value: float | None, key: str, requests: int | None = None) -> None:
        """Take a figure of a metric. value: in its canonical unit; None: not told. requests: how many are behind it."""
        if value is None or metric in self.values:
            return
        if metric not in CATALOGUE:
            self.leave(key, "no metric of the catalogue")
        elif value <= 0:
            self.leave(key, "0: nothing was measured")
        elif needed_samples(metric) > (requests or 0) and needed_samples(metric) > 1:
            behind = "an unknown number of" if requests is None else str(requests)
            self.leave(key, f"{behind} requests, {metric} needs {needed_samples(metric)}")
        else:
            self.values[metric] = float(value)

    def leave(self, key: str, why: str) -> None:
        self._left_out.append(f"{key}: {why}")

    def figures(self, samples: Mapping[str, tuple[float, ...]] | None = None) -> Figures:
        return Figures(dict(self.values), dict(samples or {}), tuple(self._left_out))


def slug(text: str, most: int = 60) -> str:
    """A name for an id: letters, digits, '.', '_' and '-'; of a path or repository its last part."""
    last = text.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", last).strip("-._")[:most].rstrip("-._") or "model"
