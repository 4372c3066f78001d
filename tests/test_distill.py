"""`scripts/distill.py`: what it asks for, what it refuses, and a student of few steps where torch is installed."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "fixtures" / "models"


@pytest.fixture(scope="module", name="script")
def _script() -> Any:
    sys.path[:0] = [str(ROOT / "scripts"), str(MODELS)]
    try:
        return importlib.import_module("distill")
    finally:
        del sys.path[:2]


def _faults(script: Any, *arguments: str) -> list[str]:
    found: list[str] = script.faults_of(script.parse_options(["--student", str(MODELS / "tiny-llama"), *arguments]))
    return found


def test_the_shipped_model_may_be_its_own_student(script: Any) -> None:
    assert _faults(script) == []


def test_all_faults_are_told_at_once(script: Any) -> None:
    found = _faults(script, "--steps", "0", "--batch", "-1", "--context", "4096", "--rate", "2", "--teacher", "nowhere")

    assert found == [
        "--steps: found 0, expected 1 or more",
        "--batch: found -1, expected 1 or more",
        "--context: found 4096, expected 1 to 2048 tokens",
        "--rate: found 2, expected more than 0 and less than 1",
        "no checkpoint at nowhere: python scripts/prune.py makes those in build/models",
    ]


def test_a_student_of_another_shape_is_refused(script: Any) -> None:
    (fault,) = _faults(script, "--student", str(MODELS / "tiny-llama-draft"))

    assert "tiny-llama-draft was not pruned from tiny-llama: other hidden_size, num_hidden_layers" in fault


def test_a_fault_ends_the_command_before_torch_is_asked_for(script: Any) -> None:
    with pytest.raises(SystemExit, match="--steps: found 0"):
        script.main(["--steps", "0"])


@pytest.mark.parametrize(
    ("losses", "means"),
    [([], []), ([3.0], [3.0]), ([2.0] * 25 + [1.0] * 25, [2.0, 1.0]), ([1.0] * 25 + [4.0, 5.0], [1.0, 4.5])],
)
def test_the_course_of_the_loss_is_means_of_25_steps(script: Any, losses: list[float], means: list[float]) -> None:
    assert script.course(losses) == means


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_student_of_few_steps_moves_and_tells_how_it_was_made(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    threads = torch.get_num_threads()
    monkeypatch.setattr(script, "tokens_of", lambda _: torch.arange(3, 1003))

    script.main([
        "--student", str(MODELS / "tiny-llama"), "--out", str(tmp_path / "s"),
        "--steps", str(steps), "--batch", "2", "--context", "16",
    ])  # fmt: skip
    torch.set_num_threads(threads)

    made = json.loads((tmp_path / "s" / "compression.json").read_text())
    (loss,) = made["loss, nats, mean of 25 steps"]
    assert 0 < loss < 10
    assert (made["seed"], made["trained_tokens"], made["corpus_tokens"]) == (20, steps * 32, 1000)
    name = "model.safetensors"
    assert (tmp_path / "s" / name).read_bytes() != (MODELS / "tiny-llama" / name).read_bytes()
