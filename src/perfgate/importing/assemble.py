"""Imported results as a run of ours: a result is one round, results of one setting are rounds of one case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from perfgate.case import short_hash
from perfgate.errors import UsageError
from perfgate.floats import Floats
from perfgate.importing.result import Result, slug
from perfgate.importing.source import Source
from perfgate.record import CaseInfo, CaseRound, Environment, Origin, PreparedInfo, Round, Run, Side, printable

SUITE = "imported"  # of every imported run; baselines of it lie in <device key>/imported.json
UNTOLD_DEVICE = "unknown/unknown"
_DATE = "date (the file's own stands in)"


@dataclass(frozen=True, slots=True)
class Naming:
    """What people say of imported files. engine: files under one name are taken as one build."""

    case: str | None = None
    engine: str | None = None
    device: str = UNTOLD_DEVICE


@dataclass(frozen=True, slots=True)
class _Piece:
    """One result with its file."""

    source: Source
    result: Result

    @property
    def moment(self) -> str:
        return self.result.started or self.source.modified

    @property
    def file(self) -> str:
        return printable(self.source.name.rpartition("/")[2])


def assemble(found: Sequence[tuple[Source, Sequence[Result]]], naming: Naming) -> Run:
    """All results as one run, its rounds in order of time.

    Raises:
        UsageError: they cannot stand in one run, with the first reason.
    """
    _refuse_twice([source for source, _ in found])
    pieces = sorted(
        (_Piece(source, result) for source, results in found for result in results), key=lambda one: one.moment
    )
    _one(pieces, "instrument", lambda one: one.result.setting.instrument)
    _one(pieces, "GPU", lambda one: one.result.product or None)
    names = _names(pieces, naming.case)
    engines = {one.result.setting.hash: naming.engine or slug(one.result.setting.model) for one in pieces}
    environment = Environment(naming.device, _product(pieces), _versions(pieces), "")
    return Run(
        SUITE, pieces[0].moment, environment, tuple(_cases(pieces, names, engines)),
        tuple(_engines(pieces, engines, naming.engine)), tuple(_rounds(pieces, names, engines)),
    )  # fmt: skip


# ------------------------------------------------------------------ what cannot stand together


def _refuse_twice(sources: Sequence[Source]) -> None:
    """The same bytes under two names are one round, not two."""
    seen: dict[str, str] = {}
    for source in sources:
        if source.digest in seen:
            raise UsageError(
                f"{source.name} and {seen[source.digest]} are the same bytes: one round cannot count twice"
            )
        seen[source.digest] = source.name


def _one(pieces: Sequence[_Piece], what: str, of: Callable[[_Piece], str | None]) -> None:
    """Refuse results that differ in something a run has one of; None: not told."""
    places: dict[str, str] = {}
    for one in pieces:
        if (value := of(one)) is not None:
            places.setdefault(value, one.result.where)
    if len(places) > 1:
        (a, here), (b, there), *_ = places.items()
        raise UsageError(printable(f"a run has one {what}: found {a} in {here}, {b} in {there}; import them apart"))


def _names(pieces: Sequence[_Piece], named: str | None) -> dict[str, str]:
    """The id of each case by its hash."""
    settings = {one.result.setting.hash: one for one in pieces}
    names = {key: named or one.result.setting.name for key, one in settings.items()}
    by_name: dict[str, _Piece] = {}
    for key, one in settings.items():
        other = by_name.setdefault(names[key], one)
        if other is not one:
            raise UsageError(
                f"two cases would both be called '{names[key]}': {_difference(other, one)}; import them apart, each "
                "with its --case"
            )
    return names


def _difference(a: _Piece, b: _Piece) -> str:
    """'max_concurrency is 16 in a.json, 64 in b.json'."""
    one, other = ({"kind": p.result.setting.kind, **p.result.setting.definition} for p in (a, b))
    keys = [key for key in dict.fromkeys((*one, *other)) if one.get(key) != other.get(key)]
    shown = [
        f"{key} is {_told(one.get(key))} in {a.result.where}, {_told(other.get(key))} in {b.result.where}"
        for key in keys
    ]
    return printable("; ".join(shown[:3]))[:400]


def _told(value: object) -> str:
    return "not told" if value is None else str(value)


# ------------------------------------------------------------------ the run


def _product(pieces: Sequence[_Piece]) -> str:
    return printable(next((one.result.product for one in pieces if one.result.product), "not told"))


def _versions(pieces: Sequence[_Piece]) -> dict[str, str]:
    for key in sorted({key for one in pieces for key in one.result.versions}):
        _one(pieces, f"version of {key}"[:60], lambda one, key=key: one.result.versions.get(key))  # type: ignore[misc]
    return {key: printable(version) for one in pieces for key, version in one.result.versions.items()}


def _cases(pieces: Sequence[_Piece], names: Mapping[str, str], engines: Mapping[str, str]) -> Iterator[CaseInfo]:
    for key, name in names.items():
        mine = [one for one in pieces if one.result.setting.hash == key]
        setting = mine[0].result.setting
        origin = Origin(setting.instrument, _files(mine), tuple(dict.fromkeys(_untold(mine))))
        yield CaseInfo(name, engines[key], setting.kind, key, _why_skipped(mine), origin)


def _why_skipped(pieces: Sequence[_Piece]) -> str | None:
    """Why nothing is known of a case, where no result of it failed and yet none gave a figure."""
    if any(one.result.figures.values or one.result.faults for one in pieces):
        return None
    left = [why for one in pieces for why in one.result.figures.left_out]
    return printable(f"no figure that can be judged: {left[0] if left else 'there is none in the file'}")


def _files(pieces: Sequence[_Piece]) -> dict[str, str]:
    """Digest by name; files of one name in two folders get their folder's name too."""
    twice = len({one.file for one in pieces}) < len({one.source.digest for one in pieces})
    return {printable(one.source.name) if twice else one.file: one.source.digest for one in pieces}


def _untold(pieces: Sequence[_Piece]) -> Iterator[str]:
    for one in pieces:
        yield from one.result.untold
        if one.result.started is None:
            yield _DATE


def _engines(pieces: Sequence[_Piece], engines: Mapping[str, str], named: str | None) -> Iterator[PreparedInfo]:
    """What identifies each engine: the name that people gave it, else its versions, else nothing but its files."""
    for name in dict.fromkeys(engines.values()):
        mine = [one for one in pieces if engines[one.result.setting.hash] == name]
        versions = {key: version for one in mine for key, version in one.result.versions.items()}
        known = [named or "", versions] if named or versions else sorted({one.source.digest for one in mine})
        yield PreparedInfo(name, short_hash({"imported engine": name, "known by": known}), False, {}, 0, versions)


def _rounds(pieces: Sequence[_Piece], names: Mapping[str, str], engines: Mapping[str, str]) -> Iterator[Round]:
    """One round for each result and engine: a table holds cases of several."""
    groups: dict[tuple[str, str], list[_Piece]] = {}
    for one in pieces:
        groups.setdefault((one.result.where, engines[one.result.setting.hash]), []).append(one)
    for index, ((_, engine), mine) in enumerate(groups.items()):
        seconds = max(one.result.seconds for one in mine)
        cases = tuple(_case_round(names[one.result.setting.hash], one.result) for one in mine)
        yield Round(engine, Side.CANDIDATE, index, mine[0].moment, seconds, cases)


def _case_round(name: str, result: Result) -> CaseRound:
    if result.faults:
        return CaseRound(name, {}, faults=tuple(map(printable, result.faults)))
    samples = {stem: Floats(one) for stem, one in result.figures.samples.items()}
    return CaseRound(name, result.figures.values, samples)


def lines(found: Iterable[tuple[Source, Sequence[Result]]], *, verbose: bool) -> Iterator[str]:
    """What people should know of each result: why it is invalid, what was left out of it and what it does not tell."""
    for _, results in found:
        for one in results:
            figures = one.figures
            what = f"{len(figures.values)} figures, {one.setting.instrument}, {one.setting.name}"
            yield printable(f"{one.where}: {what}")
            yield from (printable(f"  invalid: {fault}") for fault in one.faults)
            if verbose:
                yield from (printable(f"  left out: {why}") for why in figures.left_out)
                yield from (printable(f"  ignored: {key}") for key in one.ignored)
            elif figures.left_out or one.ignored:
                counts = f"{len(figures.left_out)} figures left out, {len(one.ignored)} keys ignored"
                yield f"  {counts} (-v lists them)"
            yield f"  not told: {', '.join((*one.untold, *(() if one.started else (_DATE,))))}"
