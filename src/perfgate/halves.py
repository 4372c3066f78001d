"""The self-test of a baseline: a session is judged against its own halves and must not be red.

Each half against the other, both ways: odd against even rounds finds rounds that alternate between
two levels (a core or a NUMA node that takes turns); the first against the last finds a level that
shifted while it was measured, and the two in pairs, round by round, one that drifted. The halves
stand for two runs of one engine on one day, so the noise between sessions is taken as none: with
the suite's, no difference of halves could ever be red. Each case is judged by itself, at the gate's
alpha.

What it finds and how often it refuses plain noise: `benchmarks/self_test.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from perfgate.baselines import Baseline, BaselineCase, Provenance, documents_of
from perfgate.judge import judge
from perfgate.percent import percent
from perfgate.record import Round, Run, Side
from perfgate.terms import Gate, Pairing
from perfgate.verdict import MetricVerdict, Verdict

SAME_SESSION_SD = 1e-3  # between halves of one session; not 0, so that no formula divides by it
NO_MODES = 1e-6  # two modes are what is looked for, and must not excuse what is found
# The judge weighs slowdowns of up to 5 x detect; levels further apart fit none of them and would pass
# unseen, so it is asked for larger ones as well, each at its share of alpha.
DETECT_SCALES = (1.0, 5.0, 25.0)
LEAST_HALVED = 3  # rounds; with three only exact metrics can be red, with two nothing


@dataclass(frozen=True, slots=True)
class Discord:
    """Halves of one session that differ more than the same engine's rounds should."""

    found: MetricVerdict
    slow: tuple[int, ...]  # rounds of the worse half, counted from 1
    rest: tuple[int, ...]
    is_shift: bool  # the first rounds against the last; else odd against even

    def __str__(self) -> str:
        """'fp32-chat itl_p50: rounds 2, 4 are 23.0 % worse than 1, 3, 5; they alternate between two levels'."""
        slow, rest = (", ".join(map(str, rounds)) for rounds in (self.slow, self.rest))
        kind = "the level shifted or drifted" if self.is_shift else "they alternate between two levels"
        many = "rounds" if len(self.slow) > 1 else "round"
        verb = "are" if len(self.slow) > 1 else "is"
        return (
            f"{self.found.case} {self.found.metric}: {many} {slow} {verb} "
            f"{percent(self.found.change or 0.0)} worse than {rest}; {kind}"
        )


def discords(run: Run, gate: Gate) -> list[Discord]:
    """Every metric of a run whose own halves would be called a regression of each other."""
    gates = [_strict(gate, scale) for scale in DETECT_SCALES]
    rounds = _rounds_by_case(run)
    found: dict[tuple[str, str], Discord] = {}
    for case in (one for one in run.cases if one.skip is None):
        alone = replace(run, cases=(case,), rounds=tuple(rounds.get(case.id, ())), rerunnable=())
        for discord in (one for strict in gates for one in _of_case(alone, strict)):
            found.setdefault((case.id, discord.found.metric), discord)
    return list(found.values())


def _strict(gate: Gate, scale: float) -> Gate:
    """The gate for halves of one session, asked to find slowdowns `scale` times as large."""
    return replace(
        gate,
        metrics=tuple(replace(metric, detect=metric.detect * scale) for metric in gate.metrics),
        noise=replace(gate.noise, session_sd=min(SAME_SESSION_SD, gate.noise.session_sd), two_modes=NO_MODES),
        alpha=gate.alpha / len(DETECT_SCALES),
        references=(),  # other engines are no halves of this one
    )


def _rounds_by_case(run: Run) -> dict[str, list[Round]]:
    """For each case the candidate's rounds that measured it validly, with nothing else in them."""
    found: dict[str, list[Round]] = defaultdict(list)
    for one in run.rounds:
        for measured in one.cases if one.side is Side.CANDIDATE and one.is_valid else ():
            if not measured.faults:
                found[measured.case].append(replace(one, cases=(measured,)))
    return found


def _of_case(run: Run, gate: Gate) -> Iterator[Discord]:
    """The discords of a run of one case."""
    count = len(run.rounds)
    if count < LEAST_HALVED:
        return
    odd_even = range(0, count, 2), range(1, count, 2)
    first_last = range(count // 2), range(-(-count // 2), count)
    for (one, other), is_paired in ((odd_even, False), (first_last, False), (first_last, True)):
        for old, new in ((one, other), (other, one)):
            for verdict in _judged(run, old, new, gate, is_paired=is_paired):
                if verdict.verdict is Verdict.REGRESSED:
                    yield Discord(verdict, tuple(i + 1 for i in new), tuple(i + 1 for i in old), one is first_last[0])


def _judged(
    run: Run, old: Sequence[int], new: Sequence[int], gate: Gate, *, is_paired: bool
) -> tuple[MetricVerdict, ...]:
    """One half as the candidate's rounds, the other as those of the baseline's engine beside it.

    is_paired: the n-th round of one half beside the n-th of the other. Under a drift each half is
    wide, but the differences of such pairs are all alike.
    """
    before, now = ([run.rounds[number] for number in half] for half in (old, new))
    beside = [replace(one, side=Side.BASELINE) for one in before]
    turns = [one for pair in zip_longest(beside, now) for one in pair if one is not None]
    rounds = tuple(replace(one, index=index) for index, one in enumerate(turns))
    engines = tuple({case.engine for case in run.cases})
    how = Pairing.INTERLEAVED if is_paired else Pairing.CONSECUTIVE
    asked = replace(run, rounds=rounds, rerunnable=engines)
    return judge(asked, _nothing_stored(run, before), replace(gate, pairing=how))


def _nothing_stored(run: Run, before: Sequence[Round]) -> Baseline:
    """A baseline that holds the scores of documents alone: all rounds are given as those of today."""
    half = replace(run, rounds=tuple(before))
    cases = {
        case.id: BaselineCase(case.hash, "", {}, documents_of(half, case.id, Side.CANDIDATE), origin=case.origin)
        for case in run.cases
    }
    made = Provenance(run.started, "half", "", {}, "")
    return Baseline(run.suite, run.environment.device, made, cases)
