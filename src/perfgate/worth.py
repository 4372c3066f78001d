"""Which cases are worth the minutes: chosen under a budget by what each tells beside those chosen before; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from perfgate.record import CaseInfo

# What a case is worth, in points: the first of a kind, then of an engine tells most, a second load of both little.
NEW_KIND, NEW_ENGINE, NEW_PAIR, AGAIN = 10.0, 4.0, 2.0, 0.5
BLUNT = 0.25  # of its worth is left to a case whose noise hides a worsening of the size that the suite asks for


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a gate: `engine_s` once for the engine (loading, warming up), `case_s` for the case."""

    engine_s: float
    case_s: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A case that can be measured.

    needs: cases that must be measured with it (the reference of a text, the loads of a process's memory).
    blunt: in words, why its noise hides what it is asked for; empty where it does not, or nothing is known of it.
    """

    case: CaseInfo
    cost: Cost
    needs: tuple[str, ...] = ()
    blunt: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A case with what it adds in seconds, and why it is in or out."""

    case: CaseInfo
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What to measure, in order of worth, and what is left out; `seconds` of a gate over the chosen ones."""

    chosen: tuple[Chosen, ...]
    left_out: tuple[Chosen, ...]
    seconds: float


def choose(candidates: Sequence[Candidate], budget_s: float) -> Choice:
    """Greedily the case that tells most a second, until nothing more fits.

    Not the best of all choices, which is a knapsack, but one whose every step can be told: worth only diminishes as
    cases are taken.
    """
    known = {one.case.id: one for one in candidates}
    taken: list[Candidate] = []
    chosen: list[Chosen] = []
    while fitting := [bundle for bundle in _bundles(known, taken) if _added(bundle, taken) <= budget_s - _total(taken)]:
        best = max(fitting, key=lambda bundle: _gain(bundle, taken) / max(_added(bundle, taken), 1e-9))
        for one in best:
            chosen.append(Chosen(one.case, _added([one], taken), _why(one, taken, best)))
            taken.append(one)
    left = [one for one in candidates if one not in taken]
    return Choice(tuple(chosen), tuple(_left(one, known, taken, budget_s) for one in left), _total(taken))


def _bundles(known: Mapping[str, Candidate], taken: Sequence[Candidate]) -> list[list[Candidate]]:
    """Each case not taken yet, with those that it needs."""
    return [_bundle(one, known, taken) for one in known.values() if one not in taken]


def _bundle(one: Candidate, known: Mapping[str, Candidate], taken: Sequence[Candidate]) -> list[Candidate]:
    others = [known[name] for name in one.needs if name in known and known[name] not in taken]
    return [*others, one]


def _total(taken: Iterable[Candidate]) -> float:
    engines: dict[str, float] = {}
    cases = 0.0
    for one in taken:
        engines[one.case.engine] = max(engines.get(one.case.engine, 0.0), one.cost.engine_s)
        cases += one.cost.case_s
    return cases + math.fsum(engines.values())


def _added(bundle: Sequence[Candidate], taken: Sequence[Candidate]) -> float:
    return _total([*taken, *bundle]) - _total(taken)


def _gain(bundle: Sequence[Candidate], taken: Sequence[Candidate]) -> float:
    gain, before = 0.0, list(taken)
    for one in bundle:
        gain += _news(one, before) * (BLUNT if one.blunt else 1.0)
        before.append(one)
    return gain


def _news(one: Candidate, taken: Sequence[Candidate]) -> float:
    engine, kind = (any(_same(one, other, key) for other in taken) for key in ("engine", "kind"))
    pair = any(_same(one, other, "engine") and _same(one, other, "kind") for other in taken)
    return NEW_ENGINE * (not engine) + NEW_KIND * (not kind) + (AGAIN if pair else NEW_PAIR)


def _same(one: Candidate, other: Candidate, key: str) -> bool:
    return bool(getattr(one.case, key) == getattr(other.case, key))


# ------------------------------------------------------------------ in words


def _why(one: Candidate, taken: Sequence[Candidate], bundle: Sequence[Candidate]) -> str:
    parts = []
    if not any(_same(one, other, "kind") for other in taken):
        parts.append(f"the first {one.case.kind} case")
    if not any(_same(one, other, "engine") for other in taken):
        parts.append(f"the first of {one.case.engine}")
    if not parts:
        twins = [o.case.id for o in taken if _same(one, o, "engine") and _same(one, o, "kind")]
        parts.append(f"another load beside {twins[0]}" if twins else f"{one.case.kind} of {one.case.engine}")
    if needing := [other.case.id for other in bundle if one.case.id in other.needs]:
        parts.append(f"needed by {', '.join(needing)}")
    return ", ".join([*parts, *([one.blunt] if one.blunt else [])])


def _left(one: Candidate, known: Mapping[str, Candidate], taken: Sequence[Candidate], budget_s: float) -> Chosen:
    bundle = _bundle(one, known, taken)
    seconds, room = _added(bundle, taken), max(0.0, budget_s - _total(taken))
    twins = [o.case.id for o in taken if _same(one, o, "engine") and _same(one, o, "kind")]
    tells = f"another load beside {twins[0]}" if twins else f"{one.case.kind} of {one.case.engine} stays unmeasured"
    others = ", ".join(other.case.id for other in bundle[:-1])
    more = f", with {others}" if others else ""
    why = f"takes {seconds:.0f} s{more}, {room:.0f} s are left; {tells}"
    return Chosen(one.case, seconds, f"{why}; {one.blunt}" if one.blunt else why)
