from __future__ import annotations

from dataclasses import replace

import pytest
from examples import ENVIRONMENT, HOSTILE, case, comparison, hostile, numberless, verdict
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from perfgate.report import markdown
from perfgate.report.figures import plain
from perfgate.report.markdown import escaped, render_markdown

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def folded_away(text: str) -> str:
    return text[text.index("<details>") :]


def test_the_verdict_is_in_the_first_line() -> None:
    first = PARSER.render(render_markdown(comparison())).splitlines()[0]

    assert first == "<h2>REGRESSED: 2 failed, 1 warned, 1 recorded, 1 passed, 1 skipped</h2>"


def test_only_what_is_not_ok_stands_open() -> None:
    text = render_markdown(comparison())

    opened = text.removesuffix(folded_away(text))

    assert "| int8-chat | ttft_p50 | 10.00 ms | 12.48 ms | 24.8 % worse |" in opened
    assert "tpot_p50" not in opened
    assert "tpot_p50" in folded_away(text)


def test_findings_and_skips_have_their_reasons() -> None:
    html = PARSER.render(render_markdown(comparison()))

    assert "<strong>INVALID</strong> int4-batch: ttft_p99: 24 samples a round" in html
    assert "<li>skipped fp8-chat: fp8 needs sm_89 or newer</li>" in html


def test_environment_and_baseline_are_told() -> None:
    html = PARSER.render(folded_away(render_markdown(comparison())))

    assert "<td>Example CPU 9000</td>" in html
    assert "<td>baselines/cpu/x86_64-avx512/smoke.json</td>" in html
    assert "<td>2026-01-14</td>" in html


def test_a_missing_baseline_is_told() -> None:
    assert "There was no baseline to compare with." in render_markdown(comparison(baseline=None))


def test_a_planted_slowdown_and_notes_are_quoted() -> None:
    made = comparison(environment=replace(ENVIRONMENT, inject={"ttft": 1.25}), notes=("1. busy",))

    html = PARSER.render(render_markdown(made))

    assert "<blockquote>\n<p><strong>A SLOWDOWN WAS PLANTED (ttft=1.25)" in html
    assert "<p>Note: 1. busy</p>" in html


@settings(deadline=None)
@given(st.text(max_size=60))
def test_escaped_text_in_a_table_cell_is_shown_as_it_is(text: str) -> None:
    tokens = PARSER.parse(f"| a | b |\n| --- | --- |\n| x{escaped(text)}x | {escaped('|')} |\n")

    cells = [token.children or [] for token in tokens if token.type == "inline"]

    assert len(cells) == 4
    assert "".join(part.content for part in cells[2]) == f"x{plain(text)}x"
    assert {part.type for part in cells[2]} <= {"text", "text_special"}


@pytest.mark.parametrize(
    "text", ["www.evil.example", "https://evil.example", "@team", "#12", ":boom:", "$x$", "a@b.example"]
)
def test_what_github_links_on_its_own_is_broken_up(text: str) -> None:
    assert text not in escaped(text)


def test_hostile_text_becomes_no_markup() -> None:
    _, made = hostile()

    tokens = PARSER.parse(render_markdown(made))

    inside = [part for token in tokens for part in token.children or []]
    blocks = {token.content.strip() for token in tokens if token.type == "html_block"}
    assert not {part.type for part in inside} & {"html_inline", "link_open", "image", "code_inline"}
    assert blocks == {
        "<details><summary>All 10 metrics</summary>",
        "<details><summary>Environment and baseline</summary>",
        "</details>",
    }


def test_hostile_text_is_still_readable() -> None:
    _, made = hostile()

    tokens = PARSER.parse(render_markdown(made))

    cells = {"".join(part.content for part in token.children or []) for token in tokens if token.type == "inline"}
    assert plain(HOSTILE).strip() in cells


def test_a_long_table_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "MOST_ROWS", 3)
    metrics = [verdict("c", name) for name in ("ttft_p50", "tpot_p50", "itl_p50", "e2el_p50", "load_s")]

    text = render_markdown(comparison(case("c", *metrics)))

    assert "2 more rows in comparison.csv." in text
    assert "load_s" not in text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf"), 0.0])
def test_unknown_numbers_do_not_stop_the_summary(value: float | None) -> None:
    _, made = numberless(value)

    assert render_markdown(made).startswith("## REGRESSED")


def test_a_comparison_without_cases_is_a_summary() -> None:
    nothing = replace(comparison(), cases=())

    assert "INVALID: no case was asked for" in PARSER.render(render_markdown(nothing))
