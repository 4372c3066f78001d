"""What a suite says of quantising: an engine's `quantisation`, and the section `quantize:`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from perfgate.case import PLAIN, Outer, Precision, Quantisation
from perfgate.quality_suite import Reference
from perfgate.schema import Choice, FilePath, Flag, Fraction, ListOf, Record, Text, Whole, nearest

ROUNDS, TRIES = 3, 6

QUANTISATION = Record(
    {
        "group_size": Whole(-1, 65536),
        "symmetric": Flag(),
        "int4_share": Fraction(1.0),
        "outer": Choice.of(Outer),
        "scale_estimation": Flag(),
        "smoothing": Fraction(1.0),
        "calibration": FilePath(),
        "calibration_texts": Whole(1, 100_000),
        "calibration_tokens": Whole(8, 1_000_000),
    },
    docs={
        "group_size": "weights that share a scale; -1: all of a channel",
        "int4_share": "of the weights in 4 bits; the most sensitive others stay in 8",
        "outer": "precision of embeddings and output head beside 4-bit weights",
        "scale_estimation": "scales that lose least on the calibration texts",
        "smoothing": "SmoothQuant's alpha",
        "calibration": "JSON Lines with the keys id and text",
        "calibration_tokens": "of each text, at most",
    },
)

_NAME = Text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}", "the name of an engine of this suite")
QUANTIZE = Record(
    {"engines": ListOf(_NAME), "rounds": Whole(1, 1000), "try": Flag(), "tries": Whole(1, 100)},
    docs={
        "engines": "quantised engines that have a reference (default: all such)",
        "rounds": "measuring processes of each engine and of its reference",
        "try": "go through the next things to try until one is accepted",
        "tries": "how many of them at most",
    },
)


@dataclass(frozen=True, slots=True)
class QuantiseSection:
    """Which engines `perf_tests/test_quantization.py` takes through the workflow, and how thoroughly."""

    engines: tuple[str, ...]
    rounds: int = ROUNDS
    tries: int = 0  # further ones, each with other options


def read_quantisation(raw: Mapping[str, Any]) -> Quantisation:
    plain = dict(raw)
    if "outer" in plain:
        plain["outer"] = Outer(plain["outer"])
    return Quantisation(**plain)


def read_section(raw: Mapping[str, Any], references: Iterable[Reference], quantised: Iterable[str]) -> QuantiseSection:
    """The section without conflicts; `quantised`: names of engines whose weights are quantised."""
    known = {one.engine for one in references}
    engines = raw.get("engines") or tuple(name for name in quantised if name in known)
    tries = raw.get("tries", TRIES) if raw.get("try") else 0
    return QuantiseSection(tuple(engines), raw.get("rounds", ROUNDS), tries)


def quantisation_conflicts(where: str, engine: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """What contradicts what in an engine's quantisation, whatever the backend."""
    options = engine.get("quantisation")
    if options is None:
        return
    where = f"{where}.quantisation" if where else "quantisation"
    precision = engine.get("precision", Precision.FP32)
    if precision in PLAIN:
        yield where, f"{precision} quantises nothing; set precision to a quantised one, or remove it"
    if options.get("group_size") == 0:
        yield f"{where}.group_size", "found 0, expected 1 or more, or -1 for a whole channel"
    if "calibration" not in options:
        for key in ("calibration_texts", "calibration_tokens"):
            if key in options:
                yield f"{where}.{key}", "there are no calibration texts; name them: calibration: texts.jsonl"


def section_conflicts(raw: Mapping[str, Any], engines: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """Faults of `quantize:`; `engines` with the keys of `defaults`."""
    section = raw["quantize"]
    for name in section.get("engines", ()):
        if name not in engines:
            yield (
                "quantize.engines",
                f"no '{name}' under engines; there: {', '.join(engines)}{nearest(name, list(engines))}",
            )
        elif engines[name].get("precision", Precision.FP32) in PLAIN:
            yield "quantize.engines", f"'{name}' is not quantised: set its precision to a quantised one"
    if "quality" not in raw and not any("quality" in one for one in engines.values()):
        yield "quantize", "no reference to measure losses from: name one under quality"
    if "tries" in section and not section.get("try"):
        yield "quantize.tries", "is read only with try: true"
