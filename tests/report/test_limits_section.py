"""The section on the distance to the limit in every report."""

from __future__ import annotations

from dataclasses import replace

from examples import comparison

from perfgate.report.html import render_html
from perfgate.report.limits import one_line, text_block
from perfgate.report.markdown import render_markdown
from test_distances import VALUES, measured


def test_every_report_has_the_section_and_none_without_limits() -> None:
    run, made = measured(VALUES), comparison()
    without = replace(run, limits=None)

    for text in ("\n".join(text_block(run)), render_markdown(made, run), render_html(run, made)):
        assert "80.0 %" in text
        assert "istance to the limit" in text
    for text in ("\n".join(text_block(without)), render_markdown(made, without), render_html(without, made)):
        assert "istance to the limit" not in text
    assert one_line(run) == (
        "distance to the limit: decode 80.0 % of the copy bandwidth, prefill 25.0 % of the matrix rate "
        "(summary.txt has each case)"
    )
    assert one_line(without) == ""
