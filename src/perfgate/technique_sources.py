"""Where a page of techniques has its figures from: runs, accepted baselines and folders of load results, as runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any

from perfgate.baselines import BASELINE_SCHEMA, Baseline, BaselineCase
from perfgate.case import Case
from perfgate.errors import RecordError, UsageError
from perfgate.record import (
    RUN_SCHEMA,
    CaseInfo,
    CaseRound,
    Environment,
    Round,
    Run,
    Side,
    decode,
    encode,
    read_bounded,
    read_record,
    write_atomic,
)
from perfgate.suite import Suite, load_suite
from perfgate.versus import Result
from perfgate.versus import Side as Backend
from perfgate.versus_files import read_sides

LOADS, LOADS_SUITE = "results", "suite.yaml"


class Origin(StrEnum):
    """What a source is."""

    RUN = "run"
    BASELINE = "accepted baseline"
    LOADS = "load results"


@dataclass(frozen=True, slots=True)
class Source:
    """Rounds of a suite, and the file or folder that they were read from.

    The rounds of a baseline or of load results do not tell in which order they ran: they stand engine after engine,
    so that nothing takes them for rounds that took turns.
    """

    path: Path
    origin: Origin
    run: Run
    suite: Suite


def read_sources(paths: Sequence[Path], suites: Path) -> list[Source]:
    """Every source, in the order in which they were named.

    suites: the folder of the suite files of runs and baselines; load results bring theirs along.

    Raises:
        UsageError: a path is neither a run, a baseline nor a folder of load results, or its suite is not there.
        RecordError, SuiteError: a file is damaged.
    """
    return [_loads(path) if path.is_dir() else _record(path, suites) for path in paths]


def keep_lean(path: Path, folder: Path) -> Path:
    """Copy a run into a folder without the samples of requests and the course of its GPUs; returns where to.

    Anything but a run is left where it is.
    """
    if path.is_dir() or "rounds" not in decode(read_bounded(path), dict[str, Any], path):
        return path
    run = read_record(path, Run, RUN_SCHEMA)
    lean = folder / f"{run.suite}-{run.started.replace(':', '').replace('-', '')[:15]}.json"
    write_atomic(lean, encode(without_samples(run)) + b"\n")
    return lean


def without_samples(run: Run) -> Run:
    """A run whose rounds hold values alone, and documents where they were scored."""
    return replace(run, rounds=tuple(map(_lean, run.rounds)))


def _lean(one: Round) -> Round:
    gpu = None if one.gpu is None else replace(one.gpu, trace=None)
    return replace(one, gpu=gpu, cases=tuple(replace(case, samples={}, regions=()) for case in one.cases))


# ------------------------------------------------------------------ runs and baselines


def _record(path: Path, suites: Path) -> Source:
    held = decode(read_bounded(path), dict[str, Any], path)
    if "provenance" in held:
        baseline = read_record(path, Baseline, BASELINE_SCHEMA)
        suite = _suite(baseline.suite, suites, path)
        return Source(path, Origin.BASELINE, run_of_baseline(baseline, suite), suite)
    if "rounds" not in held:
        raise UsageError(f"{path} is neither a run.json nor a baseline: name one of them, or a folder of load results")
    run = read_record(path, Run, RUN_SCHEMA)
    return Source(path, Origin.RUN, run, _suite(run.suite, suites, path))


def _suite(name: str, suites: Path, path: Path) -> Suite:
    file = suites / f"{name}.yaml"
    if Path(name).name != name or not file.is_file():
        raise UsageError(f"{path} is of suite '{name}', and there is no {file}: name its folder with --suites FOLDER")
    return load_suite(file)


def run_of_baseline(baseline: Baseline, suite: Suite) -> Run:
    """Accepted rounds as a run; cases that the suite no longer has are left out."""
    known = [case for case in suite.cases if case.id in baseline.cases]
    infos = [CaseInfo(case.id, case.engine.name, case.kind, baseline.cases[case.id].hash) for case in known]
    engines = dict.fromkeys(info.engine for info in infos)
    index = count()
    rounds = tuple(
        one
        for engine in engines
        for one in _accepted(
            engine, {info.id: baseline.cases[info.id] for info in infos if info.engine == engine}, index
        )
    )
    made = baseline.provenance
    environment = Environment(baseline.device, made.product, made.versions, made.commit)
    return Run(baseline.suite, _began(baseline), environment, tuple(infos), (), rounds)


def _began(baseline: Baseline) -> str:
    runs = [began for case in baseline.cases.values() for began in case.runs]
    return max(runs, default=baseline.provenance.accepted)


def _accepted(engine: str, cases: dict[str, BaselineCase], index: Iterator[int]) -> Iterator[Round]:
    """The n-th round of each case together, over all sessions."""
    flat = {
        name: {
            metric: [value for session in series.sessions for value in session]
            for metric, series in case.metrics.items()
        }
        for name, case in cases.items()
    }
    most = max((len(values) for metrics in flat.values() for values in metrics.values()), default=0)
    for number in range(most):
        measured = tuple(
            CaseRound(
                name,
                {metric: values[number] for metric, values in metrics.items() if number < len(values)},
                documents=cases[name].documents if number == 0 else {},
            )
            for name, metrics in flat.items()
        )
        yield Round(engine, Side.CANDIDATE, next(index), "", 0.0, measured)


# ------------------------------------------------------------------ load results


def _loads(folder: Path) -> Source:
    suite_file, results = folder / LOADS_SUITE, folder / LOADS
    if not (suite_file.is_file() and results.is_dir()):
        raise UsageError(f"{folder} is no folder of load results: expected {LOADS_SUITE} and {LOADS}/ENGINE in it")
    suite = load_suite(suite_file)
    names = [spec.name for spec in suite.engines if (results / spec.name).is_dir()]
    sides = read_sides({name: results / name for name in names})
    if not sides:
        raise UsageError(
            f"{results} has no folder of an engine of {suite_file}: {', '.join(e.name for e in suite.engines)}"
        )
    return Source(folder, Origin.LOADS, run_of_loads(suite, sides, _dates(results)), suite)


def _dates(results: Path) -> str:
    """When the last of the files was written, as it says itself; empty where none does."""
    return max((_date(path) for path in results.rglob("concurrency_*.json")), default="")


def _date(path: Path) -> str:
    """Empty where a file does not tell; what is damaged in it is its result's to say."""
    try:
        said = decode(read_bounded(path), dict[str, Any], path).get("date")
    except RecordError:
        return ""
    return said if isinstance(said, str) else ""


def run_of_loads(suite: Suite, sides: Sequence[Backend], started: str) -> Run:
    """Load results as a run: each file is a case's round."""
    by_place = {(case.engine.name, case.concurrency): case for case in suite.cases}
    index = count()
    rounds = tuple(one for side in sides for one in _loaded(side, by_place, index))
    measured = {one.case for done in rounds for one in done.cases}
    infos = tuple(
        CaseInfo(case.id, case.engine.name, case.kind, case.hash) for case in suite.cases if case.id in measured
    )
    facts = [dict(one.about.facts) for side in sides for one in side.results]
    device, product = (next((one[key] for one in facts if key in one), "not told") for key in ("device", "product"))
    versions = {side.name: _versions(side) for side in sides}
    return Run(suite.name, started, Environment(device, product, versions, ""), infos, (), rounds)


def _versions(side: Backend) -> str:
    facts = side.results[0].about.facts
    return ", ".join(facts[key] for key in ("backend", "version", "versions") if key in facts) or "not told"


def _loaded(side: Backend, by_place: dict[tuple[str, int | None], Case], index: Iterator[int]) -> Iterator[Round]:
    for number in side.rounds:
        found = [one for one in side.results if one.round == number and (side.name, one.concurrency) in by_place]
        measured = tuple(_of_file(one, by_place[side.name, one.concurrency]) for one in found)
        yield Round(side.name, Side.CANDIDATE, next(index), "", 0.0, measured)


def _of_file(one: Result, case: Case) -> CaseRound:
    return CaseRound(case.id, one.values, faults=one.invalid)
