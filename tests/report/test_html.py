from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from examples import ENVIRONMENT, HOSTILE, case, comparison, hostile, numberless, run, verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from perfgate.comparison import Comparison
from perfgate.fault_kinds import ProcessFault
from perfgate.floats import Floats
from perfgate.gpu.facts import GpuProcess
from perfgate.gpu.sample import Region
from perfgate.gpu.seen import GpuRound, GpuSeen
from perfgate.gpu.trace import GpuTrace, Trace
from perfgate.measured import Point
from perfgate.record import CaseRound, Host, Round, Run, Side
from perfgate.report.behind import Behind
from perfgate.report.figures import plain
from perfgate.report.html import render_html
from perfgate.roofline import Limits
from perfgate.verdict import Verdict
from perfgate.watch import Commits, Signal, SignalKind
from test_distances import VALUES
from test_roofline import CEILINGS, DEMAND


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


def test_every_metric_is_a_row_and_has_a_plot_where_it_was_measured() -> None:
    found = page()

    measured = [metric for metric in comparison().metrics if metric.candidate is not None]
    assert "10 metrics, gravest first" in found.text_of("caption")
    assert found.attributes.count(("class", "p")) == len(measured)


def test_numbers_are_shown() -> None:
    found = page()

    assert ("td", "24.8 % worse [19.2, 30.9]") in found.texts
    assert ("td", "12.48 ms") in found.texts


def test_a_regression_says_how_much_how_sure_since_when_and_what_to_type() -> None:
    found = page()
    told = " ".join(data for _, data in found.texts)

    assert "evidence 51,234 to 1 for worse than the 2.0 % margin, 700 is needed" in told
    assert "between the baseline of 2026-01-14, commit a9b8c7d, and this run, 2026-02-03" in told
    assert ("code", "git log --oneline a9b8c7d..0b1c2d3") in found.texts
    assert ("code", "perfgate baseline accept perfgate-out/run.json --reason '...'") in found.texts


def test_every_case_has_figures_that_the_table_leads_to() -> None:
    found = page()

    targets = {value for name, value in found.attributes if name == "id" and value.startswith("c")}
    links = {value[1:] for name, value in found.attributes if name == "href" and value.startswith("#c")}
    assert targets == {f"c{number}" for number in range(len(comparison().cases))}
    assert links <= targets


def test_reasons_next_steps_skips_and_faults_are_told() -> None:
    told = " ".join(data for _, data in page().texts)

    assert "worse than the 2.0 % margin against 3 fresh baseline rounds" in told
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
    text = render_html(*poisoned(HOSTILE))

    found = Page(text)

    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(found.tags)
    assert not {"src", "srcset", "action", "data", "xlink:href"} & {name for name, _ in found.attributes}
    assert [value for name, value in found.attributes if name == "href" and not value.startswith("#")] == []
    assert "url(" not in found.text_of("style")
    assert "@import" not in found.text_of("style")


def test_only_the_pages_own_script_may_run() -> None:
    found = page()

    digest = base64.b64encode(hashlib.sha256(found.text_of("script").encode()).digest()).decode()
    policies = [value for name, value in found.attributes if name == "content" and "script-src" in value]
    assert found.tags.count("script") == 1
    allowed = f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert policies == [f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"]


def poisoned(text: str) -> tuple[Run, Comparison, Behind]:
    """`hostile` with the names of metrics and samples, signals, waivers and history replaced too."""
    made, judged = hostile(text)
    signal = Signal(
        SignalKind.CREEP, text, text, 0.1, text, Commits(text, text), text, is_confirmed=False, trail=(0.0, 0.1)
    )
    cases = tuple(
        replace(one, metrics=tuple(replace(metric, metric=text, unit=text, waived=text) for metric in one.metrics))
        for one in judged.cases
    )
    samples = {text: Floats(0.01 + i / 1e4 for i in range(20)), "ttft": Floats([0.01] * 20)}
    rounds = tuple(
        Round(
            text,
            side,
            i,
            "2026-02-03T04:05:06+00:00",
            1.0,
            (CaseRound(text, {text: 1.0 + i} | VALUES, samples),),
            Host(clock_mhz=2000.0 + i),
            gpu=poisoned_gpus(text),
        )
        for side in Side
        for i in range(3)
    )
    infos = tuple(replace(one, concurrency=i + 1, family=text) for i, one in enumerate(made.cases))
    out = replace(rounds[0], fault=text, fault_kind=ProcessFault.DISTURBED)
    ceilings = replace(
        CEILINGS, device=text, product=text, made_with={text: text}, measured=text,
        matrix_flops={text: CEILINGS.copy_bytes_per_s}, untold={text: text},
    )  # fmt: skip
    limits = Limits(ceilings, {text: replace(DEMAND, rates=(text,), untold={"decode": text})})
    measured = replace(made, cases=infos, rounds=(*made.rounds, *rounds, out), limits=limits)
    points = tuple(Point(text, text, text, text, 1.0 + (i > 5), text, 1.0) for i in range(12))
    behind = Behind({(text, text): (1.0, 2.0)}, {(text, text): points})
    return measured, replace(judged, cases=cases, signals=(signal,)), behind


def poisoned_gpus(text: str) -> GpuRound:
    seen = GpuSeen(text, 9, reasons={text: 0.5}, foreign=(GpuProcess(7, text, 2**30),))
    trace = Trace(10.0, (Region(2.0, 9.0),), (GpuTrace((300, 400), (1980, 345), (), (50, 60), (9, 9), (1,), (0,)),))
    return GpuRound((seen,), lock=text, fault=text, trace=trace)


def test_hostile_text_is_shown_and_inert() -> None:
    found = Page(render_html(*poisoned(HOSTILE)))

    assert ("td", plain(HOSTILE)) in found.texts
    told = " ".join(data for _, data in found.texts)
    for part in ("The GPUs within the rounds", "Distance to the limit", "The machine over the rounds", "1 TFLOP/s"):
        assert part in told
    assert f"used by another's process 7 ({plain(HOSTILE)}, 1.0 GiB)" in told
    assert found.tags.count("script") == 1
    assert not [name for name, _ in found.attributes if name.startswith("on")]


@settings(max_examples=25, deadline=None)
@given(st.text("<>\"'&=/ `{}%#!-\x00\naexonsriptlgd", max_size=40) | st.text(max_size=40))
def test_no_text_changes_the_structure_of_the_page(text: str) -> None:
    like = Page(render_html(*poisoned("ordinary")))

    found = Page(render_html(*poisoned(text or "x")))

    # A text may hold a command, which is shown as one; nothing else may add a tag or an attribute.
    assert [tag for tag in found.tags if tag != "code"] == [tag for tag in like.tags if tag != "code"]
    assert [name for name, _ in found.attributes] == [name for name, _ in like.attributes]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf"), 0.0])
def test_unknown_numbers_do_not_stop_the_page(value: float | None) -> None:
    made, judged = numberless(value)

    assert page(judged, made).text_of("h1").strip().startswith("REGRESSED")


def test_an_empty_gate_is_a_page() -> None:
    nothing = replace(comparison(baseline=None), cases=())

    found = page(nothing, run(nothing, prepared=(), rounds=()))

    assert found.text_of("h1").strip() == "INVALID: no case was asked for"


def test_two_hundred_cases_fit_in_a_megabyte_and_say_what_was_left_out() -> None:
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
    bad = Verdict.REGRESSED
    made = comparison(*(case(one, *(verdict(one, name, bad if one == ids[-1] else Verdict.OK) for name in names))
                        for one in ids))  # fmt: skip
    points = tuple(Point("", f"2026-01-{i + 1:02d}", f"c{i}", "k", 0.01 * 1.01**i) for i in range(20))
    behind = Behind({}, {(one, name): points for one in ids for name in names})

    text = render_html(run(made), made, behind)

    assert len(text.encode()) <= 1_000_000
    assert "left out, so that the page stays small" in text
    worst = text.partition(f"<strong>{ids[-1]}</strong>")[2].partition("</details>")[0]
    assert worst.count("class=h ") == len(names)  # what regressed keeps its history
    assert "left out" not in worst


def colours(css: str) -> list[dict[str, str]]:
    """The custom properties of the light and of the dark scheme."""
    return [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)]


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_marks_have_the_contrast_of_wcag_aa_in_both_schemes() -> None:
    schemes = colours(page().text_of("style"))

    assert len(schemes) == 2
    for found in schemes:
        for ground in (found["back"], found["panel"]):
            texts = [found[name] for name in ("text", "soft", "good", "warn", "bad", "link")]
            assert min(contrast(text, ground) for text in texts) >= 4.5
        assert min(contrast(found[name], found["back"]) for name in ("now", "old")) >= 3
        assert min(contrast(found[name], found["band"]) for name in ("now", "old")) >= 3
