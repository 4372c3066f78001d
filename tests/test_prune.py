"""`scripts/prune.py`: what it takes out of a checkpoint, and that the OpenVINO graph still fits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from perfgate.engines.openvino import read_checkpoint

ROOT = Path(__file__).parents[1]
BASE = ROOT / "fixtures" / "models" / "tiny-llama"


def _pruned(tmp_path: Path, *args: str) -> Path:
    script = str(ROOT / "scripts" / "prune.py")
    subprocess.run([sys.executable, script, "--out", str(tmp_path), "--name", "p", *args], check=True)
    return tmp_path / "tiny-llama-p"


def test_channels_and_heads_leave_a_smaller_model_that_runs(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    folder = _pruned(tmp_path, "--channels", "0.25", "--kv-heads", "1", "--zero", "0.5")

    model = openvino.Core().compile_model(read_checkpoint(folder), "CPU")
    ids = np.arange(3, 11, dtype=np.int64)[None]
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": ids - 3}
    logits = model({**given, "beam_idx": np.zeros(1, np.int32)})["logits"]

    config, told = (json.loads((folder / name).read_text()) for name in ("config.json", "compression.json"))
    sizes = [config[name] for name in ("intermediate_size", "num_attention_heads", "num_key_value_heads")]
    assert sizes == [480, 2, 1]
    assert logits.shape == (1, 8, 2048)
    assert np.isfinite(logits).all()
    layers = told["parameters"] - 2048 * 256 - 11 * 256  # all but embeddings and norms
    assert told["parameters"] - told["nonzero"] == pytest.approx(layers / 2, rel=0.01)
    assert (folder / "model.safetensors").stat().st_size < (BASE / "model.safetensors").stat().st_size


def test_nothing_taken_out_is_the_same_model(tmp_path: Path) -> None:
    folder = _pruned(tmp_path)

    same = (folder / "model.safetensors").read_bytes()[-1000:]
    assert same == (BASE / "model.safetensors").read_bytes()[-1000:]
