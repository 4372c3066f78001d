"""Kinds of faults, from an engine's words to the terminal, the reports and JUnit."""

from __future__ import annotations

import json

import pytest

from conftest import Project

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1.00 GiB"


def test_engine_without_memory_is_told_once_with_advice_and_not_tried_again(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    small_project(edit=lambda text: text.replace("step_us: 400", f'fail: load, say: "{OUT_OF_MEMORY}"'))

    run = pytester.runpytest(
        "-p", "no:cacheprovider", "--perfgate-policy", "ci", "--junitxml", "out.xml", "-k", "build"
    )

    run.stdout.fnmatch_lines(
        [
            "*does not count: out of GPU memory: CUDA out of memory*; next: lower max_batch_size*; not tried again*",
            "*next (gpu-out-of-memory): lower max_batch_size*",
        ]
    )
    told = json.loads((pytester.path / "perfgate-out" / "run.json").read_bytes())
    assert [one["fault_kind"] for one in told["rounds"]] == ["gpu-out-of-memory"]
    assert '<property name="perfgate_fault_gpu-out-of-memory" value="1"' in (pytester.path / "out.xml").read_text()
    assert "lower max_batch_size" in (pytester.path / "perfgate-out" / "summary.md").read_text()
    assert "<td>gpu-out-of-memory</td>" in (pytester.path / "perfgate-out" / "report.html").read_text()
