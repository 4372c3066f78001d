"""report.html as a reader uses it, in headless Chromium; skipped where there is no browser or no playwright."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from examples import HOSTILE, case, comparison, run, verdict
from test_claims_section import some_findings
from test_html import poisoned
from test_quality import LINES

from chromium import arguments, chromium
from perfgate.comparison import Comparison
from perfgate.measured import Point
from perfgate.record import Run
from perfgate.report.behind import Behind
from perfgate.report.html import render_html
from perfgate.verdict import Verdict

sync_api = pytest.importorskip("playwright.sync_api", reason="the extra `browser` (playwright) is not installed")

# The last is a window of 1280 pixels at 400 %, where WCAG 2.2 (1.4.10) asks for text without scrolling sideways.
WIDE, PHONE, ZOOMED = {"width": 1300, "height": 900}, {"width": 390, "height": 844}, {"width": 320, "height": 256}

# The least contrast of any text with what is behind it, by WCAG 2.2.
LEAST_CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const part = v => v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const found = parse(getComputedStyle(e).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  let least = 99;
  for (const e of document.querySelectorAll("body *")) {
    const isShown = e.checkVisibility() && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!isShown || e.closest("script")) continue;
    const style = getComputedStyle(e), ink = parse(e.closest("svg") ? style.fill : style.color);
    const [low, high] = [light(ink), light(ground(e))].sort((a, b) => a - b);
    least = Math.min(least, (high + 0.05) / (low + 0.05));
  }
  return least;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = chromium()
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=found, args=arguments())
        yield made
        made.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens a page; afterwards nothing was complained of and nothing was asked of the network."""
    complaints: list[str] = []
    contexts = []

    def opened(made: Comparison | None = None, measured: Run | None = None, html: str = "", **options: Any) -> Any:
        judged = made or comparison()
        (tmp_path / "report.html").write_text(html or render_html(measured or run(judged), judged), encoding="utf-8")
        context = browser.new_context(**({"viewport": WIDE} | options))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda asked: None if asked.url.startswith("file:") else complaints.append(asked.url))
        page.goto((tmp_path / "report.html").as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def column(page: Any, number: int) -> list[str]:
    return [text.strip() for text in page.locator(f"#all tbody tr:visible > :nth-child({number})").all_inner_texts()]


def sort(page: Any, name: str) -> None:
    page.locator("#all thead").get_by_role("button", name=name).click()


def test_a_click_on_a_heading_sorts_and_a_second_click_turns_it_round(show: Any) -> None:
    page = show()

    sort(page, "change")
    up = column(page, 4)
    sort(page, "change")
    down = column(page, 4)

    assert up[0].startswith("8.6 % better")
    assert up[-1] == down[-1] == "-"  # what is not known is last either way
    assert down[0].startswith("24.8 % worse")
    assert page.locator("#all th[aria-sort]").get_attribute("aria-sort") == "descending"


def test_quantities_sort_by_size_and_not_by_their_digits(show: Any) -> None:
    sizes = {"a": 2.0, "b": 0.3, "c": 9e-5, "d": 0.0125}
    made = comparison(
        *(case(f"e-{name}", verdict(f"e-{name}", "ttft_p50", candidate=size)) for name, size in sizes.items())
    )
    page = show(made)

    sort(page, "now")

    assert column(page, 7) == ["90.00 us", "12.50 ms", "300.0 ms", "2.000 s"]


def test_the_gravest_verdict_sorts_last_and_first(show: Any) -> None:
    page = show()

    sort(page, "verdict")
    sort(page, "verdict")

    assert [text.split(" ", 1)[1] for text in column(page, 3)][:3] == ["REGRESSED", "INVALID", "inconclusive"]


def test_filters_show_what_fits_and_say_how_much(show: Any) -> None:
    page = show()

    page.get_by_label("Case or metric").fill("chat ttft")
    assert set(column(page, 2)) == {"ttft_p50"}
    assert page.locator("#few").inner_text() == "3 of 10 metrics"
    page.get_by_label("Verdict").select_option("not-ok")
    assert column(page, 1) == ["int8-chat", "int4-chat"]
    page.locator("#tools select[name=engine]").select_option("int4")
    assert column(page, 1) == ["int4-chat"]
    assert page.locator("details.regressed").is_hidden()
    page.get_by_role("button", name="Show all").click()
    sync_api.expect(page.locator("#few")).to_have_text("10 of 10 metrics")
    assert page.locator("details.regressed").is_visible()


def test_a_link_leads_to_the_unfolded_case(show: Any) -> None:
    page = show()
    figures = page.locator("#c1")
    assert not figures.is_visible()

    page.locator("#all").get_by_role("link", name="fp32-chat").first.click()

    assert figures.is_visible()
    assert page.evaluate("document.getElementById('c1').parentNode.open")


def test_all_cases_unfold_and_fold(show: Any) -> None:
    page = show()

    page.get_by_role("button", name="Unfold all cases").click()
    assert page.locator("details > .body:visible").count() == 6
    page.get_by_role("button", name="Fold all cases").click()
    assert page.locator("details > .body:visible").count() == 0


def test_the_keyboard_alone_skips_sorts_and_unfolds(show: Any) -> None:
    page = show()

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").startswith("Skip to the table")
    page.locator("#all thead button").first.focus()
    page.keyboard.press("Enter")
    assert column(page, 1) == sorted(column(page, 1))
    page.locator("details.ok > summary").focus()
    page.keyboard.press("Space")
    assert page.locator("details.ok > .body").is_visible()


def test_without_javascript_the_essentials_are_there(show: Any) -> None:
    page = show(java_script_enabled=False)

    assert page.locator("#all tbody tr").count() == 10
    assert page.locator("#tools").is_hidden()
    assert page.get_by_text("git log --oneline a9b8c7d..0b1c2d3").is_visible()
    page.locator("details.ok > summary").click()
    assert page.locator("details.ok svg").first.is_visible()


@pytest.fixture(scope="module")
def everything() -> str:
    """A page with every part that there is: quality, limits, claims, GPUs within rounds, faults by kind."""
    name = "llama-8b/bf16"
    measured, judged, behind = poisoned(name)
    quality = tuple(replace(line, case=name) for line in LINES)
    return render_html(measured, replace(judged, quality=quality), behind, some_findings()[1])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE, ZOOMED], ids=["wide", "phone", "zoomed"])
def test_every_text_can_be_read_and_nothing_scrolls_sideways(
    show: Any, everything: str, scheme: str, viewport: dict[str, int]
) -> None:
    for html in ("", everything):
        page = show(html=html, color_scheme=scheme, viewport=viewport)
        page.get_by_role("button", name="Unfold all cases").click()

        assert page.evaluate(LEAST_CONTRAST) >= 4.5
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, ZOOMED], ids=["wide", "zoomed"])
def test_axe_finds_nothing(show: Any, everything: str, scheme: str, viewport: dict[str, int]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for html in ("", everything):
        page = show(html=html, color_scheme=scheme, viewport=viewport)
        page.get_by_role("button", name="Unfold all cases").click()

        found = axe.Axe().run(page).response

        assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        assert len(found["passes"]) > 20


def test_tab_walks_the_page_from_top_to_bottom_and_shows_where_it_is(show: Any, everything: str) -> None:
    page = show(html=everything)
    places: list[int] = []

    while True:
        page.keyboard.press("Tab")
        where, outline = page.evaluate("""() => {
          const e = document.activeElement;
          return [[...document.querySelectorAll("*")].indexOf(e), getComputedStyle(e).outlineWidth];
        }""")
        if where in places or page.evaluate("document.activeElement === document.body"):
            break
        places.append(where)
        assert outline == "3px"

    assert len(places) == page.evaluate(
        "[...document.querySelectorAll('a, button, input, select, summary, [tabindex=\"0\"]')]"
        ".filter(e => e.checkVisibility()).length"
    )
    assert places == sorted(places)


def test_wide_figures_and_tables_scroll_by_keyboard_within_themselves(show: Any, everything: str) -> None:
    page = show(html=everything, viewport=ZOOMED)

    table = page.get_by_role("region", name="the GPUs within the rounds")
    table.focus()
    page.keyboard.press("ArrowRight")

    page.wait_for_function("e => e.scrollLeft > 0", arg=table.element_handle())
    assert page.locator("svg.r").first.bounding_box()["width"] >= 100  # not squeezed


def test_pictures_say_in_words_what_they_show(show: Any, everything: str) -> None:
    page = show(html=everything)

    names = page.evaluate(
        "[...document.querySelectorAll('svg[role=img]')].map(e => (e.ariaLabel || e.textContent).trim())"
    )

    assert all(names)
    assert "power 300 to 400 W" in names
    assert any(name.startswith("roofline of ") for name in names)


def test_the_page_follows_the_colour_scheme_and_is_drawn(show: Any) -> None:
    shots = {scheme: show(color_scheme=scheme).screenshot(full_page=True) for scheme in ("light", "dark")}

    assert shots["light"] != shots["dark"]
    assert min(map(len, shots.values())) > 50_000  # a blank page of this size takes 17 kB


@pytest.mark.parametrize(("width", "hidden"), [(1200, False), (1600, False), (900, True)])
def test_the_table_of_a_case_fits_or_is_shaded_where_it_goes_on(show: Any, width: int, *, hidden: bool) -> None:
    names = ("ttft_p50", "output_tokens_per_s")
    made = comparison(case("fp32-b1", *(verdict("fp32-b1", name, Verdict.REGRESSED) for name in names)))
    trail = tuple(Point("", f"2026-01-{day}", f"c{day}", "k", 0.01 if day < 15 else 0.02) for day in range(10, 22))
    behind = Behind({}, {("fp32-b1", name): trail for name in names})

    page = show(html=render_html(run(made), made, behind), viewport={"width": width, "height": 900})

    table = page.get_by_role("region", name="metrics of fp32-b1")
    assert table.locator("svg.h").count() == len(names)
    assert table.evaluate("e => e.scrollWidth > e.clientWidth") is hidden
    assert "gradient" in table.evaluate("e => getComputedStyle(e).backgroundImage")


def test_wide_figures_fit_a_window_of_1200_pixels_and_stay_on_their_lines(show: Any) -> None:
    numbers = {"change": 32.0, "low": -0.137, "high": 1264.3, "baseline": 123456.0, "candidate": 3456.0}
    wide = verdict("llama8b-fp8-chat-b64", "output_tokens_per_s", Verdict.REGRESSED, detectable=143.3, **numbers)
    usual = verdict("llama8b-fp8-chat-b64", "peak_gpu_memory_bytes", Verdict.REGRESSED, change=1.621, high=7.284)
    page = show(comparison(case("llama8b-fp8-chat-b64", wide, usual)), viewport={"width": 1200, "height": 900})

    left = "() => { const e = document.querySelector('#all').parentNode; return e.scrollWidth - e.clientWidth }"
    assert page.evaluate(left) == 0
    assert column(page, 8) == ["> 10x", "5.2 %"]
    lines = "() => [...document.querySelectorAll('.much td')].map(e => e.firstChild.getClientRects?.().length ?? 1)"
    assert set(page.evaluate(lines)) == {1}


def test_plots_have_the_room_they_are_drawn_in(show: Any) -> None:
    page = show()

    boxes = page.evaluate("""() => [...document.querySelectorAll("details[open] svg.p")].map(svg => {
      const frame = svg.getBoundingClientRect();
      return [...svg.querySelectorAll("path")].every(path => {
        const box = path.getBoundingClientRect();
        return box.left >= frame.left - 4 && box.right <= frame.right + 4;
      });
    })""")

    assert boxes
    assert all(boxes)


def test_hostile_texts_run_nothing_and_ask_for_nothing(show: Any) -> None:
    page = show(html=render_html(*poisoned(HOSTILE)))

    page.get_by_role("button", name="Unfold all cases").click()

    assert page.evaluate("document.scripts.length") == 1
    assert page.evaluate("document.images.length") == 0


def test_scripts_that_are_not_the_pages_own_are_refused(browser: Any, tmp_path: Path) -> None:
    html = render_html(run(comparison()), comparison())
    bad = html.replace(
        "</main>", "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\"></main>"
    )
    (tmp_path / "report.html").write_text(bad, encoding="utf-8")
    page = browser.new_page()

    page.goto((tmp_path / "report.html").as_uri())

    assert "taken" not in page.title()
    page.close()


def test_two_hundred_cases_filter_quickly(show: Any) -> None:
    bad = verdict("e7-w7", "ttft_p50", Verdict.REGRESSED, change=0.3)
    cases = [case(f"e{i}-w{j}", verdict(f"e{i}-w{j}", "ttft_p50")) for i in range(20) for j in range(10)]
    made = comparison(*(case("e7-w7", bad) if one.case.id == "e7-w7" else one for one in cases))
    page = show(replace(made, notes=()))

    page.get_by_label("Verdict").select_option("regressed")

    assert column(page, 1) == ["e7-w7"]
    assert page.locator(".matrix td.regressed").inner_text().split() == [
        "\N{BLACK UP-POINTING TRIANGLE}",
        "+30.0",
        "%",
        "REGRESSED",
    ]
