"""Rounds, and cases in them, whose figures do not count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from perfgate.fault_kinds import ProcessFault
from perfgate.record import Run, Side

WHOLE_ROUND = "all"


@dataclass(frozen=True, slots=True)
class Uncounted:
    """A round, or a case in it, whose figures were not judged. case: WHOLE_ROUND where none of its figures were."""

    engine: str
    side: Side
    index: int
    case: str
    kind: ProcessFault | None
    why: str

    @property
    def name(self) -> str:
        """'round 3 of int8', '..., baseline', or '..., int8-chat' where the fault is of one case."""
        side = ", baseline" if self.side is Side.BASELINE else ""
        return f"round {self.index} of {self.engine}{side}{f', {self.case}' if self.case != WHOLE_ROUND else ''}"


def uncounted(run: Run) -> Iterator[Uncounted]:
    """All of a run, in its order."""
    for one in run.rounds:
        if one.fault is not None:
            yield Uncounted(one.engine, one.side, one.index, WHOLE_ROUND, one.fault_kind, one.fault)
        for measured in one.cases:
            if measured.faults:
                why = "; ".join(measured.faults)
                yield Uncounted(one.engine, one.side, one.index, measured.case, measured.fault_kind, why)
