from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.errors import UsageError
from perfgate.versus import COMPARED, Result
from perfgate.versus_files import field_key, read_side
from versus_examples import bench, write_side


def read_one(folder: Path, content: object, concurrency: int = 16) -> Result:
    (found,) = read_side("a", write_side(folder, [{concurrency: content}])).results
    return found


def test_values_are_in_seconds_and_tokens_a_second(tmp_path: Path) -> None:
    found = read_one(tmp_path, bench(16))

    assert found.values["ttft_mean"] == pytest.approx(0.050)
    assert found.values["e2el_p99"] == pytest.approx(2.6)
    assert found.values["output_tokens_per_s"] == 1600.0
    assert (found.invalid, dict(found.absent)) == ((), {})


def test_rounds_are_folders(tmp_path: Path) -> None:
    write_side(tmp_path, [{16: bench(16), 64: bench(64)}, {16: bench(16)}])

    found = read_side("a", tmp_path)

    assert [(one.round, one.concurrency) for one in found.results] == [(1, 16), (1, 64), (2, 16)]


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    write_side(tmp_path, [{16: bench(16)}])
    for name in ("concurrency_16.requests.jsonl", "concurrency_x.json", "rate_5.json", "concurrency_16.json.bak"):
        (tmp_path / name).write_text("no result")

    assert len(read_side("a", tmp_path).results) == 1


def test_what_vllm_writes_by_default_is_read_and_e2el_told_missing(tmp_path: Path) -> None:
    plain = {key: value for key, value in bench(16).items() if "e2el" not in key and key != "failed"}
    plain |= {"endpoint_type": "vllm", "request_rate": "inf", "request_goodput": None, "burstiness": 1.0}

    found = read_one(tmp_path, plain)

    assert found.invalid == ()
    assert set(found.absent) == {"e2el_mean", "e2el_p99"}
    assert found.absent["e2el_mean"] == (
        "mean_e2el_ms is not in the file: benchmark_serving writes it with --percentile-metrics ttft,tpot,itl,e2el"
    )
    assert found.about.client == "benchmark_serving"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("fast", 'mean_ttft_ms is "fast", expected a number above 0'),
        ("12.5", 'mean_ttft_ms is "12.5", expected a number above 0'),
        (float("nan"), "mean_ttft_ms is NaN, expected a number above 0"),
        (float("inf"), "mean_ttft_ms is Infinity, expected a number above 0"),
        (None, "mean_ttft_ms is null: not measured, or made infinite by failures"),
        (True, "mean_ttft_ms is true, expected a number above 0"),
        ([1.0], "mean_ttft_ms is [1.0], expected a number above 0"),
        (0.0, "mean_ttft_ms is 0: nothing was measured"),
        (-3.0, "mean_ttft_ms is -3: nothing was measured"),
        (1e-300, "mean_ttft_ms is 1e-300, expected a number from 1e-09 to 1e+12"),
        (1e300, "mean_ttft_ms is 1e+300, expected a number from 1e-09 to 1e+12"),
    ],
)
def test_a_value_that_is_no_figure_is_one_line_and_leaves_the_others(
    tmp_path: Path, value: object, reason: str
) -> None:
    found = read_one(tmp_path, bench(16, mean_ttft_ms=value))

    assert dict(found.absent) == {"ttft_mean": reason}
    assert len(found.values) == len(COMPARED) - 1


def test_a_number_beyond_floats_is_no_figure(tmp_path: Path) -> None:
    text = '{"num_prompts": 1, "completed": 1, "mean_ttft_ms": 1' + "0" * 400 + "}"

    assert "expected a number above 0" in read_one(tmp_path, text).absent["ttft_mean"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"failed": 3, "completed": 157}, "3 requests failed, 157 completed"),
        ({"failed": 0, "completed": 158}, "2 requests failed, 158 completed"),
        ({"max_concurrency": 32}, "its max_concurrency is 32, its name says 16"),
        ({"perfgate": {"invalid": ["the client was the limit"]}}, "the client was the limit"),
        ({"perfgate": {"invalid": "gave up"}}, "gave up"),
        ({"num_prompts": "many", "failed": None}, "it does not say how many requests failed"),
    ],
)
def test_an_invalid_run_has_a_reason_and_no_values(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    found = read_one(tmp_path, bench(16, **changes))

    assert reason in found.invalid[0]
    assert not found.values
    assert not found.absent


def test_a_run_without_a_success_is_invalid(tmp_path: Path) -> None:
    found = read_one(tmp_path, bench(16, completed=0, failed=160))

    assert found.invalid == ("160 requests failed, 0 completed", "no request was completed")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "concurrency_16.json is not JSON"),
        ("{broken", "concurrency_16.json is not JSON"),
        ("[" * 100_000, "concurrency_16.json is not JSON"),
        ("[1, 2]", "concurrency_16.json holds a list, expected a JSON object"),
    ],
)
def test_a_damaged_file_is_an_invalid_run_of_one_line(tmp_path: Path, text: str, reason: str) -> None:
    found = read_one(tmp_path, text)

    assert len(found.invalid) == 1
    assert reason in found.invalid[0]
    assert "\n" not in found.invalid[0]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = [*bench(16), "perfgate"]


@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING))
def test_whatever_a_file_says_is_a_figure_or_one_line(changes: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        found = read_one(Path(folder), bench(16, **changes))

    told = [*found.invalid, *found.absent.values(), *found.about.facts.values()]
    assert all(line.isprintable() and len(line) < 400 for line in told)
    assert all(0 < value < math.inf for value in found.values.values())
    known = set(found.values) | set(found.absent)
    assert known == (set() if found.invalid else {metric.name for metric in COMPARED})


def test_facts_are_ours_or_benchmark_servings_metadata(tmp_path: Path) -> None:
    theirs = read_one(tmp_path / "theirs", bench(16, tp="2", version="0.26.0"))
    ours = read_one(tmp_path / "ours", bench(16, perfgate={"about": {"precision": "bf16", "versions": {"torch": "2"}}}))

    assert theirs.about.facts == {"model": "models/tiny", "version": "0.26.0", "tp": "2"}
    assert ours.about.facts == {"model": "models/tiny", "precision": "bf16", "versions": "torch 2"}
    assert (ours.about.input_tokens, ours.about.output_tokens, ours.about.client) == (512.0, 128.0, "perfgate")


def test_keys_are_those_of_the_field() -> None:
    assert [field_key(metric.name) for metric in COMPARED] == [
        *("mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "p99_tpot_ms", "mean_itl_ms", "p99_itl_ms"),
        *("mean_e2el_ms", "p99_e2el_ms", "output_throughput"),
    ]


def test_folders_that_cannot_be_read_are_usage_errors(tmp_path: Path) -> None:
    mixed = write_side(tmp_path / "mixed", [{16: bench(16)}])
    write_side(mixed / "round_2", [{16: bench(16)}])
    (tmp_path / "empty").mkdir()

    with pytest.raises(UsageError, match=r"a: .*nowhere is not a folder"):
        read_side("a", tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"a: no concurrency_N\.json in .*empty"):
        read_side("a", tmp_path / "empty")
    with pytest.raises(UsageError, match=r"a: .*mixed has concurrency_N\.json and round_K folders"):
        read_side("a", mixed)
