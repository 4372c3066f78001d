"""What quantising came to, as quantization.json, as Markdown and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from perfgate.metrics import CATALOGUE, Unit
from perfgate.percent import percent
from perfgate.quantise_record import Attempt, Gain, Outcome, Quantised, TextLoss
from perfgate.record import encode_pretty, write_atomic
from perfgate.report.rows import markdown_rows

_WORDS = {
    "engine_bytes": "engine size",
    "peak_memory_bytes": "peak memory",
    "peak_gpu_memory_bytes": "peak GPU memory",
    "load_s": "load time",
    "ttft_mean": "TTFT, mean",
    "tpot_mean": "TPOT, mean",
    "output_tokens_per_s": "output tokens/s",
    "task_accuracy": "task accuracy",
}


def write_quantised(found: Quantised, out: Path) -> list[Path]:
    """quantization.json and quantization.md in the folder."""
    out.mkdir(parents=True, exist_ok=True)
    files = {out / "quantization.json": encode_pretty(found), out / "quantization.md": "\n".join(_page(found)).encode()}
    for path, content in files.items():
        write_atomic(path, content)
    return list(files)


def quantised_lines(found: Quantised) -> list[str]:
    """For a terminal: attempts, the result beside its reference, what to do next."""
    best = found.best
    lines = [
        f"{found.outcome}: {best.name} ({_options(best)}): {best.reason}",
        *(f"  note: {one}" for one in best.notes),
    ]
    if len(found.attempts) > 1:
        lines += [
            "",
            *_aligned([("attempt", "options", "engine", "loss [99 %]", "verdict"), *map(_attempt, found.attempts)]),
        ]
    if best.gains:
        lines += ["", *_aligned([("", found.reference, best.name, "times"), *map(_row, best.gains)])]
    if best.calibration is not None:
        lines += ["", f"calibrated on {_calibration(best)}"]
    if found.outcome is not Outcome.ACCEPT:
        lines += ["", "next:", *(f"  {line}" for line in _next(best))]
    return lines


def _page(found: Quantised) -> Iterator[str]:
    best, made = found.best, found.environment
    yield f"# {found.engine}: {found.outcome}"
    yield ""
    yield f"`{best.name}` ({_options(best)}): {best.reason}."
    yield from (f"\n{one.capitalize()}." for one in best.notes)
    yield ""
    checkpoint = f"`{Path(found.checkpoint).name}`, {_size(found.checkpoint_bytes)}, digest {found.checkpoint_digest}"
    yield f"- checkpoint: {checkpoint}"
    yield f"- reference: `{found.reference}`; suite `{found.suite}`; backend {found.backend}"
    yield f"- calibration: {_calibration(best)}"
    yield f"- on {made.product}, {found.started}: " + ", ".join(f"{k} {v}" for k, v in made.versions.items())
    yield ""
    yield from markdown_rows(
        [("attempt", "options", "engine", "loss [99 %]", "verdict"), *map(_attempt, found.attempts)]
    )
    if best.gains:
        yield ""
        yield from markdown_rows([("", found.reference, best.name, "times [95 %]"), *map(_row, best.gains)])
    yield ""
    yield "## Steps"
    yield ""
    rows = [
        (one.name, step.name, f"{step.seconds:.1f} s", "kept" if step.is_kept else "")
        for one in found.attempts
        for step in one.steps
    ]
    yield from markdown_rows([("attempt", "step", "time", ""), *rows])
    if found.outcome is not Outcome.ACCEPT:
        yield ""
        yield "## Next"
        yield ""
        yield from (f"- {line}" for line in _next(best))
    yield ""


def _next(one: Attempt) -> list[str]:
    if one.following:
        return [f"{idea.what}: {idea.why}" for idea in one.following]
    if one.outcome is Outcome.FAILED:
        return ["mend what failed, and give the same command again: what is done is kept"]
    return ["nothing that this backend has is left to try: keep a higher precision, or allow a larger loss"]


def _attempt(one: Attempt) -> tuple[str, ...]:
    size = next((gain.value for gain in one.gains if gain.metric == "engine_bytes"), None)
    return one.name, _options(one), _size(size), _loss(one.worst), one.outcome.value


def _loss(one: TextLoss | None) -> str:
    if one is None or one.loss is None or one.low is None or one.high is None:
        return "not measured"
    return f"{percent(one.loss, sign='+')} [{one.low * 100:.1f}, {one.high * 100:.1f}]"


def _row(one: Gain) -> tuple[str, ...]:
    words = f"{_WORDS.get(one.metric, one.metric)}" + ("" if one.metric == "engine_bytes" else f" ({one.workload})")
    interval = f" [{one.low:.2f}, {one.high:.2f}]" if one.low is not None and one.high is not None else ""
    better = {True: " better", False: " worse", None: ""}[one.is_better]
    return words, _value(one.metric, one.reference), _value(one.metric, one.value), f"{one.ratio:.2f}{interval}{better}"


def _value(metric: str, value: float) -> str:
    match CATALOGUE[metric].unit:
        case Unit.BYTES:
            return _size(value)
        case Unit.SECONDS:
            return f"{value * 1000:.2f} ms" if value < 1 else f"{value:.2f} s"
        case _:
            return f"{value:,.4g}"


def _size(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:.1f} MB"


def _options(one: Attempt) -> str:
    given = [str(value) if key == "precision" else f"{key} {value}" for key, value in one.options.items()]
    return ", ".join(given)


def _calibration(one: Attempt) -> str:
    found = one.calibration
    if found is None:
        return "none"
    tokens = "an unknown number of tokens" if found.tokens is None else f"{found.tokens:,} tokens"
    return f"{found.file}, {found.texts} texts, {tokens}, sha256 {found.sha256[:16]}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
