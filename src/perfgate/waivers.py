"""Waivers: regressions that are known and borne until a date, in a reviewed file with their reasons."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from perfgate.errors import Fault, SuiteError, UsageError
from perfgate.percent import percent
from perfgate.plain_file import read_up_to
from perfgate.schema import MAX_BYTES, Choice, Context, Fraction, ListOf, Record, Text, read
from perfgate.verdict import MetricVerdict, Verdict

DEFAULT_NAME = "waivers.yaml"  # in the folder of reviewed baselines
LONGEST_DAYS = 180  # half a year: what is borne longer is the level, and belongs into the baseline


class WaiverError(UsageError):
    """Every fault of a waiver file, one line each."""

    def __init__(self, source: Path, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = f"{len(self.faults)} fault" + ("s" if len(self.faults) != 1 else "")
        super().__init__("\n  ".join([f"the waivers in {source} have {count}:", *map(str, self.faults)]))


@dataclass(frozen=True, slots=True)
class Waiver:
    """Which verdicts are borne, why and until when. `case`, `metric` and `device` are globs.

    expires: the day from which it waives nothing, in UTC.
    up_to: a worsening larger than this is not waived.
    """

    case: str
    metric: str
    reason: str
    expires: date
    device: str = "*"
    up_to: float | None = None
    verdicts: tuple[Verdict, ...] = (Verdict.REGRESSED,)

    @property
    def name(self) -> str:
        return f"{self.case} {self.metric}"

    def is_expired(self, today: date) -> bool:
        return today >= self.expires

    def covers(self, case: str, metric: str) -> bool:
        return fnmatchcase(case, self.case) and fnmatchcase(metric, self.metric)

    def waives(self, found: MetricVerdict) -> bool:
        """Whether it turns this verdict, apart from its expiry."""
        is_small = self.up_to is None or (found.change is not None and found.change <= self.up_to)
        return self.covers(found.case, found.metric) and found.verdict in self.verdicts and is_small


def apply_waivers(
    verdicts: Sequence[MetricVerdict], waivers: Sequence[Waiver], asked: Collection[tuple[str, str]], device: str,
    today: date,
) -> tuple[tuple[MetricVerdict, ...], tuple[str, ...]]:  # fmt: skip
    """Verdicts with what waives them today, and lines on waivers that expired, fall short or are not needed.

    No verdict changes: what is waived stays in sight as what it is.

    asked: (case, metric) of everything that the suite gates, measured in this run or not.
    """
    here = [waiver for waiver in waivers if fnmatchcase(device, waiver.device)]
    valid = [waiver for waiver in here if not waiver.is_expired(today)]
    marked = tuple(_marked(one, valid) for one in verdicts)
    notes = [note for waiver in here for note in _notes(waiver, verdicts, asked, today)]
    return marked, tuple(notes)


def _marked(found: MetricVerdict, waivers: Sequence[Waiver]) -> MetricVerdict:
    fitting = [waiver for waiver in waivers if waiver.waives(found)]
    if not fitting:
        return found
    last = max(fitting, key=lambda waiver: waiver.expires)
    return replace(found, waived=f"waived until {last.expires}: {last.reason}")


def _notes(
    waiver: Waiver, verdicts: Sequence[MetricVerdict], asked: Collection[tuple[str, str]], today: date
) -> Iterator[str]:
    if waiver.is_expired(today):
        red = [f"{one.case} {one.metric}" for one in verdicts if waiver.waives(one)]
        yield f"the waiver of {waiver.name} expired on {waiver.expires} and waives nothing: " + (
            f"{', '.join(red)} counts again ({waiver.reason})" if red else "delete it"
        )
        return
    if not any(waiver.covers(case, metric) for case, metric in asked):
        yield f"unused waiver of {waiver.name}: the suite gates no such case and metric; delete it"
        return
    covered = [one for one in verdicts if waiver.covers(one.case, one.metric)]
    if covered and all(one.verdict in {Verdict.OK, Verdict.IMPROVED} for one in covered):
        yield f"unused waiver of {waiver.name}: all that it covers is ok; delete it"
    for one in covered:
        if one.verdict in waiver.verdicts and not waiver.waives(one):
            ends = f"the waiver of {waiver.name} ends at {percent(waiver.up_to or 0.0)}"
            yield f"{ends}: {one.case} {one.metric} is {one.sentence}"


# ------------------------------------------------------------------ the file


@dataclass(frozen=True, slots=True)
class _Day:
    """A date at most `LONGEST_DAYS` ahead of today."""

    today: date

    def parse(self, node: yaml.Node, path: str, context: Context) -> date | None:
        last = self.today + timedelta(days=LONGEST_DAYS)
        try:
            found = date.fromisoformat(str(node.value) if isinstance(node, yaml.ScalarNode) else "")
        except ValueError:
            context.fault(node, path, f"found '{str(node.value)[:60]}', expected a date such as {last}")
            return None
        if found > last:
            context.fault(node, path, f"{found} is more than {LONGEST_DAYS} days ahead; at most {last}")
            return None
        return found

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date"}


def _schema(today: date) -> ListOf:
    return ListOf(
        Record(
            {
                "case": Text(),
                "metric": Text(),
                "reason": Text(),
                "expires": _Day(today),
                "device": Text(),
                "up_to": Fraction(),
                "verdict": ListOf(Choice((Verdict.REGRESSED, Verdict.INCONCLUSIVE))),
            },
            required=("case", "metric", "reason", "expires"),
        )
    )


def load_waivers(given: Path | None, baselines: Path, *, today: date | None = None) -> tuple[Waiver, ...]:
    """Waivers of a file; those of `waivers.yaml` among the baselines where none is given, which may be absent.

    Raises:
        WaiverError: every fault of the file at once, with lines.
        UsageError: the file given does not exist.
    """
    source = given or baselines / DEFAULT_NAME
    if not source.exists():
        if given:
            raise UsageError(f"no waivers in {given}: there is no such file")
        return ()
    if _is_blank(source):
        return ()
    try:
        raw = read(source, _schema(today or today_utc()))
    except SuiteError as exc:
        raise WaiverError(source, exc.faults) from exc
    return tuple(_waiver(one) for one in raw)


def today_utc() -> date:
    return datetime.now(UTC).date()


def _is_blank(source: Path) -> bool:
    """Nothing but comments: a file whose last waiver was deleted."""
    try:
        lines = read_up_to(source, MAX_BYTES).splitlines()
    except OSError:
        return False  # the reader says what is wrong
    return all(not line.strip() or line.lstrip().startswith(b"#") for line in lines)


def _waiver(raw: Mapping[str, Any]) -> Waiver:
    plain = dict(raw)
    verdicts = tuple(Verdict(word) for word in plain.pop("verdict", (Verdict.REGRESSED,)))
    return Waiver(**{**plain, "reason": " ".join(plain["reason"].split())}, verdicts=verdicts)
