"""Quantisation by precision: memory, speed and accuracy of each on a device, every cell measured or with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perfgate.capabilities import Column
from perfgate.case import WorkKind
from perfgate.claim import shipped_claims
from perfgate.report.technique_cells import change, figure, table, with_times
from perfgate.technique_coverage import Compared, precisions
from perfgate.techniques import BYTES, ITL, MEMORY, QUALITY, SPEED, TTFT, Group, Measured, Row

HEAD = (
    "precision", "engine", "engine bytes", "peak memory", "ITL, least streams", "output tokens/s, most streams",
    "TTFT, most streams", "perplexity", "change, 95 %",
)  # fmt: skip
_NOT = "not measured"


def precision_table(groups: Sequence[Group], columns: Sequence[Column]) -> str:
    """The table; columns: of the capability matrix, for this kind of device."""
    return table(HEAD, (_row(one) for one in precisions(groups, columns)), of_text=(0, 1))


def _row(one: Compared) -> tuple[str, ...]:
    if one.row is None or one.group is None:
        return one.precision, f"{_NOT}: {one.why}", *[_NOT] * (len(HEAD) - 2)
    return one.precision, f"`{one.row.engine.name}` ({one.group.suite.name})", *_cells(one.group, one.row)


def _cells(group: Group, row: Row) -> Iterator[str]:
    build, text, loads = row.of(WorkKind.BUILD), row.of(WorkKind.PERPLEXITY), row.loads
    yield _bytes(group, row, build)
    yield with_times(build, MEMORY) if build else why_no(group, row, WorkKind.BUILD)
    for at, names in ((0, ITL), (-1, SPEED), (-1, TTFT)):
        yield _load(loads[at], names) if loads else why_no(group, row, WorkKind.LATENCY)
    yield figure(text, QUALITY) if text else why_no(group, row, WorkKind.PERPLEXITY)
    yield _change(row, text)


def _load(one: Measured, names: Sequence[str]) -> str:
    return f"{with_times(one, names)} in {one.case.work.name}"


def _bytes(group: Group, row: Row, build: Measured | None) -> str:
    """Only of backends whose files are the quantised weights, as the claims name them."""
    theirs = {name for claim in shipped_claims() for check in claim.checks for name in check.backends}
    if row.engine.backend not in theirs:
        return f"{_NOT}: files of {row.engine.backend} are not its weights"
    return with_times(build, BYTES) if build else why_no(group, row, WorkKind.BUILD)


def _change(row: Row, text: Measured | None) -> str:
    if text is None:
        return _NOT
    return change(text, QUALITY) if row.reference else "reference"


def why_no(group: Group, row: Row, kind: WorkKind) -> str:
    """Why an engine has no figures of a kind of workload."""
    asked = [case for case in group.suite.cases if case.engine == row.engine and case.kind is kind]
    if not asked:
        return f"{_NOT}: no {kind} of it in the suite"
    return f"{_NOT}: no valid round yet"
