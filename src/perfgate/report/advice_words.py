"""Advice in words: blocks of sentences, tables and lines to paste, the same for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perfgate.advising.advice import Advice, Limit, Next
from perfgate.advising.evidence import Evidence, Finding
from perfgate.advising.goals import AIMS
from perfgate.advising.price import TokenPrice
from perfgate.advising.quality import Quality
from perfgate.advising.ranking import Line
from perfgate.advising.room import USABLE, Room
from perfgate.metrics import Unit
from perfgate.percent import percent
from perfgate.report.figures import ABSENT, interval, plain, quantity, share
from perfgate.report.versus_words import bounds, ratio_digits
from perfgate.versus import Ratio

Cells = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the page: sentences, then a table, then lines to paste; each may be empty.

    of_text: columns of the table that begin at the left.
    """

    title: str
    sentences: tuple[str, ...] = ()
    head: Cells = ()
    rows: tuple[Cells, ...] = ()
    of_text: tuple[int, ...] = (0, 1)
    paste: tuple[str, ...] = ()


RANKED = ("standing", "engine", "technique", "against", "gain", "loss of perplexity", "why")
_EVIDENCE = ("", "case", "metric", "reference", "engine", "times as good", "interval", "rounds", "runs")
_LIMITS = ("engine", "case", "MBU decode", "goes to", "MFU prefill", "goes to", "device busy", "first token", "run")
_ROOMS = ("engine", "weights", "KV of a token", "device", "tokens that fit", "sequences", "of", "")
_PRICES = ("case", "a million tokens", "95 % interval", "tokens/s", "devices", "J/token", "rounds", "run")
_BUSY = "device busy: share of a decode step; first token: share of a request's time"


def title(advice: Advice) -> str:
    """What was asked, of what."""
    goal = f"{advice.goal}: {AIMS[advice.goal].about}"
    return plain(f"advice for {goal}; suite {advice.suite} on {advice.device} ({advice.product})")


def blocks(advice: Advice) -> Iterator[Block]:
    """The whole page below its title, in order."""
    number = {name: f"[{place}]" for place, name in enumerate(advice.sources, 1)}
    yield Block("", (f"read: {', '.join(f'{number[one]} {plain(one)}' for one in advice.sources)}",))
    if advice.lines:
        yield Block("", (), RANKED, tuple(map(ranked_row, advice.lines)), (0, 1, 2, 3, 5, 6))
    else:
        yield Block("", ("no two engines of one model were measured on a workload that both share",))
    yield from (_evidence(one, number) for one in advice.lines)
    if advice.next:
        said = tuple(f"{names}: {reason}" for names, reason in _grouped(advice.next))
        yield Block("Try next (not measured)", said)
    if advice.suite_lines:
        yield Block("To measure these, add to the suite what you want of", paste=advice.suite_lines)
    yield from _beside(advice, number)
    if advice.notes:
        yield Block("Notes", tuple(map(plain, advice.notes)))


def ranked_row(one: Line) -> Cells:
    """A technique as RANKED names its cells."""
    gain = f"{ratio_digits(one.gain)}x" + (f" over {len(one.decides)}" if len(one.decides) > 1 else "")
    cells = (one.standing, one.engine, one.technique, one.reference, gain, _loss(one.quality), one.reason)
    return tuple(map(plain, cells))


def _loss(one: Quality) -> str:
    if one.loss is None:
        return one.cost.value
    return f"{share(one.loss)} {interval(one.low, one.high)} {one.cost}"


# ------------------------------------------------------------------ evidence


def _evidence(one: Line, number: dict[str, str]) -> Block:
    head = f"{one.standing}: {one.engine} ({one.technique}) against {one.reference}"
    costs = [each for each in one.beside if each.finding is Finding.WORSE]
    rows = [_evidence_row(each, number) for each in (*one.decides, *costs)]
    said = [f"next: {one.next}"] if one.next else []
    said += _quality(one.quality, number) + _given_too(one.beside)
    return Block(plain(head), tuple(map(plain, said)), _EVIDENCE, tuple(rows), (0, 1, 2, 7, 8))


def _evidence_row(one: Evidence, number: dict[str, str]) -> Cells:
    times = Ratio(one.times, one.low, one.high)
    runs = number[one.run] if one.run == one.reference_run else f"{number[one.run]} / {number[one.reference_run]}"
    shown = "exact" if one.basis == "exact" else f"{bounds(times)} at {percent(one.confidence)}"
    rounds = f"{one.rounds} and {one.reference_rounds}" if one.basis == "exact" else one.basis
    more = f"; {one.more_rounds} more would decide" if one.more_rounds else ""
    return tuple(map(plain, (
        one.finding, one.case, one.metric, quantity(one.reference, one.unit, like=one.value),
        quantity(one.value, one.unit), f"{ratio_digits(one.times)}x", shown, f"{rounds}{more}", runs,
    )))  # fmt: skip


def _given_too(beside: Sequence[Evidence]) -> list[str]:
    """'it gives too: ttft_tmean 1.50x to 1.56x (6 cases)'; advice.json has each."""
    found: dict[str, list[float]] = {}
    for one in beside:
        if one.finding is Finding.BETTER:
            found.setdefault(one.metric, []).append(one.times)
    said = [f"{metric} {_span(times)}" for metric, times in found.items()]
    return [f"it gives too: {', '.join(said)} (advice.json has each)"] if said else []


def _span(times: Sequence[float]) -> str:
    low, high = ratio_digits(min(times)), ratio_digits(max(times))
    return f"{low}x in 1 case" if len(times) == 1 else f"{low}x to {high}x in {len(times)} cases"


def _quality(one: Quality, number: dict[str, str]) -> list[str]:
    if one.loss is None:
        return []
    documents = f"{one.documents} documents" if one.documents else "pairs of configurations"
    runs = dict.fromkeys(number[name] for name in (one.run, one.reference_run))
    where = f"{one.case}: " if one.case else ""
    loss = f"loss of perplexity {share(one.loss)} {interval(one.low, one.high)}"
    return [f"{where}{loss}, {one.reason}; {documents}; {' / '.join(runs)}"]


# ------------------------------------------------------------------ what to try


def _grouped(every: Sequence[Next]) -> Iterator[tuple[str, str]]:
    """Techniques of one reason together; each with what it can give at most, and its name where the suite has it."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in every:
        most = f" at most {one.most:.2f}x" if one.most is not None else ""
        there = f" in the suite as {one.known_as}" if one.known_as else ""
        more = f" ({(most + (',' if most and there else '') + there).strip()})" if most or there else ""
        found.setdefault((one.engine, one.reason), []).append(f"{one.technique}{more}")
    for (engine, reason), names in found.items():
        yield plain(f"{', '.join(names)}, on top of {engine}"), plain(reason)


# ------------------------------------------------------------------ tables beside


def _beside(advice: Advice, number: dict[str, str]) -> Iterator[Block]:
    if advice.limits:
        rows = tuple(_limit(one, number) for one in advice.limits)
        yield Block("What the time goes to", (_BUSY,), _LIMITS, rows, (0, 1, 3, 5, 8))
    if advice.rooms:
        how = (
            f"arithmetic of the model's shape; {percent(USABLE, 0)} of the memory where an engine is told nothing else"
        )
        yield Block("Room for the KV cache", (how,), _ROOMS, tuple(map(_room, advice.rooms)), (0, 7))
    if advice.prices:
        given = "no price is known: give --price 2.50/h" if advice.price_per_h is None else ""
        said = given or f"at {advice.price_per_h:g} for the hour of a device"
        yield Block(
            "Prices of output tokens", (said,), _PRICES, tuple(_price(one, number) for one in advice.prices), (0, 7)
        )


def _limit(one: Limit, number: dict[str, str]) -> Cells:
    return tuple(map(plain, (
        one.engine, one.case, share(one.mbu_decode), one.decode_goes_to or ABSENT, share(one.mfu_prefill),
        one.prefill_goes_to or ABSENT, share(one.busy), share(one.prompt_share), number[one.run],
    )))  # fmt: skip


def _room(one: Room) -> Cells:
    return tuple(map(plain, (
        one.engine, _bytes(one.weight_bytes), _bytes(one.kv_bytes_per_token), _bytes(one.device_bytes),
        _count(one.tokens), _count(one.sequences), f"{one.length:,} tokens", one.why,
    )))  # fmt: skip


def _price(one: TokenPrice, number: dict[str, str]) -> Cells:
    between = ABSENT if one.low is None or one.high is None else f"[{one.low:,.3g}, {one.high:,.3g}]"
    return tuple(map(plain, (
        one.case, ABSENT if one.price is None else f"{one.price:,.4g}", between, f"{one.tokens_per_s:,.4g}",
        str(one.devices), ABSENT if one.energy_j is None else f"{one.energy_j:.3g}", str(one.rounds), number[one.run],
    )))  # fmt: skip


def _bytes(size: float | None) -> str:
    if size is None:
        return ABSENT
    return f"{size / 1e9:,.2f} GB" if size >= 1e9 else quantity(size, Unit.BYTES)  # noqa: PLR2004


def _count(number: int | None) -> str:
    return ABSENT if number is None else f"{number:,}"
