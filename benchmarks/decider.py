"""The shipped judge as a plug-in of a decision simulator, so that its error rates can be counted.

    python decision_sim.py gate --decider benchmarks.decider:decide --design hybrid --start 1 --step 1 --cap 32

(from this repository's root, with `PYTHONPATH=src`). The simulator hands over samples of single runs of
both builds and of earlier sessions; this file turns them into the records that a gate leaves behind
and calls `perfgate.judge.judge`. It decides nothing itself.

decide            what a suite gets by default (`--design hybrid`)
decide_thorough   with `--perfgate-thorough`: built for 3 % (`--effects 3 --cap 60`)
decide_stored     where the baseline's engine cannot be run (`--design stored --cap 12`)
decide_suite      is the suite as a whole slower, by a little that no metric shows?
                  (`--design interleaved --start 2 --cap 2 --scope suite --effects 2`)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from perfgate.baselines import Baseline, BaselineCase, Provenance
from perfgate.judge import judge
from perfgate.metrics import CATALOGUE, trimmed_mean
from perfgate.record import CaseInfo, CaseRound, Environment, Round, Run, Side
from perfgate.terms import Gate
from perfgate.verdict import Verdict
from perfgate.watch import engine_pairs, suite_shift

# Metrics that stand for the simulator's, by direction; an engine's first 'lower' metric is itl_tmean, and so on.
NAMES = {
    "lower": ("itl_tmean", "ttft_tmean", "e2el_tmean", "tpot_tmean", "cpu_s_per_token"),
    "higher": ("output_tokens_per_s", "requests_per_s"),
}
GATE = Gate(tuple(CATALOGUE[name] for names in NAMES.values() for name in names))
Runs = Sequence[Sequence[float]]  # [run][sample]
WORDS = {Verdict.OK: "ok", Verdict.IMPROVED: "ok", Verdict.REGRESSED: "regression"}


def decide(suite: Sequence[tuple[Runs, Runs, str]], context: Mapping[str, Any]) -> list[str]:
    """A verdict on each metric: 'regression', 'ok' or 'unresolved'."""
    return _judged(suite, context, GATE)


def decide_thorough(suite: Sequence[tuple[Runs, Runs, str]], context: Mapping[str, Any]) -> list[str]:
    """The same with `--perfgate-thorough`."""
    return _judged(suite, context, GATE.thorough())


def decide_stored(suite: Sequence[tuple[Runs, Runs, str]], context: Mapping[str, Any]) -> list[str]:
    """The same where the baseline's engine is gone: its runs are not looked at, stored sessions are."""
    return _judged([([], new, better) for _, new, better in suite], context, GATE, is_rerunnable=False)


def decide_suite(suite: Sequence[tuple[Runs, Runs, str]], context: Mapping[str, Any]) -> list[str]:
    """'regression' for every metric where the whole suite is slower, 'ok' for every one where it is not."""
    gist, ids, run = _recorded(suite, context)
    pairs = engine_pairs(run, GATE.metrics, dict(zip(ids, gist.sessions, strict=True)))
    is_slower = suite_shift(pairs.ratios, pair_var=pairs.variance).is_slower
    return ["regression" if is_slower else "ok"] * len(ids)


def _judged(
    suite: Sequence[tuple[Runs, Runs, str]], context: Mapping[str, Any], gate: Gate, *, is_rerunnable: bool = True
) -> list[str]:
    gist, ids, run = _recorded(suite, context)
    run = run if is_rerunnable else replace(run, rerunnable=())
    stored = {case.id: BaselineCase("h", "k", {}) for case in run.cases}
    asked = replace(gate, metrics=tuple(metric for metric in gate.metrics if metric.name in {name for _, name in ids}))
    judged = judge(run, Baseline("s", "d", _MADE, stored), asked, dict(zip(ids, gist.sessions, strict=True)))
    found = {(one.case, one.metric): WORDS.get(one.verdict, "unresolved") for one in judged}
    return [found[one] for one in ids]


def _recorded(
    suite: Sequence[tuple[Runs, Runs, str]], context: Mapping[str, Any]
) -> tuple[_Gist, list[tuple[str, str]], Run]:
    """The stored sessions, the (case, metric) of each of the simulator's metrics, and the runs as a gate keeps them."""
    gist, names = _gist_of(context["history"]), _names(context["config"], [better for _, _, better in suite])
    cases = {engine: CaseInfo(f"e{engine}-w", f"e{engine}", "latency", "h") for engine in context["config"]}
    ids = [(cases[engine].id, name) for engine, name in zip(context["config"], names, strict=True)]
    sides = {
        Side.BASELINE: [gist.values(i, Side.BASELINE, before) for i, (before, _, _) in enumerate(suite)],
        Side.CANDIDATE: [gist.values(i, Side.CANDIDATE, now) for i, (_, now, _) in enumerate(suite)],
    }
    rounds = tuple(
        Round(case.engine, side, number, "", 1.0, (CaseRound(case.id, values),))
        for case in cases.values()
        for side, runs in sides.items()
        for number, values in enumerate(_rounds(case.id, ids, runs))
    )
    run = Run("s", "", _HERE, tuple(cases.values()), (), rounds, tuple(case.engine for case in cases.values()))
    return gist, ids, run


_HERE, _MADE = Environment("d", "", {}, ""), Provenance("", "", "", {}, "")


def _names(engines: Sequence[int], directions: Sequence[str]) -> list[str]:
    """A metric's name for each of the simulator's: of its direction, different within an engine."""
    used: Counter[tuple[int, str]] = Counter()
    out = []
    for key in zip(engines, directions, strict=True):
        out.append(NAMES[key[1]][used[key]])
        used[key] += 1
    return out


def _rounds(case: str, ids: Sequence[tuple[str, str]], runs: Sequence[Sequence[float]]) -> Iterator[dict[str, float]]:
    """One engine's rounds: the value of each of its metrics."""
    mine = {name: runs[i] for i, (owner, name) in enumerate(ids) if owner == case}
    for number in range(max(map(len, mine.values()))):
        yield {name: values[number] for name, values in mine.items()}


@dataclass
class _Gist:
    """One number a run, kept from look to look, for the simulator hands over all samples every time."""

    history: object
    sessions: list[list[list[float]]]
    seen: dict[tuple[int, Side], list[float]] = field(default_factory=dict)

    def values(self, metric: int, side: Side, runs: Runs) -> list[float]:
        mine = self.seen.setdefault((metric, side), [])
        mine += [trimmed_mean(samples) for samples in runs[len(mine) :]]
        return mine


_last: list[_Gist] = []


def _gist_of(history: Sequence[Sequence[Runs]]) -> _Gist:
    if not _last or _last[0].history is not history:
        _last[:] = [_Gist(history, [[[trimmed_mean(run) for run in day] for day in one] for one in history])]
    return _last[0]
