"""comparison-junit.xml: what GitLab and Jenkins show of a gate that ran without pytest, a test a case.

Tests have the outcomes that pytest would give them: failed, skipped with the reason, or passed. Signals over
time and claims that make a gate red without belonging to a case are tests of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from perfgate.comparison import CaseVerdict, Comparison
from perfgate.report.figures import against, plain
from perfgate.verdict import MetricVerdict


def render_junit(comparison: Comparison, failed_claims: Sequence[str] = ()) -> bytes:
    """The file. failed_claims: a line for each claim of the field that fails the gate."""
    whole = ET.Element("testsuites")
    suite = ET.SubElement(whole, "testsuite", name=f"perfgate.{_clean(comparison.suite)}")
    for case in comparison.cases:
        _case(suite, comparison, case)
    for signal in comparison.failed_signals:
        _failed(_test(suite, comparison, "watch"), f"{signal.kind}: {signal.text}")
    for line in failed_claims:
        _failed(_test(suite, comparison, "claims"), line)
    for counted, path in (("tests", "testcase"), ("failures", "testcase/failure"), ("skipped", "testcase/skipped")):
        suite.set(counted, str(len(suite.findall(path))))
    suite.set("errors", "0")
    suite.set("timestamp", _clean(comparison.started)[:19])  # JUnit's own form has no zone
    suite.set("time", f"{comparison.seconds:.3f}")
    ET.indent(whole, " ")
    written: bytes = ET.tostring(whole, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _test(suite: ET.Element, comparison: Comparison, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=f"perfgate.{_clean(comparison.suite)}", name=_clean(name))


def _case(suite: ET.Element, comparison: Comparison, case: CaseVerdict) -> None:
    """No time of its own: rounds are an engine's, with all of its cases."""
    test = _test(suite, comparison, case.case.id)
    if case.metrics:
        properties = ET.SubElement(test, "properties")
        for one in case.metrics:
            ET.SubElement(properties, "property", name=f"perfgate_{_clean(one.metric)}", value=_clean(_said(one)))
    match case.outcome:
        case "failed":
            _failed(test, case.headline, case.lines)
        case "skipped":
            ET.SubElement(test, "skipped", message=_clean(f"not supported: {case.case.skip}"))
        case "warned":
            ET.SubElement(test, "skipped", message=_clean(f"{case.verdict}: {case.headline}"))
        case "waived":
            ET.SubElement(test, "skipped", message=_clean(f"waived: {case.waived}"))
        case "recorded":
            ET.SubElement(test, "skipped", message="recorded, nothing judged yet: run again")
    if case.metrics:  # GitLab shows this, and no properties
        ET.SubElement(test, "system-out").text = "\n".join(
            _clean(f"{one.metric}: {_said(one)}") for one in case.metrics
        )


def _failed(test: ET.Element, message: str, lines: Sequence[str] = ()) -> None:
    failure = ET.SubElement(test, "failure", type="perfgate", message=_clean(message))
    failure.text = "\n".join(_clean(line.strip()) for line in lines or [message])


def _said(one: MetricVerdict) -> str:
    """'regressed: 12.48 ms against 10.00 ms; 24.8 % worse (99 % interval ...)'."""
    return f"{one.verdict}: {against(one)}{one.sentence}"


def _clean(text: str) -> str:
    """One printable line without the two characters that plain text may have and XML may not."""
    return plain(text).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
