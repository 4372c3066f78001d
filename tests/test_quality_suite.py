"""What a suite says of quality: the reference, what is allowed, and every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfgate.errors import SuiteError
from perfgate.quality_suite import Reference
from perfgate.suite import Suite, load_suite

SUITE = """
schema: 1
suite: small
defaults: {engine: {model: model}}
engines:
  fp32: {}
  bf16: {precision: bf16}
  int4: {precision: int4_wo}
  pruned: {model: pruned}
workloads:
  b1: {kind: latency, prompts: texts.jsonl}
  text: {kind: perplexity, text: texts.jsonl}
gate: {metrics: {perplexity: {}}}
"""


def _suite(folder: Path, extra: str = "", **edits: str) -> Suite:
    text = SUITE
    for old, new in edits.items():
        text = text.replace(f"{old}: {{", f"{old}: {{{new}", 1)
    (folder / "suite.yaml").write_text(text + extra)
    return load_suite(folder / "suite.yaml")


def _allowed(suite: Suite) -> dict[str, float]:
    return {one.engine: one.allowed for one in suite.gate.references}


def test_without_quality_nothing_is_measured_from_a_reference(tmp_path: Path) -> None:
    assert _suite(tmp_path).gate.references == ()


def test_the_suites_reference_is_that_of_engines_of_its_checkpoint(tmp_path: Path) -> None:
    suite = _suite(tmp_path, "quality: {reference: fp32}")

    assert _allowed(suite) == {"bf16": 0.01, "int4": 0.03}
    case = next(case for case in suite.cases if case.id == "fp32-text")
    assert suite.gate.references[0] == Reference("bf16-text", "bf16", "fp32-text", "fp32", case.hash, 0.01)


def test_the_nearest_word_on_what_is_allowed_counts(tmp_path: Path) -> None:
    quality = "quality: {reference: fp32, perplexity: 2%, precisions: {int4_wo: 5%, bf16: 0.1%}}"

    suite = _suite(tmp_path, quality, int4="quality: {perplexity: 4%}, ")

    assert _allowed(suite) == {"bf16": 0.001, "int4": 0.04}


def test_an_engine_of_another_checkpoint_names_its_reference(tmp_path: Path) -> None:
    suite = _suite(tmp_path, pruned="quality: {reference: bf16, perplexity: 10%}, ")

    assert [(one.engine, one.reference_engine, one.allowed) for one in suite.gate.references] == [
        ("pruned", "bf16", 0.1)
    ]


def test_what_is_allowed_changes_no_hash(tmp_path: Path) -> None:
    plain = [case.hash for case in _suite(tmp_path).cases]

    assert [case.hash for case in _suite(tmp_path, "quality: {reference: fp32, perplexity: 9%}").cases] == plain


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("quality: {reference: fp23}", "quality.reference: no 'fp23' under engines"),
        ("quality: {perplexity: 1%}", "quality: the key 'reference' is missing"),
        ("quality: {reference: fp32, precisions: {int5: 1%}}", "quality.precisions.int5: no such precision"),
        ("quality: {reference: fp32, perplexity: often}", "expected a share such as 5%"),
        (
            "quality: {reference: int4}\ncases: [{engines: [int4], workloads: [b1]}]",
            "quality.reference: 'int4' scores no text",
        ),
    ],
)
def test_faults_are_told_with_what_to_do(tmp_path: Path, extra: str, said: str) -> None:
    with pytest.raises(SuiteError) as found:
        _suite(tmp_path, extra)

    assert said in str(found.value)


def test_the_loss_is_no_metric_of_the_gate(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="is judged against the reference that `quality` names"):
        _suite(tmp_path, metrics="perplexity_loss: {}, ")


def test_an_allowance_without_a_reference_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"engines\.int4\.quality: no reference to measure from"):
        _suite(tmp_path, int4="quality: {perplexity: 4%}, ")
