from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from examples import ENVIRONMENT, HOSTILE, case, comparison, hostile, numberless, run, verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from perfgate.comparison import Comparison
from perfgate.record import CaseRound, Round, Run, Side
from perfgate.report.figures import plain
from perfgate.report.html import render_html


class Page(HTMLParser):
    """What a browser would see: tags, attributes, and the text within each kind of tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inside = tag
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, _tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        self.texts.append((self.inside, data))

    def text_of(self, tag: str) -> str:
        return "".join(data for inside, data in self.texts if inside == tag)


def page(made: Comparison | None = None, measured: Run | None = None) -> Page:
    made = made or comparison()
    return Page(render_html(measured or run(made), made))


def test_the_heading_is_the_verdict() -> None:
    assert page().text_of("h1").strip() == "REGRESSED: 2 failed, 1 warned, 1 recorded, 1 passed, 1 skipped"


def test_every_metric_is_a_row_with_a_plot_where_it_was_measured() -> None:
    found = page()

    measured = [metric for metric in comparison().metrics if metric.candidate is not None]
    assert found.text_of("caption").startswith("10 metrics")
    assert found.tags.count("svg") == len(measured)


def test_numbers_are_shown_and_sortable() -> None:
    found = page()

    assert ("td", "24.8 % worse [19.2, 30.9]") in found.texts
    assert {("data-v", "0.248"), ("data-v", "0.01248")} <= set(found.attributes)


def test_reasons_next_steps_skips_and_faults_are_told() -> None:
    told = " ".join(data for _, data in page().texts)

    assert "worse than the 2.0% margin against 3 fresh baseline rounds" in told
    assert "--perfgate-rounds 8" in told
    assert "fp8 needs sm_89 or newer" in told
    assert "the process was killed by signal 9" in told


def test_a_fault_of_one_case_in_a_round_is_told() -> None:
    faulty = Round("int8", Side.CANDIDATE, 7, "", 1.0, (CaseRound("int8-chat", {}, faults=("throttled", "busy")),))

    found = page(measured=run(comparison(), rounds=(faulty,)))

    assert ("td", "throttled; busy") in found.texts


def test_preparing_environment_and_baseline_are_told() -> None:
    told = " ".join(data for _, data in page().texts)

    assert "convert 3.2 s, compile 1 min 11 s" in told
    assert "Example CPU 9000" in told
    assert "baselines/cpu/x86_64-avx512/smoke.json" in told


def test_a_planted_slowdown_is_an_alert() -> None:
    made = comparison(environment=replace(ENVIRONMENT, inject={"ttft": 1.25}))

    assert ("role", "alert") in page(made).attributes
    assert ("role", "alert") not in page().attributes


def test_header_cells_have_a_scope() -> None:
    found = page()

    assert found.tags.count("th") == sum(name == "scope" for name, _ in found.attributes) > 0


def test_the_page_asks_for_nothing_from_outside() -> None:
    text = render_html(*hostile())

    found = Page(text)

    assert not {"link", "img", "iframe", "object", "embed", "base", "a", "form"} & set(found.tags)
    assert not {"src", "href", "srcset", "action", "data"} & {name for name, _ in found.attributes}
    assert "url(" not in found.text_of("style")
    assert "@import" not in found.text_of("style")


def test_only_the_pages_own_script_may_run() -> None:
    found = page()

    digest = base64.b64encode(hashlib.sha256(found.text_of("script").encode()).digest()).decode()
    policies = [value for name, value in found.attributes if name == "content" and "script-src" in value]
    assert found.tags.count("script") == 1
    assert policies == [f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"]


def test_hostile_text_is_shown_and_inert() -> None:
    made, judged = hostile()

    found = page(judged, made)

    assert ("td", plain(HOSTILE)) in found.texts
    assert found.tags.count("script") == 1
    assert not [name for name, _ in found.attributes if name.startswith("on")]


@settings(max_examples=25, deadline=None)
@given(st.text("<>\"'&=/ `{}%#!-\x00\naexonsriptlgd", max_size=40) | st.text(max_size=40))
def test_no_text_changes_the_structure_of_the_page(text: str) -> None:
    made, judged = hostile(text or "x")
    like, judged_like = hostile("ordinary")

    assert page(judged, made).tags == page(judged_like, like).tags


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf"), 0.0])
def test_unknown_numbers_do_not_stop_the_page(value: float | None) -> None:
    made, judged = numberless(value)

    assert page(judged, made).text_of("h1").strip().startswith("REGRESSED")


def test_an_empty_gate_is_a_page() -> None:
    nothing = replace(comparison(baseline=None), cases=())

    found = page(nothing, run(nothing, prepared=(), rounds=()))

    assert found.text_of("h1").strip() == "INVALID: no case was asked for"


def test_two_hundred_cases_fit_in_a_megabyte() -> None:
    names = (
        "ttft_p50",
        "ttft_p90",
        "tpot_p50",
        "itl_p50",
        "itl_p90",
        "e2el_p50",
        "output_tokens_per_s",
        "requests_per_s",
    )
    ids = [f"llama8b-int8-b{i}-serving-c{i}" for i in range(200)]
    made = comparison(*(case(one, *(verdict(one, name) for name in names)) for one in ids))

    size = len(render_html(run(made), made).encode())

    assert size <= 1_000_000
