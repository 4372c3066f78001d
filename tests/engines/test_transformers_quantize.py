"""`perfgate quantize` with torchao itself: a checkpoint alone, from its files to a verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("torchao")

from perfgate.cli import main

ROOT = Path(__file__).parents[2]
EXIT_OK, EXIT_ADJUST = 0, 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "allowed", "code", "outcome"),
    [("int8_wo", "3%", EXIT_OK, "accept"), ("int4_wo", "0.5%", EXIT_ADJUST, "adjust")],
)
def test_transformers_takes_a_checkpoint_to_a_verdict(
    tmp_path: Path, precision: str, allowed: str, code: int, outcome: str
) -> None:
    texts = (ROOT / "fixtures" / "prompts" / "held-out.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "texts.jsonl").write_text("".join(texts[:10]))

    found = main([
        "quantize", str(ROOT / "fixtures" / "models" / "tiny-llama-draft"), "--backend", "transformers",
        "--precision", precision, "--allow", allowed, "--text", str(tmp_path / "texts.jsonl"), "--rounds", "1",
        "--state", str(tmp_path / "state"), "--out", str(tmp_path / "out"),
    ])  # fmt: skip

    record = json.loads((tmp_path / "out" / "quantization.json").read_text())
    size = next(one for one in record["attempts"][0]["gains"] if one["metric"] == "engine_bytes")
    assert (found, record["outcome"]) == (code, outcome), record
    assert (size["ratio"], size["is_better"]) == (1.0, None)  # torchao quantises at load: as many bytes lie on disk
