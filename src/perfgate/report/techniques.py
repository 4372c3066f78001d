"""A page of techniques: per device what each costs and gives beside its reference, in Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import median

from perfgate.capabilities import Column
from perfgate.case import LatencyWork, ServingWork, WorkKind
from perfgate.record import Run, Side
from perfgate.report import claims
from perfgate.report.figures import ABSENT, count, plain, share
from perfgate.report.precision_table import precision_table
from perfgate.report.technique_cells import change, figure, table, with_times
from perfgate.technique_coverage import coverage
from perfgate.technique_sources import Origin, Source
from perfgate.techniques import BUILD, BYTES, ITL, MEMORY, QUALITY, SPEED, STEP, TTFT, Group, Measured, Row

HAND = "<!-- What stands below this line is written by hand, and kept when the page is made again. -->"
_ABOUT = """\
Factors are times as good as the reference engine, so that more is better for every metric, with a 95 % interval over
rounds (fresh processes): paired where rounds took turns, else Welch's; of perplexity over documents. `-`: not measured,
and the list at the end of each device says why. `old`: measured before the suite changed. `*`: engine and reference ran
in different sessions, so that what moved between them is in the factor."""


def page(groups: Sequence[Group], columns: Sequence[Column], command: str, by_hand: str = "") -> str:
    """The whole page. command: what makes it again. by_hand: what follows the generated part."""
    devices: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for group in groups:
        devices[group.device, group.product].append(group)
    blocks = [
        "# Techniques: what each costs and gives, measured",
        "Written by this command from runs, accepted baselines and load results; more of them may be named.",
        f"```\n{command}\n```",
        _ABOUT,
        *(block for mine in devices.values() for block in _device(mine, columns)),
        HAND,
        by_hand.strip(),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _device(groups: Sequence[Group], columns: Sequence[Column]) -> Iterator[str]:
    first = groups[0]
    yield f"## {plain(first.product)} ({plain(first.device)})"
    kind = [one for one in columns if one.device.is_gpu == (not first.device.startswith("cpu/"))]
    yield "### Quantisation by precision"
    yield precision_table(groups, kind)
    for group in groups:
        yield from _suite(group)
    yield "### Techniques measured here, and why others are not"
    told = (
        (one.technique, "; ".join(one.engines) if one.engines else f"not measured: {one.why}")
        for one in coverage(groups, kind)
    )
    yield table(("technique", "engines, or why not"), told, of_text=(0, 1))


def _suite(group: Group) -> Iterator[str]:
    yield f"### Suite {group.suite.name}"
    told = [line for source in group.sources for line in _provenance(source)]
    yield "\n".join(f"- {line}" for line in [*told, *_limits(group)])
    yield table(_ENGINE_HEAD, (_engine(row) for row in group.rows), of_text=(0, 1, 2, 8))
    for work in group.loads:
        head, rows = _load(group, work)
        yield f"Workload `{work.name}`: {_asked(work)}."
        yield table(head, rows)
    if claims.is_told(group.findings):
        yield "Claims of the field on these engines:"
        yield table(claims.HEADER, claims.rows(group.findings), of_text=(0, 1, 2, 3, 7))
        yield "\n".join(f"- {note}" for note in claims.notes(group.findings))


# ------------------------------------------------------------------ where figures come from


def _provenance(source: Source) -> Iterator[str]:
    run = source.run
    made = run.environment
    rounds = [one for one in run.rounds if one.side is Side.CANDIDATE]
    engines = {one.engine for one in rounds}
    commit = f", commit {plain(made.commit)}" if made.commit else ""
    began = f"begun {plain(run.started)}" if run.started else "no date told"
    yield (
        f"{source.origin} `{source.path}`: {began}, {count(sum(one.is_valid for one in rounds), 'valid round')} of "
        f"{count(len(engines), 'engine')}{commit}; "
        + ", ".join(f"{plain(k)} {plain(v)}" for k, v in sorted(made.versions.items()))
    )
    yield from _busy(run, source.origin)
    broken = {one.case: one.broken[0] for done in rounds for one in done.cases if one.broken}
    yield from (f"**broken output**, and so no figures, of {plain(case)}: {plain(why)}" for case, why in broken.items())
    invalid = dict.fromkeys(one.fault for one in rounds if one.fault)
    if invalid:
        yield "rounds that count for nothing: " + "; ".join(plain(why) for why in invalid if why)


def _limits(group: Group) -> Iterator[str]:
    """Of which limits shares are told."""
    if group.ceilings is None:
        if not all(source.origin is Origin.LOADS for source in group.sources):
            yield "no shares of the device's limits: they were not known to these rounds"
        return
    rate = group.ceilings.copy_bytes_per_s
    low, middle, high = (f"{one / 1e9:,.1f}" for one in (rate.low, rate.median, rate.high))
    measured = plain(group.ceilings.measured)
    yield f"shares are of the device's limits as measured {measured}: copies {middle} GB/s ({low} to {high})"


_BUSY = 0.1  # of a machine's CPU time taken by others; an idle machine's own services take about 1 %


def _busy(run: Run, origin: Origin) -> Iterator[str]:
    """What others took of the machine, as the rounds themselves saw it."""
    if origin is not Origin.RUN:
        return
    timed = (
        one for one in run.rounds if one.is_valid and any("output_tokens_per_s" in case.values for case in one.cases)
    )
    taken = [one.host.foreign_cpu_share + one.host.steal_share for one in timed]
    if not taken:
        return
    middle = median(taken)
    word = "**the machine was busy**: " if middle > _BUSY else ""
    yield (
        f"{word}other programs and the hypervisor took {share(middle)} of the machine in the middle round "
        f"({share(min(taken))} to {share(max(taken))})"
    )


def _asked(work: LatencyWork | ServingWork) -> str:
    streams = count(work.concurrency, "stream") if work.concurrency else "an open loop"
    lengths = (work.input_len, work.output_len) if isinstance(work, LatencyWork) else (work.isl, work.osl)
    return f"{streams}, ISL/OSL {lengths[0]}/{lengths[1]}, {count(work.requests, 'request')} a round"


# ------------------------------------------------------------------ tables

_ENGINE_HEAD = (
    "engine", "differs from", "in", "build", "engine bytes", "peak memory", "perplexity", "change, 95 %",
    "claims of the field",
)  # fmt: skip


def _engine(row: Row) -> tuple[str, ...]:
    build, text = row.of(WorkKind.BUILD), row.of(WorkKind.PERPLEXITY)
    reference = row.reference.name if row.reference else ABSENT
    return (
        f"`{row.engine.name}`",
        reference,
        plain("; ".join(row.differs)) or ABSENT,
        figure(build, BUILD),
        with_times(build, BYTES),
        with_times(build, MEMORY),
        figure(text, QUALITY),
        change(text, QUALITY),
        claim_words(row) or ABSENT,
    )


def _load(group: Group, work: LatencyWork | ServingWork) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The head and the rows of a workload's table; columns that no engine has are left out."""
    found = [(row, one) for row in group.rows if (one := row.at(work.name))]
    rows = [
        (
            f"`{row.engine.name}`{' old' if one.is_old else ''}",
            with_times(one, TTFT),
            with_times(one, ITL),
            with_times(one, SPEED),
            with_times(one, STEP),
            *_limit(one),
        )
        for row, one in found
    ]
    head = ("engine", "TTFT", "ITL", "output tokens/s", "device decode step", "MBU decode", "x least", "MFU prefill")
    kept = [at for at in range(len(head)) if at == 0 or any(row[at] != ABSENT for row in rows)]
    return tuple(head[at] for at in kept), [tuple(row[at] for at in kept) for row in rows]


def _limit(one: Measured) -> tuple[str, str, str]:
    """Lower bounds of MFU are left out: of prompts that wait for each other they tell nothing."""
    if one.limit is None:
        return ABSENT, ABSENT, ABSENT
    decode, prefill = one.limit.decode, one.limit.prefill
    least = f"{decode.distance.times:.3g}" if decode.distance else ABSENT
    return share(decode.share), least, ABSENT if prefill.is_least else share(prefill.share)


def claim_words(row: Row) -> str:
    """'int8: speed holds, memory partly'."""
    by_claim: dict[str, list[str]] = defaultdict(list)
    for one in row.findings:
        by_claim[one.asked.claim.name].append(f"{one.asked.check.name} {one.standing}")
    return "; ".join(f"{name}: {', '.join(said)}" for name, said in by_claim.items())
