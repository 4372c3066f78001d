"""Real lines of logs, and those that look like them and are harmless."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfgate.diagnosis import Diagnosis, Evidence, OomKills, diagnose
from perfgate.fault_kinds import ADVICE, ProcessFault
from perfgate.fault_signs import HARMLESS, SIGNS

LOGS = Path(__file__).parent / "logs"
REAL = [line.split("\t", 1) for line in (LOGS / "faults.txt").read_text().splitlines() if not line.startswith("#")]
HARMLESS_LINES = [line for line in (LOGS / "harmless.txt").read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(("kind", "line"), REAL)
def test_real_line_tells_its_kind(kind: str, line: str) -> None:
    found = diagnose(Evidence(1, ["INFO all is well", line, "the end"]))

    assert found is not None
    assert found.kind == kind
    assert found.told_by in line or found.told_by.removeprefix("...") in line


@pytest.mark.parametrize("line", HARMLESS_LINES)
def test_line_that_looks_alike_tells_nothing(line: str) -> None:
    assert diagnose(Evidence(1, [line])) is None


def test_cause_outweighs_what_follows_from_it_in_other_ranks() -> None:
    nccl = "[rank1]: torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1691"
    memory = "[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"

    found = diagnose(Evidence(-6, [nccl, memory, nccl]))

    assert found == Diagnosis(ProcessFault.GPU_OUT_OF_MEMORY, memory)


@pytest.mark.parametrize(
    ("code", "kills", "kind"),
    [
        (-9, OomKills(own=1, machine=1), ProcessFault.HOST_OUT_OF_MEMORY),
        (-9, OomKills(machine=1), ProcessFault.HOST_OUT_OF_MEMORY),
        (137, OomKills(machine=1), ProcessFault.HOST_OUT_OF_MEMORY),
        (1, OomKills(own=1), ProcessFault.HOST_OUT_OF_MEMORY),  # a worker of it was killed, and it gave up
        (1, OomKills(machine=1), None),  # somebody else's
        (-9, OomKills(), ProcessFault.KILLED),
        (137, OomKills(), ProcessFault.KILLED),
        (-11, OomKills(), ProcessFault.SEGFAULT),
        (139, OomKills(), ProcessFault.SEGFAULT),
        (-4, OomKills(), ProcessFault.ILLEGAL_INSTRUCTION),
        (-15, OomKills(), ProcessFault.KILLED),
        (-6, OomKills(), ProcessFault.CRASHED),
        (1, OomKills(), None),
        (0, OomKills(), None),
    ],
)
def test_code_and_kernel_counters_tell_where_no_line_does(
    code: int, kills: OomKills, kind: ProcessFault | None
) -> None:
    found = diagnose(Evidence(code, ["nothing of note"], kills))

    assert (found.kind if found else None) is kind


def test_line_outweighs_the_signal() -> None:
    found = diagnose(Evidence(-int(signal.SIGABRT), ["terminate called: std::bad_alloc"]))

    assert found is not None
    assert found.kind is ProcessFault.HOST_OUT_OF_MEMORY


def test_long_line_is_cut_around_what_tells_the_kind() -> None:
    found = diagnose(Evidence(1, ["x" * 900 + " CUDA error: out of memory " + "y" * 900]))

    assert found is not None
    assert "CUDA error: out of memory" in found.told_by
    assert len(found.told_by) <= 303


def test_cause_in_a_log_is_told_beside_what_the_process_said() -> None:
    found = Diagnosis(ProcessFault.GPU_OUT_OF_MEMORY, "CUDA error: out of memory")

    assert found.beside("it failed: CUDA error: out of memory") == (
        "out of GPU memory: it failed: CUDA error: out of memory"
    )
    assert found.beside("the server ended with code 1") == (
        "out of GPU memory: the server ended with code 1 (what tells it: CUDA error: out of memory)"
    )


def test_every_kind_has_advice_in_words_of_its_own() -> None:
    assert set(ADVICE) == set(ProcessFault)
    assert len({advice.words for advice in ADVICE.values()}) == len(ProcessFault)


def test_every_kind_stands_in_the_docs_with_its_advice() -> None:
    text = (Path(__file__).parents[1] / "docs" / "faults.md").read_text()

    for kind, advice in ADVICE.items():
        row = f"| `{kind}` | {advice.words} | {'yes' if advice.may_pass else 'no'} | {advice.next_step} |"
        assert row in text


def test_every_sign_says_who_writes_it() -> None:
    assert all(sign.source for sign in SIGNS)
    assert all(source for _, source in HARMLESS)


@settings(max_examples=50)
@given(st.integers(-300, 300), st.lists(st.text(max_size=200), max_size=5))
def test_any_text_and_code_is_judged(code: int, lines: list[str]) -> None:
    found = diagnose(Evidence(code, lines))

    assert found is None or re.search(r"\S", str(found))
