"""What a backend can carry out: checkpoints that have to be made first."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfgate.case import Drafting, EngineSpec, Speculation
from perfgate.device import Device
from perfgate.engines.carrying import why_unsupported

CPU = Device("cpu/x86_64-avx2", "a CPU")
MISSING = "the checkpoint student is not there yet: run make student"


@pytest.mark.parametrize("is_draft", [False, True])
def test_a_checkpoint_that_is_not_made_yet_is_a_skip_with_the_command(tmp_path: Path, *, is_draft: bool) -> None:
    student, whole = tmp_path / "student", tmp_path / "whole"
    whole.mkdir()
    drafting = Speculation(Drafting.DRAFT_MODEL, model=student) if is_draft else None
    spec = EngineSpec(
        "e", whole if is_draft else student, "fake_engine:FakeBackend", speculative=drafting, made_by="make student"
    )
    before = why_unsupported(spec, CPU)

    student.mkdir()

    assert before == MISSING
    assert why_unsupported(spec, CPU) != MISSING
