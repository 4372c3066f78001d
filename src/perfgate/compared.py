"""Two saved records side by side: a run or a baseline as A, a run as B, cases of other names mapped on each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perfgate.baselines import Baseline, BaselineCase, Provenance, baseline_from_run, load_baseline
from perfgate.case import canonical
from perfgate.errors import BaselineError, RecordError, UsageError
from perfgate.record import RUN_SCHEMA, CaseInfo, Run, Side, decode, read_bounded, read_record
from perfgate.suite import Suite


@dataclass(frozen=True, slots=True)
class Pair:
    """A case of A (by its id) that a case of B is compared with."""

    before: str
    now: CaseInfo


def read_before(path: Path, now: Run) -> Baseline:
    """A as a baseline for B: a baseline file, or the rounds of a run.

    Raises:
        RecordError: the file is neither, or larger than any of ours.
        BaselineError: it is of another device than B, expired, or holds nothing valid.
    """
    held = decode(read_bounded(path), dict[str, Any], path)
    if "provenance" in held:
        return load_baseline(path, now.environment.device, str(held.get("suite")))
    if not {"rounds", "environment", "prepared"} <= held.keys():
        raise RecordError(f"{path} is neither a run.json nor a baseline: name one of them")
    return _of_run(path, read_record(path, Run, RUN_SCHEMA), now.environment.device)


def _of_run(path: Path, run: Run, device: str) -> Baseline:
    made = run.environment
    if made.device != device:
        raise BaselineError(f"{path} is of '{made.device}', the other run of '{device}': baselines never cross devices")
    provenance = Provenance(
        run.started, "perfgate compare", made.product, made.versions, made.commit, settings=made.settings
    )
    return baseline_from_run(run, provenance)


def candidate_alone(run: Run) -> Run:
    """The run without the rounds of the engine that it was itself gated against: A need not be that one."""
    return replace(run, rounds=tuple(one for one in run.rounds if one.side is Side.CANDIDATE), rerunnable=())


def parse_pairs(texts: Iterable[str], before: Baseline, now: Run) -> list[Pair]:
    """The cases that `--map A=B` names: of two engines all that have workloads of one name, or two cases.

    Raises:
        UsageError: with what was found, what is expected and what there is.
    """
    return [pair for text in texts for pair in _parsed(text, before, now)]


def _parsed(text: str, before: Baseline, now: Run) -> list[Pair]:
    a, equals, b = text.partition("=")
    if not (a and equals and b):
        raise UsageError(f"--map: found '{text}', expected A=B: an engine or a case of A, and one of B")
    cases = [case for case in now.cases if b in {case.engine, case.id}]
    if not cases:
        known = sorted({case.engine for case in now.cases})
        raise UsageError(f"--map {text}: B has no engine or case '{b}'; its engines: {', '.join(known)}")
    pairs = [Pair(a if case.id == b else f"{a}{case.id.removeprefix(case.engine)}", case) for case in cases]
    found = [pair for pair in pairs if pair.before in before.cases]
    if not found:
        raise UsageError(f"--map {text}: A has no case of '{a}' for it; its cases: {', '.join(sorted(before.cases))}")
    return found


def refuse_other_workloads(pairs: Iterable[Pair], suite: Suite) -> None:
    """Refuse pairs whose workloads differ, where the suite knows both cases.

    Raises:
        UsageError: naming the first such pair.
    """
    works = {case.id: (case.kind, canonical(case.work)) for case in suite.cases}
    for pair in pairs:
        a, b = works.get(pair.before), works.get(pair.now.id)
        if a and b and a != b:
            raise UsageError(f"--map: {pair.before} and {pair.now.id} are other workloads: only engines may differ")


def mapped(before: Baseline, pairs: Sequence[Pair]) -> Baseline:
    """A with each mapped case under the name and hash that B has for it."""
    renamed: Mapping[str, BaselineCase] = {
        pair.now.id: replace(before.cases[pair.before], hash=pair.now.hash) for pair in pairs
    }
    return replace(before, cases={**before.cases, **renamed})


def notes(before: Baseline, pairs: Sequence[Pair], now: Run) -> Iterator[str]:
    """What a reader must know: which cases are compared with which, and what was changed and is not."""
    if before.suite != now.suite:
        yield f"A is of suite '{before.suite}', B of '{now.suite}'"
    if pairs:
        said = ", ".join(f"{pair.before} with {pair.now.id}" for pair in pairs)
        yield f"by --map: {said}; that their workloads are the same is checked only where the suite has both"
    taken = {pair.now.id for pair in pairs}
    changed = [
        case for case in now.cases
        if case.id not in taken and case.id in before.cases and before.cases[case.id].hash != case.hash
    ]  # fmt: skip
    if changed:
        engines = dict.fromkeys(case.engine for case in changed)
        wish = " ".join(f"--map {name}={name}" for name in engines)
        yield f"{', '.join(case.id for case in changed)}: asked for in another way in A; {wish} compares them anyhow"
