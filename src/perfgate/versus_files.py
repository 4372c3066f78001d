"""Folders of load results, one a backend: `concurrency_16.json`, or `round_1/concurrency_16.json` of several rounds.

The files are in the key names of `benchmark_serving`: ours (`perfgate.load.bench_json`), vLLM's and TensorRT-LLM's.
A file that cannot be used is an invalid result with its reason; it does not keep the others from being compared.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfgate.errors import UsageError
from perfgate.foreign_json import ForeignJsonError, read_json
from perfgate.metrics import Unit
from perfgate.record import printable
from perfgate.versus import COMPARED, About, Result, Side

_FILE, _ROUND = re.compile(r"concurrency_([1-9]\d{0,6})\.json"), re.compile(r"round_([1-9]\d{0,5})")
_OURS = "perfgate"
# Words for the header, by the names that files give them; `--metadata tp=2` of benchmark_serving puts them on top.
_FACTS = (
    "engine", "backend", "version", "versions", "precision", "dtype", "kv_cache_dtype", "tp", "pp", "quantization",
    "device", "product", "driver",
)  # fmt: skip
_SHOWN = 200  # characters of a fact or of a value that is not what it should be
_LEAST, _MOST = 1e-9, 1e12  # milliseconds or tokens/s: far beyond what can be, and ratios of such stay numbers
_MOST_REASONS = 3  # shown of one run


def read_sides(asked: Mapping[str, Path]) -> list[Side]:
    """The sides by their names, each from its folder.

    Raises:
        UsageError: a folder is missing, has no results, or mixes both layouts.
    """
    return [read_side(name, folder) for name, folder in asked.items()]


def read_side(name: str, folder: Path) -> Side:
    """Everything measured of one backend; see `read_sides`."""
    if not folder.is_dir():
        raise UsageError(f"{name}: {folder} is not a folder; expected one with concurrency_N.json, or round_K folders")
    rounds = {int(found[1]): path for path in folder.iterdir() if (found := _ROUND.fullmatch(path.name))}
    flat = _files(folder)
    if flat and rounds:
        raise UsageError(
            f"{name}: {folder} has concurrency_N.json and round_K folders; expected one of the two: "
            "move the single files into a round_K folder of their own"
        )
    by_round = {1: flat} if flat else {number: _files(path) for number, path in sorted(rounds.items())}
    results = tuple(_result(path, number, level) for number, files in by_round.items() for level, path in files)
    if not results:
        raise UsageError(
            f"{name}: no concurrency_N.json in {folder} or in its round_K folders; `perfgate serve-bench "
            "--concurrency` writes them, and benchmark_serving with --result-filename concurrency_16.json"
        )
    return Side(name, folder, results)


def _files(folder: Path) -> list[tuple[int, Path]]:
    named = ((path, _FILE.fullmatch(path.name)) for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted((int(found[1]), path) for path, found in named if found)


def _result(path: Path, number: int, level: int) -> Result:
    plain = _plain(path)
    if isinstance(plain, str):
        return Result(path, number, level, {}, {}, (plain,), About({}))
    invalid = tuple(_shortened([*_why_invalid(plain, level)]))
    values, absent = _values(plain)
    if invalid:
        values, absent = {}, {}
    return Result(path, number, level, values, absent, invalid, _about(plain))


def _plain(path: Path) -> dict[str, Any] | str:
    """The JSON object of a file, or why there is none."""
    try:
        found = read_json(path)
    except OSError as exc:
        return f"{path.name} cannot be read: {exc.strerror}"
    except ForeignJsonError as exc:
        return f"{path.name} {_short(exc)}"
    return found if isinstance(found, dict) else f"{path.name} holds a {type(found).__name__}, expected a JSON object"


# ------------------------------------------------------------------ validity


def _why_invalid(plain: Mapping[str, Any], level: int) -> Iterator[str]:
    """Reasons not to use a run: what it says itself, failures, no successes, another concurrency than its name's."""
    own = list(_own_reasons(plain.get(_OURS)))
    yield from own
    completed, failed = _failures(plain)
    if failed is None and not own:
        yield "it does not say how many requests failed: expected the key failed, or num_prompts and completed"
    if failed:
        yield f"{failed} requests failed, {completed if completed is not None else 'an unknown number'} completed"
    if completed == 0:
        yield "no request was completed"
    said = plain.get("max_concurrency")
    if said is not None and said != level:
        yield f"its max_concurrency is {_short(said)}, its name says {level}"


def _own_reasons(ours: object) -> Iterator[str]:
    reasons = ours.get("invalid", []) if isinstance(ours, dict) else []
    for reason in reasons if isinstance(reasons, list) else [reasons]:
        yield _short(reason)


def _failures(plain: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Requests completed and failed, None where the file does not tell."""
    completed, failed, sent = (_count(plain.get(key)) for key in ("completed", "failed", "num_prompts"))
    lost = None if completed is None or sent is None else sent - completed
    return completed, lost if failed is None else max(failed, lost or 0)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _shortened(reasons: list[str]) -> list[str]:
    left = len(reasons) - _MOST_REASONS
    return reasons if left <= 0 else [*reasons[:_MOST_REASONS], f"and {left} more reasons"]


# ------------------------------------------------------------------ values


def _values(plain: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Values in seconds and tokens/s by metric, and why others are absent."""
    values, absent = {}, {}
    for metric in COMPARED:
        key = field_key(metric.name)
        found = _positive(plain, key)
        if isinstance(found, str):
            absent[metric.name] = found
        else:
            values[metric.name] = found * 1e-3 if metric.unit == Unit.SECONDS else found
    return values, absent


def field_key(metric: str) -> str:
    """The key of `benchmark_serving` for one of the compared metrics: 'ttft_p99' is 'p99_ttft_ms'."""
    if metric == "output_tokens_per_s":
        return "output_throughput"
    stem, _, word = metric.partition("_")
    return f"{word}_{stem}_ms"


def _positive(plain: Mapping[str, Any], key: str) -> float | str:
    """The number under a key, or one line on what is wrong with it."""
    if key not in plain:
        return f"{key} is not in the file: {_advice(key)}"
    value = plain[key]
    if value is None:
        return f"{key} is null: not measured, or made infinite by failures"
    number = _number(value)
    if number is None or not math.isfinite(number):
        return f"{key} is {_short(json.dumps(value))}, expected a number above 0"
    if number <= 0:
        return f"{key} is {number:g}: nothing was measured"
    if not _LEAST <= number <= _MOST:
        return f"{key} is {number:g}, expected a number from {_LEAST:g} to {_MOST:g}"
    return number


def _advice(key: str) -> str:
    if "e2el" in key:
        return "benchmark_serving writes it with --percentile-metrics ttft,tpot,itl,e2el"
    return "not asked for, not told by the server, or of too few samples"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


# ------------------------------------------------------------------ what it is about


def _about(plain: Mapping[str, Any]) -> About:
    raw = plain.get(_OURS)
    ours = raw if isinstance(raw, dict) else {}
    told = ours.get("about")
    facts = dict(plain) | (told if isinstance(told, dict) else {})
    named = {"model": facts.get("model", plain.get("model_id"))} | {key: facts.get(key) for key in _FACTS}
    completed = _count(plain.get("completed"))
    return About(
        {key: _fact(value) for key, value in named.items() if value not in (None, "", {}, [])},
        _count(plain.get("num_prompts")),
        _mean(plain.get("total_input_tokens"), completed),
        _mean(plain.get("total_output_tokens"), completed),
        "perfgate" if ours else "benchmark_serving",
    )


def _mean(total: object, count: int | None) -> float | None:
    number = _number(total)
    return number / count if number is not None and math.isfinite(number) and count else None


def _fact(value: object) -> str:
    return _short(", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else value)


def _short(value: object) -> str:
    text = printable(str(value))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
