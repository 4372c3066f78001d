"""Claims in every report: table, sources, one line, a sentence."""

from __future__ import annotations

from examples import comparison

from perfgate.claim_findings import Finding, findings
from perfgate.claim_pairs import claim_cases
from perfgate.record import Run
from perfgate.report.claims import one_line, sentence, text_block, whole_block
from perfgate.report.html import render_html
from perfgate.report.markdown import render_markdown
from test_claims import FP8, FP16, cases, run_of, speeds


def some_findings() -> tuple[Run, list[Finding]]:
    made = cases(FP16, FP8)
    run = run_of(made, *speeds("hehe", half=[100, 101], eight=[140, 143]))
    return run, findings(run, claim_cases(made))


def test_every_report_has_the_claims_with_their_sources() -> None:
    run, found = some_findings()

    made = comparison()
    for text in (
        "\n".join(text_block(found)),
        render_markdown(made, run, found),
        render_html(run, made, found=found),
    ):
        assert "laims of the field" in text
        assert "partly" in text
        assert "hermes-agent" in text
    assert one_line(found).startswith("claims of the field: 1 holds partly, ")


def test_a_finding_is_a_sentence_with_factor_interval_and_claim() -> None:
    _, found = some_findings()

    said = sentence(next(one for one in found if one.times))

    assert said.startswith("fp8-speed-eight-vs-half: partly: output_tokens_per_s 1.41x as good as the reference [1.")
    assert said.endswith("2 pairs of rounds that took turns; claimed 1.80x to 2.20x")


def test_nothing_is_told_in_reports_where_no_claim_was_measured() -> None:
    found = findings(run_of([]), claim_cases(cases(FP16)))

    assert text_block(found) == []
    assert one_line(found) == ""
    assert any("no engine of the suite has precision: fp8" in line for line in whole_block(found))
