"""What a tuning came to: tuning.json, tuning.md, tuned.yaml, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from perfgate.metrics import CATALOGUE
from perfgate.percent import percent
from perfgate.record import encode_pretty, write_atomic
from perfgate.report.figures import ABSENT, duration, plain, quantity
from perfgate.report.limits import aligned
from perfgate.report.rows import markdown_rows
from perfgate.report.tuned_suite import tuned_suite
from perfgate.suite import Suite
from perfgate.tune_record import Figure, Outcome, Tuned, TunedStep

_UNMEASURED = (Outcome.NOT_HERE, Outcome.UNTRIED)


def write_tuned(found: Tuned, suite: Suite, out: Path) -> list[Path]:
    """tuning.json, tuning.md and tuned.yaml in the folder."""
    out.mkdir(parents=True, exist_ok=True)
    files = {
        out / "tuning.json": encode_pretty(found),
        out / "tuning.md": "\n".join(_page(found)).encode(),
        out / "tuned.yaml": tuned_suite(found, suite, out).encode(),
    }
    for path, content in files.items():
        write_atomic(path, content)
    return list(files)


def tuned_lines(found: Tuned) -> Iterator[str]:
    """For a terminal: what was measured, what was not and why, and what is left."""
    measured = _measured(found)
    if measured:
        head = ("step", "outcome", f"{found.metric} [99 %]", "loss [99 %]", "pairs", "time")
        yield from aligned([head, *map(_row, measured)], of_text=(0, 1))
        yield ""
    yield from (f"  {one.words}: {plain(one.reason)}" for one in measured)
    for title, outcome in (("not tried", Outcome.UNTRIED), ("does not apply", Outcome.NOT_HERE)):
        if mine := [one for one in found.steps if one.outcome is outcome]:
            yield ""
            yield f"{title}:"
            yield from (f"  {one.words}: {plain(one.reason)}" for one in mine)
    yield ""
    yield from _result(found)


def _measured(found: Tuned) -> list[TunedStep]:
    every = [*found.steps, *([found.whole] if found.whole else [])]
    return [one for one in every if one.outcome not in _UNMEASURED]


def _result(found: Tuned) -> Iterator[str]:
    spent = f"{duration(found.spent_s)} of {duration(found.budget_s)} spent"
    if not found.kept:
        yield f"{found.engine} stays as it is: nothing was found that is surely better for {found.goal}; {spent}"
    else:
        yield f"kept: {', '.join(one.words for one in found.kept)}; {spent}"
        yield f"tuned: {_keys(found)}"
    yield from _whole(found)
    if found.stopped:
        yield found.stopped
    elif found.untried:
        yield "the same command with a larger --budget goes on where this one ended"


def _whole(found: Tuned) -> Iterator[str]:
    """Steps' gains are no product: each was chosen for being large, and they meet in one engine."""
    one = found.whole
    if one is None:
        return
    if one.outcome is Outcome.KEPT:
        yield f"all together beside {found.engine}: {found.metric} {_figure(one.gain)}"
    elif one.outcome is Outcome.UNTRIED:
        yield f"all together was not measured beside {found.engine}: {plain(one.reason)}"
    else:
        yield f"all together beside {found.engine} is {one.outcome} ({plain(one.reason)}): do not take it unseen"


def _keys(found: Tuned) -> str:
    changed = {key: value for key, value in found.tuned.items() if found.start.get(key) != value}
    return ", ".join(f"{key} {_flat(value)}" for key, value in changed.items())


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {item}" for key, item in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def _row(one: TunedStep) -> tuple[str, ...]:
    pairs = str(one.rounds) if one.rounds else ABSENT
    return one.words, one.outcome.value, _figure(one.gain), _figure(one.loss), pairs, duration(one.seconds)


def _figure(one: Figure | None) -> str:
    if one is None:
        return ABSENT
    around = f" [{one.low * 100:+.1f}, {one.high * 100:+.1f}]" if one.low != one.high else ""
    return f"{percent(one.change, sign='+')}{around}"


def _page(found: Tuned) -> Iterator[str]:
    made = found.environment
    yield f"# {found.engine} tuned for {found.goal}"
    yield ""
    yield from (f"- {line}" for line in _result(found))
    yield f"- judged by `{found.metric}` of `{found.workload}`; at most {percent(found.max_loss)} of perplexity lost"
    yield f"- suite `{found.suite}`, on {made.product}, {found.started}: " + ", ".join(
        f"{name} {version}" for name, version in made.versions.items()
    )
    yield ""
    head = ("step", "outcome", "before", "after", "change [99 %]", "loss [99 %]", "pairs", "time", "why")
    yield from markdown_rows([head, *(_wide(found, one) for one in _all(found))])
    yield ""


def _all(found: Tuned) -> Sequence[TunedStep]:
    return (*found.steps, *((found.whole,) if found.whole else ()))


def _wide(found: Tuned, one: TunedStep) -> tuple[str, ...]:
    unit = CATALOGUE[found.metric].unit
    words, outcome, gain, loss, pairs, time = _row(one)
    values = quantity(one.before, unit), quantity(one.after, unit, like=one.before)
    return words, outcome, *values, gain, loss, pairs, time if one.seconds else ABSENT, plain(one.reason)
