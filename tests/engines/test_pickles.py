"""Of a checkpoint with pickles and code in it, backends beside us take the safetensors alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from perfgate.case import EngineSpec
from perfgate.engines.transformers_loading import copy_checkpoint
from perfgate.engines.vllm_checkpoint import link_checkpoint
from perfgate.errors import ModelError


def _vllm(model: Path, into: Path) -> None:
    link_checkpoint(EngineSpec("e", model, "vllm"), into)


def _transformers(model: Path, into: Path) -> None:
    into.mkdir()
    copy_checkpoint(model, into)


@pytest.mark.parametrize("take", [_vllm, _transformers])
def test_neither_pickles_nor_code_reach_an_engine(tmp_path: Path, take: Callable[[Path, Path], None]) -> None:
    model = tmp_path / "checkpoint"
    model.mkdir()
    for name in ("tokenizer.json", "pytorch_model.bin", "model.pt", "modeling_own.py"):
        (model / name).touch()
    (model / "config.json").write_text("{}")

    with pytest.raises(ModelError, match=r"lacks (model)?\*\.safetensors"):
        take(model, tmp_path / "without")
    (model / "model.safetensors").touch()
    take(model, tmp_path / "with")

    taken = {path.name for path in (tmp_path / "with").rglob("*") if path.is_file()}
    assert taken == {"config.json", "tokenizer.json", "model.safetensors"}
