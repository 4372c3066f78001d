"""What an acceptance would change in a baseline, for its reviewers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from perfgate.baselines import Baseline, BaselineCase, Series
from perfgate.metrics import CATALOGUE
from perfgate.report.figures import ABSENT, count, plain, quantity, signed
from perfgate.report.markdown import escaped


@dataclass(frozen=True, slots=True)
class MetricChange:
    """One metric of a case: its accepted rounds before and after; None where there were none."""

    case: str
    metric: str
    old: Series | None
    new: Series | None

    @property
    def change(self) -> float | None:
        """Relative change of the median; 0.05 is a figure 5 % larger, whichever is better."""
        old, new = level(self.old), level(self.new)
        return new / old - 1.0 if old and new is not None else None

    @property
    def word(self) -> str:
        """'better' or 'worse' where the median moved."""
        if not self.change or self.metric not in CATALOGUE:  # of a metric of the user's own the files do not tell
            return ""
        is_better = (self.change > 0) is (CATALOGUE[self.metric].better == "higher")
        return "better" if is_better else "worse"


@dataclass(frozen=True, slots=True)
class BaselineDiff:
    """The difference of two baselines of one suite and device; cases are named by their ids."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    replaced: tuple[str, ...]  # another case definition or engine: its sessions begin anew
    extended: tuple[str, ...]  # more sessions of the same engine
    kept: tuple[str, ...]
    versions: Mapping[str, tuple[str, str]]  # those that differ, before and after; '-' where there is none
    metrics: tuple[MetricChange, ...]


def diff_baselines(before: Baseline | None, after: Baseline) -> BaselineDiff:
    """What changes from `before` to `after`; metrics of the cases that are not kept as they were."""
    old = before.cases if before else {}
    new = after.cases
    both = sorted(old.keys() & new.keys())
    moved = [case for case in both if not _is_same_engine(old[case], new[case])]
    kept = [case for case in both if old[case] == new[case]]
    touched = sorted((old.keys() | new.keys()) - set(kept))
    return BaselineDiff(
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(old.keys() - new.keys())),
        tuple(moved),
        tuple(case for case in both if case not in moved and case not in kept),
        tuple(kept),
        _versions(before.provenance.versions if before else {}, after.provenance.versions),
        tuple(change for case in touched for change in _metrics(case, old.get(case), new.get(case))),
    )


def level(series: Series | None) -> float | None:
    """The median of all accepted rounds."""
    values = [value for session in series.sessions for value in session] if series else []
    return median(values) if values else None


def _is_same_engine(old: BaselineCase, new: BaselineCase) -> bool:
    return old.hash == new.hash and old.engine_key == new.engine_key


def _versions(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    pairs = {name: (old.get(name, ABSENT), new.get(name, ABSENT)) for name in sorted(old.keys() | new.keys())}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _metrics(case: str, old: BaselineCase | None, new: BaselineCase | None) -> Iterator[MetricChange]:
    before, after = old.metrics if old else {}, new.metrics if new else {}
    for name in dict.fromkeys((*CATALOGUE, *before, *after)):
        if name in before or name in after:
            yield MetricChange(case, name, before.get(name), after.get(name))


# ------------------------------------------------------------------ as text

HEADER = ("case", "metric", "accepted", "proposed", "change", "rounds/sessions")


def render_diff(diff: BaselineDiff, shown: Collection[str] | None = None) -> str:
    """The difference as aligned text. shown: names of the metrics to list, others are counted; None lists all."""
    rows, left = _rows(diff, shown)
    lines = [f"{title}: {', '.join(map(plain, cases))}" for title, cases in _groups(diff)]
    lines += [f"{plain(name)}: {plain(old)} -> {plain(new)}" for name, (old, new) in diff.versions.items()]
    table = _aligned([HEADER, *rows]) if rows else []
    blocks = ["\n".join(lines) or "nothing changes", "\n".join(table), left]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(size) if name in {"case", "metric"} else cell.rjust(size)
            for name, cell, size in zip(HEADER, row, widths, strict=True)
        )
        for row in rows
    ]


def render_diff_markdown(diff: BaselineDiff, shown: Collection[str] | None = None) -> str:
    """The same as GitHub-flavoured Markdown, for a pull request."""
    rows, left = _rows(diff, shown)
    lines = [f"- {title}: {', '.join(map(escaped, cases))}" for title, cases in _groups(diff)]
    lines += [f"- {escaped(name)}: {escaped(old)} to {escaped(new)}" for name, (old, new) in diff.versions.items()]
    table = [_line(HEADER), _line(("---", "---", "--:", "--:", "--:", "--:")), *(_line(map(escaped, r)) for r in rows)]
    blocks = ["\n".join(lines) or "Nothing changes.", "\n".join(table) if rows else "", left]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _line(cells: Sequence[str] | Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _groups(diff: BaselineDiff) -> Iterator[tuple[str, tuple[str, ...]]]:
    for title, cases in (
        ("added", diff.added),
        ("removed", diff.removed),
        ("another engine or definition", diff.replaced),
        ("more sessions of the same engine", diff.extended),
        ("kept as they are", diff.kept),
    ):
        if cases:
            yield f"{title} ({len(cases)})", cases


def _rows(diff: BaselineDiff, shown: Collection[str] | None) -> tuple[list[tuple[str, ...]], str]:
    listed = [one for one in diff.metrics if shown is None or one.metric in shown]
    left = len(diff.metrics) - len(listed)
    return [_row(one) for one in listed], f"{count(left, 'metric')} not gated (-v lists all)" if left else ""


def _row(one: MetricChange) -> tuple[str, ...]:
    unit = next(series.unit for series in (one.new, one.old) if series)
    old, new = level(one.old), level(one.new)
    return (
        plain(one.case),
        one.metric,
        quantity(old, unit, like=new),
        quantity(new, unit),
        f"{signed(one.change)} {one.word}".rstrip(),
        f"{sizes(one.old)} -> {sizes(one.new)}",
    )


def sizes(series: Series | None) -> str:
    """Rounds and sessions: '15/3'."""
    return f"{sum(map(len, series.sessions))}/{len(series.sessions)}" if series else ABSENT
