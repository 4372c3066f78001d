"""A sweep's files: words computed from the figures, tables, pages and pictures."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from tradeoff_examples import example, noisy

from perfgate.errors import UsageError
from perfgate.record import decode, encode_pretty
from perfgate.report import tradeoffs
from perfgate.report.tradeoff_csv import COLUMNS, FIELD_COLUMNS, field_csv, rich_csv
from perfgate.report.tradeoff_html import render_tradeoffs
from perfgate.report.tradeoff_png import tradeoffs_png
from perfgate.report.tradeoff_text import show, text
from perfgate.report.tradeoff_words import advice, effect_sentences
from perfgate.report.tradeoffs import write_tradeoffs
from perfgate.suite import load_suite
from perfgate.sweep import Sweep
from perfgate.tradeoffs import Option, Tradeoffs

ROOT = Path(__file__).resolve().parent.parent.parent
EVIL = '<script>alert("x")</script>\x1b[31m\n=cmd'


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    found = load_suite(ROOT / "fixtures" / "suites" / "tradeoffs.yaml").sweep
    assert found is not None
    return found


def test_a_dear_value_is_told_with_what_it_costs_and_that_it_gives_nothing() -> None:
    precision, length = effect_sentences(example())

    assert length.startswith("max_input_len 32768 costs 2.1x build time [")
    assert "for no gain on this traffic" in length
    assert "against 2048, all else equal, 2 pairs" in length
    assert "costs 1.2x build time" in precision
    assert "1.04x perplexity" in precision
    assert "0.6x peak memory" in precision
    assert "0.5x p95 latency" in precision


def test_what_noise_leaves_open_is_never_called_no_gain() -> None:
    _, length = effect_sentences(noisy(example(), 2.0))

    assert "no gain" not in length
    assert "too noisy to tell whether it gives something: 1x p95 latency [" in length
    assert not any("and no gain" in line for line in advice(noisy(example(), 2.0)))


def test_advice_names_a_configuration_for_each_goal_and_what_to_leave() -> None:
    said = "\n".join(advice(example()))

    assert "for latency: int4_wo-in2048: p95 latency 50.0" in said
    assert "its perplexity is 4.0 % above the best; without that loss: fp32-in2048, 100" in said
    assert "for short builds: fp32-in2048" in said
    assert "not worth its build: fp32-in32768 builds 2.1x as long as fp32-in2048" in said
    assert "not worth its build: max_input_len 32768, 2.1x the build time of 2048 and no gain on this traffic" in said


def test_the_front_is_what_is_worth_its_build() -> None:
    found = example()

    assert {one.name for one in found.front} == {"fp32-in2048", "int4_wo-in2048"}


def test_the_field_s_file_has_exactly_the_field_s_columns(sweep: Sweep) -> None:
    names = [one.name for one in sweep.configurations]
    options = tuple(
        replace(example().options[number], name=names[number * 4], figures=figures)
        for number, figures in ((0, {**example().options[0].figures, "ttft_mean": (0.02,)}), (2, {"build_s": (1.0,)}))
    )

    first, second = csv.DictReader(io.StringIO(field_csv(_with(example(), options), sweep)))

    assert tuple(first) == FIELD_COLUMNS
    assert first["model_family"] == "llama"
    assert (first["dtype"], first["quantization"], first["tp_size"], first["max_batch_size"]) == (
        "fp32",
        "none",
        "1",
        "2",
    )
    assert (second["dtype"], second["quantization"]) == ("auto", "int4_wo")
    assert (second["p95_total_ms"], second["mean_ttfb_ms"]) == ("", "")
    assert (first["max_input_len"], first["max_output_len"]) == ("1024", "24")
    assert float(first["build_time_s"]) == pytest.approx(10, rel=1e-3)
    assert float(first["p95_total_ms"]) == pytest.approx(100, rel=1e-3)
    assert float(first["throughput_req_per_sec"]) == pytest.approx(80, rel=1e-3)
    assert float(first["mean_ttfb_ms"]) == pytest.approx(20)


def _with(found: Tradeoffs, options: tuple[Option, ...]) -> Tradeoffs:
    return replace(found, options=options)


def test_the_rich_file_has_every_metric_with_its_spread_and_every_reason() -> None:
    rows = list(csv.DictReader(io.StringIO(rich_csv(example(EVIL)))))

    assert tuple(rows[0]) == COLUMNS
    build = next(row for row in rows if row["metric"] == "build_s")
    assert float(build["low"]) < float(build["min"]) < float(build["mean"]) < float(build["max"]) < float(build["high"])
    assert build["on_front"] == "true"
    assert {row["state"] for row in rows} == {"measured", "failed", "skipped"}
    assert "\x1b" not in rich_csv(example(EVIL))


def test_the_json_file_can_be_read_back() -> None:
    assert decode(encode_pretty(example()), Tradeoffs, "x") == example()


def test_the_page_is_offline_and_nothing_in_it_becomes_markup() -> None:
    page = render_tradeoffs(example(EVIL))

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "\x1b" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") == 4
    assert page.count('class="front"') == 8  # two configurations in four charts
    assert "max_input_len 32768 costs" in page


def test_the_picture_is_one() -> None:
    picture = tradeoffs_png(example(EVIL))

    assert picture.startswith(b"\x89PNG")
    assert int.from_bytes(picture[16:20]) == 1600


def test_without_matplotlib_the_rest_is_written_and_that_is_told(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    found = _with(example(), (replace(example().options[0], name=sweep.configurations[0].name),))

    def missing(_: Tradeoffs) -> bytes:
        raise UsageError("tradeoffs.png needs matplotlib")

    monkeypatch.setattr(tradeoffs, "tradeoffs_png", missing)
    (tmp_path / "tradeoffs.png").write_bytes(b"of an earlier sweep")

    paths = write_tradeoffs(found, sweep, tmp_path, told.append)

    assert "tradeoffs.png" not in {path.name for path in paths}
    assert not (tmp_path / "tradeoffs.png").exists()
    assert told == ["tradeoffs.png needs matplotlib"]


@pytest.mark.parametrize("is_live", [False, True])
def test_the_screen_shows_what_the_file_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, is_live: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    show(example(EVIL), print, is_live=is_live)

    told = capsys.readouterr().out
    for words in ("int4_wo-in2048", "p95 latency", "Advice", "it broke", "no fp8 here"):
        assert words in told
        assert words in text(example())
    assert "\x1b" not in told
