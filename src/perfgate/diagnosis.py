"""Why a process came to nothing, from how it ended and what it said: a pure function over `perfgate.fault_signs`."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfgate.fault_kinds import ADVICE, ProcessFault
from perfgate.fault_signs import ASIDE, HARMLESS, SIGNALS, SIGNS

_SHELL = 128  # a shell, or a launcher, says so much more than the signal that ended its program
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class OomKills:
    """Processes that the kernel's out-of-memory killer ended: in our cgroup and in the whole machine."""

    own: int = 0
    machine: int = 0

    def since(self, before: OomKills) -> OomKills:
        return OomKills(self.own - before.own, self.machine - before.machine)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is left of a process that failed. code: its exit code, below 0 a signal; lines: of its logs, in order."""

    code: int
    lines: Sequence[str] = ()
    kills: OomKills = OomKills()

    @property
    def signal(self) -> int | None:
        """The signal that ended it, by itself or below a shell."""
        number = -self.code if self.code < 0 else self.code - _SHELL
        return number if 0 < number < signal.NSIG else None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A kind, and what tells it: a line of a log, a signal, or a counter."""

    kind: ProcessFault
    told_by: str

    def __str__(self) -> str:
        return f"{ADVICE[self.kind].words}: {self.told_by}" if self.told_by else ADVICE[self.kind].words

    def beside(self, fault: str) -> str:
        """What a process said itself, with the kind in words before it and, where it did not say it, what tells it."""
        known = "" if self.told_by.strip(".") in fault else f" (what tells it: {self.told_by})"
        return f"{ADVICE[self.kind].words}: {fault}{known}"


def diagnose(evidence: Evidence) -> Diagnosis | None:
    """The cause that stands first among those told; None where nothing tells one and the process ended by itself.

    The kernel's count of our own cgroup outweighs every line; the whole machine's counts only where something was
    killed. Of several lines of a kind the first is told: the others follow from it.
    """
    told = _told(evidence.lines)
    was_killed = evidence.signal == signal.SIGKILL or (told is not None and told.kind is ProcessFault.KILLED)
    if evidence.kills.own > 0 or (was_killed and evidence.kills.machine > 0):
        return Diagnosis(ProcessFault.HOST_OUT_OF_MEMORY, "the kernel's out-of-memory killer ended a process of it")
    return told or _by_signal(evidence)


def _told(lines: Iterable[str]) -> Diagnosis | None:
    speaking = [line for line in lines if not _is_harmless(line)]
    for sign in SIGNS:
        for line in speaking:
            if found := sign.pattern.search(line):
                return Diagnosis(sign.kind, _shown(line, found.start()))
    return None


def _is_harmless(line: str) -> bool:
    return bool(ASIDE.search(line)) or any(pattern.search(line) for pattern, _ in HARMLESS)


def _shown(line: str, at: int) -> str:
    """The line, so that what tells the kind is in it however long its head is."""
    start = max(0, at - _LONGEST // 2)
    text = line[start : start + _LONGEST].strip()
    return f"...{text}" if start else text


def _by_signal(evidence: Evidence) -> Diagnosis | None:
    if evidence.signal is None:
        return None
    name = signal.Signals(evidence.signal).name if evidence.signal in set(signal.Signals) else str(evidence.signal)
    return Diagnosis(SIGNALS.get(evidence.signal, ProcessFault.CRASHED), f"ended by {name}")
