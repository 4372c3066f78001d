"""summary.md: what a CI step shows; the verdict first, what is not ok and what to do next, tables last."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from perfgate.claim_findings import Finding
from perfgate.comparison import Comparison
from perfgate.record import Run
from perfgate.report import claims, limits
from perfgate.report.behind import NOTHING_BEHIND, Behind
from perfgate.report.figures import (
    ESTIMATOR,
    WORDS,
    count,
    detects,
    interval,
    is_estimated,
    plain,
    quantity,
    verdict_word,
    worsening,
)
from perfgate.report.findings import findings, gravest_first, headline, host_bound, next_steps, planted
from perfgate.report.quality import HEADER, cells, remarks
from perfgate.report.since import since
from perfgate.report.tally import counted, listed, recorded_lines, tallies
from perfgate.report.watched import watched
from perfgate.verdict import MetricVerdict

MOST_ROWS = 2000  # a table; GitHub drops a step summary above 1 MiB, a row takes about 200 bytes

_HEADER = ("case", "metric", "baseline", "now", "change", "99 % interval", "verdict", "smallest detectable")

# Everything that Markdown, HTML or GitHub (links, mentions, www) might read, but the '_' inside a word.
_MARKUP = re.compile(r"""[^\w\s.,%()/;='"+-]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=[wW])\.""")


def render_markdown(
    comparison: Comparison, run: Run | None = None, found: Sequence[Finding] = (), behind: Behind = NOTHING_BEHIND
) -> str:
    """The summary as GitHub-flavoured Markdown; run, found, behind: for what is told beside verdicts."""
    blocks = [
        f"## {escaped(headline(comparison))}",
        _asked(comparison),
        *_warning(comparison),
        "\n".join(
            [*_findings(comparison, behind), *_watched(comparison), *_host_bound(comparison), *_tallies(comparison)]
        ),
        *_table(listed(comparison)),
        *_quality(comparison),
        *_folded(f"All {count(len(comparison.metrics), 'metric')}", _table(comparison.metrics)),
        *(_folded(limits.TITLE, _limits(run)) if run else ()),
        *_folded(claims.TITLE, _claims(found)),
        *_folded("Environment and baseline", _provenance(comparison)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _asked(comparison: Comparison) -> str:
    suite, device, policy = map(escaped, (comparison.suite, comparison.environment.device, comparison.policy))
    return f"Suite {suite} on {device}, policy {policy}: {counted(comparison)}."


def escaped(text: str) -> str:
    """Text from outside as inline text: one line, shown as it is, nothing of it read as markup.

    It must not open a line: '1.' and '-' stay as they are.
    """
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", plain(text))


def _warning(comparison: Comparison) -> Iterator[str]:
    warning = planted(comparison)
    if warning:
        yield f"> **{escaped(warning)}**"
    yield from (f"> Note: {escaped(note)}" for note in comparison.notes)


def _table(metrics: Sequence[MetricVerdict]) -> Iterator[str]:
    if not metrics:
        return
    rows = [_line(_HEADER), _line(("---", "---", "--:", "--:", "--:", "--:", "---", "--:"))]
    yield "\n".join([*rows, *(_line(_cells(metric)) for metric in gravest_first(metrics)[:MOST_ROWS])])
    if any(map(is_estimated, metrics)):
        yield f"{ESTIMATOR.capitalize()}."
    if len(metrics) > MOST_ROWS:
        yield f"{count(len(metrics) - MOST_ROWS, 'more row')} in comparison.csv."


def _quality(comparison: Comparison) -> Iterator[str]:
    rows = [cells(one) for one in comparison.quality[:MOST_ROWS]]
    if rows:
        head = [_line(HEADER), _line(("---", "--:", "--:", "---", "--:", "--:", "--:", "--:", "--:", "---"))]
        yield "\n".join([*head, *(_line(map(escaped, row)) for row in rows)])
        yield from (escaped(line) for line in remarks(comparison.quality))


def _cells(metric: MetricVerdict) -> Iterable[str]:
    shown = (
        metric.case,
        metric.metric,
        quantity(metric.baseline, metric.unit, like=metric.candidate),
        quantity(metric.candidate, metric.unit),
        worsening(metric.change),
        interval(metric.low, metric.high),
        verdict_word(metric),
        detects(metric.detectable),
    )
    return map(escaped, shown)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _findings(comparison: Comparison, behind: Behind) -> Iterator[str]:
    found = findings(comparison)
    for finding, next_step in zip(found, next_steps(found), strict=True):
        said = "; ".join(escaped(part) for part in (finding.reason, finding.detectable) if part)
        yield f"- **{WORDS[finding.verdict]}** {escaped(finding.where)}: {said}."
        if told := since(finding, comparison, behind):
            yield f"  Since when: {escaped(told)}"
        yield f"  Next: {escaped(next_step)}"


def _watched(comparison: Comparison) -> Iterator[str]:
    for one in watched(comparison)[:MOST_ROWS]:
        line = f"- watch: {escaped(one.line)} ({one.effect})."
        yield f"- **WATCH FAILED** {line.removeprefix('- ')}" if one.is_failure else line


def _host_bound(comparison: Comparison) -> Iterator[str]:
    if said := host_bound(comparison):
        yield f"- {escaped(said)}."


def _tallies(comparison: Comparison) -> Iterator[str]:
    yield from (f"- recorded {escaped(line)}" for line in recorded_lines(comparison))
    for one in tallies(comparison):
        yield f"- {one.word} {escaped(one.names)}: {escaped(one.why)}"


def _folded(title: str, blocks: Iterable[str]) -> Iterator[str]:
    inside = list(blocks)
    if inside:
        yield "\n\n".join([f"<details><summary>{title}</summary>", *inside, "</details>"])


def _limits(run: Run) -> Iterator[str]:
    section = limits.told(run)
    if section is not None:
        yield from _beside(limits.HEADER, section.rows, (*section.ceilings, *section.notes))


def _claims(found: Sequence[Finding]) -> Iterator[str]:
    if claims.is_told(found):
        yield from _beside(claims.HEADER, claims.rows(found), tuple(claims.notes(found)))


def _beside(header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> Iterator[str]:
    """A table that is no verdict, and what to know before reading it."""
    lines = [_line(header), _line(["---"] * len(header))]
    yield "\n".join([*lines, *(_line(map(escaped, row)) for row in rows[:MOST_ROWS])])
    yield "\n".join(f"- {escaped(note)}" for note in notes)


def _provenance(comparison: Comparison) -> Iterator[str]:
    here, before = comparison.environment, comparison.baseline
    facts = {"measured": comparison.started, "device": here.device, "product": here.product, "commit": here.commit}
    yield _facts(facts, here.versions)
    if before is None:
        yield "There was no baseline to compare with."
        return
    yield "Compared with this baseline:"
    facts = {"file": before.path, "accepted": before.accepted, "product": before.product, "commit": before.commit}
    yield _facts(facts, before.versions)


def _facts(facts: Mapping[str, str], versions: Mapping[str, str]) -> str:
    rows = [_line(map(escaped, pair)) for pair in [*facts.items(), *sorted(versions.items())]]
    return "\n".join([_line(("what", "value")), _line(("---", "---")), *rows])
