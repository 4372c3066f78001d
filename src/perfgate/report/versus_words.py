"""A comparison of backends in words: what is faster or higher and by how much, units, and what was compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from perfgate.metrics import Better, Metric, Unit
from perfgate.percent import percent
from perfgate.versus import CONFIDENCE, Cell, Ratio, Result, Side, Versus, place

_ALIKE = 0.01  # relative difference of mean lengths that is still the same work
_NAMES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "E2EL"}
FAR = 1000  # ratios beyond are not told in digits: intervals of two rounds reach any size
_SAME = 0.005  # a ratio this close to 1 is 'the same' in the digits shown


def title(metric: Metric) -> str:
    """'TTFT p99', 'output tokens/s'."""
    stem, _, word = metric.name.partition("_")
    return f"{_NAMES[stem]} {word}" if stem in _NAMES else metric.name.replace("_per_s", "/s").replace("_", " ")


def in_words(metric: Metric, times: float) -> str:
    """A ratio by the metric's direction: a latency of 0.5 is '2.00x faster', a throughput of 2 is '2.00x higher'."""
    if abs(times - 1) < _SAME:
        return "the same"
    larger, smaller = ("slower", "faster") if metric.better is Better.LOWER else ("higher", "lower")
    size = times if times > 1 else 1 / times if times > 0 else float("inf")
    shown = ratio_digits(size) if size < FAR else f"over {FAR:,}"
    return f"{shown}x {larger if times > 1 else smaller}"


def bounds(one: Ratio) -> str:
    """'[0.481, 0.552]', or that there is no interval."""
    if one.low is None or one.high is None:
        return "no interval"
    low = ratio_digits(one.low) if one.low * FAR > 1 else f"< {1 / FAR:g}"
    high = ratio_digits(one.high) if one.high < FAR else f"> {FAR:,}"
    return f"[{low}, {high}]"


def ratio_digits(value: float) -> str:
    """Three significant digits: 0.512, 2.05, 31.4, 1,203."""
    if value >= 100:  # noqa: PLR2004
        return f"{value:,.0f}"
    places = 1 if value >= 10 else 2 if value >= 1 else 3  # noqa: PLR2004
    return f"{value:.{places}f}" if value >= 0.1 else f"{value:.3g}"  # noqa: PLR2004


def amount(metric: Metric, value: float) -> str:
    """A figure of a side in milliseconds or tokens/s, without its unit."""
    shown = value * 1e3 if metric.unit == Unit.SECONDS else value
    return f"{shown:,.0f}" if shown >= 1000 else f"{shown:.4g}"  # noqa: PLR2004


def unit(metric: Metric) -> str:
    return "ms" if metric.unit == Unit.SECONDS else str(metric.unit)


# ------------------------------------------------------------------ conclusions


def conclusion(versus: Versus, metric: Metric, side: str) -> str:
    """One line on a metric of a side, over all concurrencies."""
    parts = [said(versus.cell(metric.name, level, side)) for level in versus.concurrencies]
    return f"{title(metric)}: {side} " + "; ".join(parts)


def said(cell: Cell) -> str:
    """A cell in a sentence: '2.00x faster at 16 (1.91x to 2.09x)'."""
    at = f"at {cell.concurrency}"
    one = cell.ratio
    if one is None:
        return f"not comparable {at}"
    words = in_words(cell.metric, one.value)
    if one.low is None or one.high is None:
        return f"{words} {at} (no interval)"
    ends = [in_words(cell.metric, end) for end in sorted((one.low, one.high), reverse=one.value < 1)]
    if not one.is_different:
        return f"no difference shown {at} ({ends[0]} to {ends[1]})"
    return f"{words} {at} ({' to '.join(end.rpartition(' ')[0] for end in ends)})"


# ------------------------------------------------------------------ what was compared


def shared(versus: Versus) -> dict[str, str]:
    """What the files tell alike of all sides."""
    first, *others = (told(side) for side in versus.sides)
    return {key: value for key, value in first.items() if all(one.get(key) == value for one in others)}


def told(side: Side) -> dict[str, str]:
    """What the files tell of a side: its engine, the work it was given, its rounds, and who measured."""
    facts: dict[str, list[str]] = {}
    for one in side.results:
        for key, value in one.about.facts.items():
            found = facts.setdefault(key, [])
            if value not in found:
                found.append(value)
    own = {key: " | ".join(values) for key, values in facts.items()}
    names = sorted({one.about.client for one in side.results if one.about.client})
    client = {"client": " and ".join(names)} if names else {}
    return own | _work(side) | {"rounds": str(len(side.rounds))} | client


def phrased(facts: Mapping[str, str]) -> str:
    """'precision bf16, tp 2'."""
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def own(versus: Versus, side: Side) -> str:
    """What is told of a side and not alike of all."""
    common = shared(versus)
    return phrased({key: value for key, value in told(side).items() if key not in common})


def _work(side: Side) -> dict[str, str]:
    lengths = [(one.about.input_tokens, one.about.output_tokens) for one in side.results if not one.invalid]
    known = [(put, out) for put, out in lengths if put is not None and out is not None]
    if not known:
        return {}
    inputs, outputs = zip(*known, strict=True)
    return {"mean ISL": _span(inputs), "mean OSL": _span(outputs)}


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"


def cautions(versus: Versus) -> Iterator[str]:
    """Why a comparison is less than like for like, or its figures less than proof."""
    if any(one.ratio is not None and one.ratio.low is None for one in versus.cells):
        yield (
            "some ratios have no interval: a side has one valid round there. Requests of one process do not tell how "
            "the next process runs; measure two rounds or more, each with a fresh server"
        )
    clients = {one.about.client for side in versus.sides for one in side.results if one.about.client}
    if len(clients) > 1:
        yield (
            "the sides were measured by different clients, which count TTFT, ITL and tokens differently and are late "
            "differently under load; measure both with one"
        )
    for side in versus.sides[1:]:
        yield from _unlike(versus, side)


def _unlike(versus: Versus, side: Side) -> Iterator[str]:
    for level in versus.concurrencies:
        ours, theirs = (_first_valid(one.at(level)) for one in (side, versus.reference))
        if ours is None or theirs is None:
            continue
        for what, a, b in (
            ("input tokens", theirs.about.input_tokens, ours.about.input_tokens),
            ("output tokens", theirs.about.output_tokens, ours.about.output_tokens),
        ):
            if a is not None and b is not None and abs(a - b) > _ALIKE * max(a, b):
                yield (
                    f"not the same work at concurrency {level}: {versus.reference.name} {a:.4g} {what} a request, "
                    f"{side.name} {b:.4g}"
                )
        if None not in (counts := (theirs.about.requests, ours.about.requests)) and counts[0] != counts[1]:
            yield (
                f"not the same work at concurrency {level}: {versus.reference.name} {counts[0]} requests, "
                f"{side.name} {counts[1]}"
            )
    parallel = [_facts(one, "tp") for one in (versus.reference, side)]
    if all(parallel) and parallel[0] != parallel[1]:
        yield (
            f"the sides use different numbers of devices: {versus.reference.name} tp {parallel[0]}, "
            f"{side.name} tp {parallel[1]}; figures are of whole servers, not per device"
        )
    models = [_facts(one, "model") for one in (versus.reference, side)]
    if all(models) and models[0] != models[1]:
        yield f"the models have different names: {versus.reference.name} {models[0]}, {side.name} {models[1]}"


def _facts(side: Side, key: str) -> str:
    """The words for a fact; a path counts by its last part, wherever the tree lies."""
    found = {one.about.facts[key].rstrip("/").rpartition("/")[2] for one in side.results if key in one.about.facts}
    return ", ".join(sorted(found))


def _first_valid(results: Sequence[Result]) -> Result | None:
    return next((one for one in results if not one.invalid), None)


def left_out(versus: Versus) -> Iterator[str]:
    """Every invalid run with its reasons, and everything that is missing."""
    for side, result in versus.invalid:
        yield f"invalid: {side.name}, {place(result)}: {'; '.join(result.invalid)}"
    yield from (f"missing: {line}" for line in versus.missing)


def explained() -> str:
    """How figures and intervals are to be read."""
    return (
        f"figures are geometric means over rounds (fresh server processes); intervals are "
        f"{percent(CONFIDENCE, 0)} each, Welch's t over rounds on logarithms; of many intervals some miss by chance"
    )
