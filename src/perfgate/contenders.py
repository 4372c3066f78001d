"""The sides of an A/B comparison: how users write them, and which engines and workloads meet.

SIDE = [ENGINE] [@PIN[,PIN...]]        PIN = PACKAGE==VERSION or commit:REVISION

int8                                    the suite's engine int8, as it is here
int8@openvino==2026.3.0                 the same with another package
int8@commit:HEAD~3                      suite, checkpoint and Python code of a commit
@commit:v1.2                            the other side's engine, or every engine where both leave it out
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from perfgate.case import Case, EngineSpec, short_hash
from perfgate.engines import backend
from perfgate.environments import EnvironmentStore, Swap, installed, parse_pin
from perfgate.errors import UsageError
from perfgate.process import HERE, Interpreter
from perfgate.schema import nearest
from perfgate.suite import Suite, load_suite
from perfgate.worktrees import commit_of, top_of, worktree

_COMMIT = "commit:"


@dataclass(frozen=True, slots=True)
class Wish:
    """One side as it was written; `engine` is empty where the other side's name counts."""

    text: str
    engine: str = ""
    pins: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Contender:
    """One side, ready to be prepared: its suite, the Python that runs it, and a cache of its own.

    The cache is apart from the gate's where a commit's code or pinned packages build, because
    an engine's key holds the versions that its backend names, not its code.
    """

    wish: Wish
    suite: Suite
    interpreter: Interpreter
    cache: Path
    commit: str = ""

    @property
    def is_here(self) -> bool:
        return self.interpreter == HERE


@dataclass(frozen=True, slots=True)
class Duel:
    """An engine of A against one of B under B's workloads; A's spec bears B's name, by which rounds are paired."""

    a: EngineSpec
    cases: tuple[Case, ...]

    @property
    def b(self) -> EngineSpec:
        return self.cases[0].engine


def parse_wish(text: str) -> Wish:
    """A side as the user wrote it.

    Raises:
        UsageError: a pin is none, or a package or commit is named twice.
    """
    engine, _, rest = text.partition("@")
    pins: dict[str, str] = {}
    revision = ""
    for part in filter(None, rest.split(",")):
        if part.startswith(_COMMIT):
            if revision or part == _COMMIT:
                raise UsageError(f"'{text}': expected one revision after 'commit:', such as commit:HEAD~1")
            revision = part.removeprefix(_COMMIT)
            continue
        name, version = _pin(text, part)
        if name in pins:
            raise UsageError(f"'{text}': '{name}' is pinned twice")
        pins[name] = version
    return Wish(text, engine, pins, revision)


def _pin(text: str, part: str) -> tuple[str, str]:
    try:
        return parse_pin(part)
    except UsageError as exc:
        raise UsageError(f"'{text}': {exc}, or commit:REVISION; a side is ENGINE[@PIN,...]") from exc


def parse_wishes(a: str, b: str) -> tuple[Wish, Wish]:
    """Both sides; one that names no engine takes the other's."""
    ours, theirs = parse_wish(a), parse_wish(b)
    return replace(ours, engine=ours.engine or theirs.engine), replace(theirs, engine=theirs.engine or ours.engine)


def contender(wish: Wish, suite: Path, state: Path, store: EnvironmentStore) -> Contender:
    """Check out and install what a side asks for.

    Raises:
        UsageError: no such commit or engine, or the suite cannot be used.
        EngineError: the packages cannot be installed.
    """
    swap, commit = _swap(wish, suite, state)
    found = load_suite(swap.path(suite.resolve()) if swap else suite)
    names = [spec.name for spec in found.engines]
    if wish.engine and wish.engine not in names:
        there = f"there: {', '.join(names)}{nearest(wish.engine, names)}"
        raise UsageError(f"'{wish.text}': no engine '{wish.engine}' in {found.source}; {there}")
    interpreter = store.interpreter(wish.pins, swap, _beside(wish, found) if wish.pins else None)
    own = short_hash({"commit": commit, "pins": dict(wish.pins)})
    cache = state / "engines" if interpreter == HERE else state / "ab" / "engines" / own
    return Contender(wish, found, interpreter, cache, commit)


def _beside(wish: Wish, suite: Suite) -> dict[str, str]:
    """The other packages of the backends that a side runs, as they are here."""
    out: dict[str, str] = {}
    for name in {spec.backend for spec in suite.engines if wish.engine in ("", spec.name)}:
        with suppress(UsageError, PackageNotFoundError):  # a backend that only the pinned environment can import
            out |= installed(backend(name).versions())
    return out


def _swap(wish: Wish, suite: Path, state: Path) -> tuple[Swap | None, str]:
    if not wish.revision:
        return None, ""
    top = top_of(suite.resolve())
    commit = commit_of(top, wish.revision)
    return Swap(top, worktree(top, commit, state / "worktrees")), commit


def match(a: Contender, b: Contender, workloads: Sequence[str]) -> list[Duel]:
    """Who meets whom, on the workloads that both have (or the named ones of them).

    Raises:
        UsageError: an engine or a workload that is not there, or none in common.
    """
    known = list(dict.fromkeys(case.work.name for case in b.suite.cases))
    for name in (name for name in workloads if name not in known):
        raise UsageError(f"no workload '{name}' in {b.suite.source}; there: {', '.join(known)}{nearest(name, known)}")
    duels = [_duel(a, b, *names, workloads or known) for names in _names(a, b)]
    if not any(duels):
        raise UsageError(f"'{a.wish.text}' and '{b.wish.text}' have no workload in common; see `perfgate plan`")
    return [duel for duel in duels if duel]


def _names(a: Contender, b: Contender) -> list[tuple[str, str]]:
    """Names of the engines of A and of B that meet; every common one where neither side names any."""
    if a.wish.engine:
        return [(a.wish.engine, b.wish.engine)]
    ours = [spec.name for spec in a.suite.engines]
    return [(spec.name, spec.name) for spec in b.suite.engines if spec.name in ours]


def _duel(a: Contender, b: Contender, ours: str, theirs: str, workloads: Sequence[str]) -> Duel | None:
    shared = {case.work.name for case in a.suite.cases if case.engine.name == ours} & set(workloads)
    cases = tuple(case for case in b.suite.cases if case.engine.name == theirs and case.work.name in shared)
    spec = next(spec for spec in a.suite.engines if spec.name == ours)
    return Duel(replace(spec, name=theirs), cases) if cases else None
