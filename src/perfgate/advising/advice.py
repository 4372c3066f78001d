"""Advice as a record: what is asked, what is told, and what it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perfgate.advising.goals import Goal
from perfgate.advising.lines import Entry
from perfgate.advising.price import TokenPrice
from perfgate.advising.ranking import Line, Standing
from perfgate.advising.room import Room
from perfgate.advising.sources import Sources
from perfgate.advising.swept import Swept
from perfgate.roofline import Ceilings
from perfgate.suite import Suite
from perfgate.versus import CONFIDENCE

ADVICE_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked. max_loss: of perplexity; None: as the suite allows, else 1 %. price_per_h: of one device.

    cases, workloads: patterns that ids and names of latency and serving cases must fit; empty: all.
    """

    goal: Goal
    max_loss: float | None = None
    price_per_h: float | None = None
    cases: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Next:
    """A technique that was not measured. most: times as good at most, by arithmetic; None where nothing bounds it.

    known_as: an engine of the suite that has it; else `entry` is one to add.
    """

    engine: str
    technique: str
    reason: str
    most: float | None
    entry: Entry | None
    known_as: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """What the time of an engine's case goes to; shares of the device's measured limits, None where not known."""

    engine: str
    case: str
    run: str
    mbu_decode: float | None
    decode_goes_to: str | None
    mfu_prefill: float | None
    prefill_goes_to: str | None
    busy: float | None
    prompt_share: float | None


@dataclass(frozen=True, slots=True)
class Advice:
    """Everything that is told. confidence: of all deciding intervals together; each is at that of its evidence.

    sources: what was read. suite_lines: to paste for all of `next` that the suite lacks. rooms: of the goals that are
    about memory. prices: of the goal cost.
    """

    goal: Goal
    suite: str
    device: str
    product: str
    sources: tuple[str, ...]
    lines: tuple[Line, ...]
    next: tuple[Next, ...]
    suite_lines: tuple[str, ...]
    limits: tuple[Limit, ...]
    rooms: tuple[Room, ...] = ()
    prices: tuple[TokenPrice, ...] = ()
    notes: tuple[str, ...] = ()
    confidence: float = CONFIDENCE
    max_loss: float | None = None
    price_per_h: float | None = None
    schema: int = ADVICE_SCHEMA

    def of(self, standing: Standing) -> tuple[Line, ...]:
        return tuple(one for one in self.lines if one.standing is standing)


@dataclass(frozen=True, slots=True)
class Material:
    """What advice is made from. raw: the suite's file as plain data; ceilings: of runs that do not hold their own."""

    suite: Suite
    raw: Mapping[str, Any]
    sources: Sources
    sweeps: tuple[Swept, ...] = ()
    ceilings: Ceilings | None = None
    notes: tuple[str, ...] = ()
