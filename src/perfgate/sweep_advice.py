"""Which configuration to pick for what, and which are not worth their build."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from perfgate.pareto import Standing, is_alike, lead, standing
from perfgate.tradeoffs import BUILD, LATENCY, QUALITY, THROUGHPUT, Option, Tradeoffs


class Goal(StrEnum):
    """What a user may want most."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    MEMORY = "memory"
    BUILD = "short builds"


@dataclass(frozen=True, slots=True)
class Pick:
    """A goal's configuration: the one that builds fastest of those that are as good as the best.

    equals: others that the noise does not tell from it. quality: how its perplexity stands to the best one's; None
    where no text was scored. safe: the pick among those of unimpaired perplexity, where that is another.
    """

    goal: Goal
    metric: str
    option: Option
    equals: tuple[Option, ...]
    quality: Standing | None = None
    safe: Option | None = None


@dataclass(frozen=True, slots=True)
class Waste:
    """A configuration whose build costs more than another's that is as good in everything."""

    option: Option
    instead: Option


def picks(found: Tradeoffs) -> list[Pick]:
    """One for each goal whose metric every configuration has."""
    goals = {
        Goal.LATENCY: LATENCY, Goal.THROUGHPUT: THROUGHPUT, Goal.MEMORY: found.memory, Goal.BUILD: BUILD,
    }  # fmt: skip
    return [_pick(found, goal, metric) for goal, metric in goals.items() if metric in found.objectives]


def _pick(found: Tradeoffs, goal: Goal, metric: str) -> Pick:
    option, equals = _cheapest_best(found, found.options, metric)
    if QUALITY not in found.objectives:
        return Pick(goal, metric, option, equals)
    unimpaired = [one for one in found.options if _quality(found, one) is not Standing.WORSE]
    quality = _quality(found, option)
    safe = _cheapest_best(found, unimpaired, metric)[0] if quality is Standing.WORSE else None
    return Pick(goal, metric, option, equals, quality, safe)


def _cheapest_best(found: Tradeoffs, options: Sequence[Option], metric: str) -> tuple[Option, tuple[Option, ...]]:
    """Of those as good as the best in a metric the one that builds fastest, and others that the noise leaves open."""
    best = _best(options, metric)
    noise = found.noises[metric]
    alike = [one for one in options if is_alike(metric, one.figures, best.figures, noise)]
    pick = _best([one for one in alike if one.is_on_front] or alike, BUILD)
    same = [one for one in options if standing(metric, one.figures, pick.figures, noise) is Standing.SAME]
    return pick, tuple(one for one in same if one is not pick)


def _best(options: Sequence[Option], metric: str) -> Option:
    first = options[0]
    return max(options, key=lambda one: lead(metric, one.figures, first.figures))


def _quality(found: Tradeoffs, option: Option) -> Standing:
    best = _best(found.options, QUALITY)
    return standing(QUALITY, option.figures, best.figures, found.noises[QUALITY])


def wastes(found: Tradeoffs) -> list[Waste]:
    """Dominated configurations that a clearly shorter build dominates, each with the one to take instead."""
    return list(_wastes(found))


def _wastes(found: Tradeoffs) -> Iterator[Waste]:
    if BUILD not in found.objectives:
        return
    for one in found.options:
        shorter = [other for name in one.dominated_by if _is_shorter(found, other := found.option(name), one)]
        if shorter:
            yield Waste(one, next((other for other in shorter if other.is_on_front), shorter[0]))


def _is_shorter(found: Tradeoffs, one: Option, other: Option) -> bool:
    return standing(BUILD, one.figures, other.figures, found.noises[BUILD]) is Standing.BETTER
