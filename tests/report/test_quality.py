"""The table of quality: fits any width, escapes what comes from outside, says what is missing and what would decide."""

from __future__ import annotations

import csv
import io

import pytest
from examples import HOSTILE, comparison, run

from perfgate.quality import QualityLine, Standing
from perfgate.report.html import render_html
from perfgate.report.markdown import render_markdown
from perfgate.report.page import Page
from perfgate.report.quality import HEADER, cells, quality_table, remarks, render_quality

REFERENCE = QualityLine("fp32-text", "fp32", Standing.REFERENCE, perplexity=5.43, bits_per_byte=0.7992, documents=40)
INT4 = QualityLine(
    "int4-text", "int4", Standing.EXCEEDED, "fp32", 5.645, 0.8175, 40, 20285, 0.0396, 0.0328, 0.0465, 0.03, 0.8996,
    0.0389,
)  # fmt: skip
OPEN = QualityLine(
    "fp8-text", "fp8", Standing.INCONCLUSIVE, "fp32", 5.46, 0.8, 40, 20285, 0.006, -0.01, 0.02, 0.01,
    more_documents=120, unlike="this engine tells no next-token distributions",
)  # fmt: skip
LINES = (REFERENCE, INT4, OPEN)


def test_a_line_says_all_that_is_known() -> None:
    assert cells(INT4) == (
        "int4-text", "5.645", "0.8175", "fp32", "+4.0 %", "[3.3, 4.7]", "3.0 %", "90.0 %", "0.03890", "EXCEEDED",
    )  # fmt: skip


def test_what_is_not_known_is_a_dash() -> None:
    assert cells(REFERENCE) == ("fp32-text", "5.430", "0.7992", *["-"] * 6, "reference")


@pytest.mark.parametrize("width", [40, 60, 80, 120, 160])
def test_the_table_fits_the_page(width: int) -> None:
    found = list(quality_table(LINES, Page(width, has_colour=False)))

    assert [line for line in found if len(line) > width] == []
    assert any("EXCEEDED" in line for line in found)


def test_remarks_say_what_would_decide_and_what_is_missing() -> None:
    assert remarks(LINES) == [
        "fp8-text: about 120 more documents would decide",
        "fp8-text: no top-1 agreement or KL: this engine tells no next-token distributions",
    ]


def test_a_suite_without_references_has_no_table() -> None:
    alone = QualityLine("fp32-text", "fp32", Standing.UNJUDGED, perplexity=5.43)

    assert list(quality_table([alone], Page(120, has_colour=False))) == []


def test_markdown_and_html_show_each_text() -> None:
    made = comparison(quality=(QualityLine("int8-chat", "int8", Standing.EXCEEDED, "fp32", loss=0.04),))

    assert "| int8-chat |" in render_markdown(made)
    assert all(f'<th scope="col">{name.replace(">", "&gt;")}</th>' in render_html(run(made), made) for name in HEADER)


def test_text_from_outside_is_escaped_everywhere() -> None:
    made = comparison(quality=(QualityLine("int8-chat", HOSTILE, Standing.BROKEN, HOSTILE, unlike=HOSTILE),))

    assert "<script>alert" not in render_html(run(made), made)
    assert "<script>" not in render_markdown(made)
    rows = list(csv.DictReader(io.StringIO(render_quality(made))))
    assert rows[0]["standing"] == "broken"
    assert "\x1b" not in rows[0]["unlike"]
