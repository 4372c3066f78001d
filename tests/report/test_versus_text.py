from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from perfgate.metrics import CATALOGUE
from perfgate.report.versus_text import summary
from perfgate.report.versus_words import in_words
from perfgate.versus import Versus, compare_sides
from perfgate.versus_files import read_sides
from versus_examples import bench, write_side

SLOW, FAST = (1.0, 1.02, 0.98), (0.5, 0.51, 0.49)


def compared(folder: Path, **sides: Sequence[Mapping[int, object]]) -> Versus:
    return compare_sides(read_sides({name: write_side(folder / name, rounds) for name, rounds in sides.items()}))


def rounds(*factors: float) -> list[dict[int, object]]:
    return [{16: bench(16, factor)} for factor in factors]


@pytest.mark.parametrize(
    ("metric", "times", "words"),
    [
        ("ttft_mean", 0.5, "2.00x faster"),
        ("ttft_mean", 1.8, "1.80x slower"),
        ("output_tokens_per_s", 1.8, "1.80x higher"),
        ("output_tokens_per_s", 0.5, "2.00x lower"),
        ("itl_p99", 1.001, "the same"),
        ("itl_p99", 0.01, "100x faster"),
        ("itl_p99", 1e-9, "over 1,000x faster"),
        ("itl_p99", float("inf"), "over 1,000x slower"),
        ("itl_p99", 0.0, "over 1,000x faster"),
    ],
)
def test_a_ratio_is_worded_by_the_direction_of_its_metric(metric: str, times: float, words: str) -> None:
    assert in_words(CATALOGUE[metric], times) == words


def test_ratios_stand_with_their_intervals_and_a_conclusion_for_each_metric(tmp_path: Path) -> None:
    text = summary(compared(tmp_path, torch=rounds(*SLOW), fast=rounds(*FAST)))

    lines = text.splitlines()
    assert "concurrency 16: torch 3 rounds, fast 3 rounds" in lines
    row = next(line.split() for line in lines if line.startswith("  TTFT mean, ms"))
    assert row[3:6] == ["49.99", "25", "0.500"]
    assert row[-2:] == ["2.00x", "faster"]
    assert "  TTFT mean: fast 2.00x faster at 16 (1.91x to 2.09x)" in lines
    assert "  output tokens/s: fast 2.00x higher at 16 (1.91x to 2.09x)" in lines
    assert sum(" fast " in line and " at 16 " in line for line in lines) == 9


def test_what_differs_less_than_its_noise_is_no_difference(tmp_path: Path) -> None:
    text = summary(compared(tmp_path, a=rounds(1.0, 1.2, 0.9), b=rounds(1.05, 0.95, 1.1)))

    assert "TTFT mean: b no difference shown at 16 (" in text
    assert "x faster at" not in text


def test_intervals_of_any_width_are_readable(tmp_path: Path) -> None:
    text = summary(compared(tmp_path, a=rounds(1.0, 5.0), b=rounds(0.01, 1.0)))

    assert "[< 0.001, > 1,000]" in text
    assert "no difference shown at 16 (over 1,000x slower to over 1,000x faster)" in " ".join(text.split())


def test_one_round_has_no_interval_and_it_is_said_why(tmp_path: Path) -> None:
    text = summary(compared(tmp_path, a=rounds(1.0), b=rounds(0.5)))

    assert "no interval" in text
    assert "Requests of one process do not tell how the next" in " ".join(text.split())
    assert "TTFT mean: b 2.00x faster at 16 (no interval)" in text


def test_invalid_runs_are_words_and_never_numbers(tmp_path: Path) -> None:
    bad = bench(16, 0.5, failed=7, mean_ttft_ms=4321.0)

    text = summary(compared(tmp_path, a=rounds(1.0), b=[{16: bad}]))

    assert "invalid: b, round 1, concurrency 16: 7 requests failed" in text
    assert "4321" not in text.replace(",", "")
    assert "TTFT mean: b not comparable at 16" in text
    assert next(line.split() for line in text.splitlines() if "TTFT mean, ms" in line)[4] == "invalid"


def test_missing_combinations_are_listed(tmp_path: Path) -> None:
    text = summary(compared(tmp_path, a=[{16: bench(16), 64: bench(64)}], b=rounds(1.0)))

    assert "missing: b: nothing at concurrency 64" in text
    assert "concurrency 64: a 1 round, b not measured" in text


def test_what_is_alike_is_told_once_and_the_rest_by_side(tmp_path: Path) -> None:
    ours = [{16: bench(16, tp=2, backend="vllm")}]

    text = summary(compared(tmp_path, a=[{16: bench(16, tp=2, backend="torch")}], b=ours))

    assert "alike: model models/tiny, tp 2, mean ISL 512, mean OSL 128, rounds 1, client benchmark_serving" in text
    assert "  a: backend torch\n  b: backend vllm\n" in text


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"total_output_tokens": 16000}, "not the same work at concurrency 16: a 128 output tokens a request, b 100"),
        ({"num_prompts": 80, "completed": 80, "total_input_tokens": 512 * 80, "total_output_tokens": 128 * 80},
         "not the same work at concurrency 16: a 160 requests, b 80"),
        ({"model_id": "other/big"}, "the models have different names: a tiny, b big"),
        ({"perfgate": {}}, "measured by different clients"),
        ({"tp": 2}, "different numbers of devices: a tp 1, b tp 2"),
    ],
)  # fmt: skip
def test_what_is_not_like_for_like_is_said(tmp_path: Path, changes: dict[str, Any], note: str) -> None:
    changed = {"perfgate": {"schema": 1}} if "perfgate" in changes else changes

    text = summary(compared(tmp_path, a=[{16: bench(16, tp=1)}], b=[{16: bench(16, **changed)}]))

    assert note in " ".join(text.split())


def test_the_same_model_in_another_folder_is_the_same(tmp_path: Path) -> None:
    text = summary(compared(tmp_path, a=rounds(1.0), b=[{16: bench(16, model_id="/elsewhere/tiny/")}]))

    assert "different names" not in text
