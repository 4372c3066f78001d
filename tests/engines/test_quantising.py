"""Weights quantised with options and calibration texts: NNCF itself, and what ModelOpt is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.case import EngineSpec, Precision, Quantisation
from perfgate.device import Device
from perfgate.engines.cache import key_parts
from perfgate.engines.calibration_texts import calibration_texts, kept_calibration
from perfgate.engines.openvino import OpenVino, read_checkpoint
from perfgate.engines.openvino_quantising import compressed
from perfgate.engines.tensorrt_llm_build import quantise_argv
from perfgate.engines.tensorrt_llm_calibrating import calibration_data, calibration_fields
from perfgate.errors import ModelError

TINY = Path(__file__).parents[2] / "fixtures" / "models" / "tiny-llama-draft"
SPEC = EngineSpec("q", TINY, precision=Precision.INT8_SQ)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text(
        "".join(json.dumps({"id": str(n), "text": f"def f{n}(x): return x + {n}\n"}) + "\n" for n in range(4))
    )
    return path


def test_nncf_smooths_on_the_texts_and_their_record_stays(texts: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    spec = replace(SPEC, quantisation=Quantisation(calibration=texts, calibration_texts=3, calibration_tokens=8))

    model = compressed(read_checkpoint(TINY), spec, TINY, tmp_path)

    found = kept_calibration(tmp_path)
    assert any(one.get_type_name() == "FakeQuantize" for one in model.get_ops())  # activations are rounded too
    assert found is not None
    assert (found.file, found.texts, found.tokens) == ("texts.jsonl", 3, 24)


def test_changed_texts_are_another_engine(texts: Path) -> None:
    spec, cpu = replace(SPEC, quantisation=Quantisation(calibration=texts)), Device("cpu/x86_64-avx2", "a CPU")
    before = key_parts(spec, cpu, OpenVino())

    texts.write_text(texts.read_text().replace("return", "yield"))

    assert key_parts(spec, cpu, OpenVino())["calibration"] != before["calibration"]
    assert "calibration" not in key_parts(SPEC, cpu, OpenVino())


def test_more_texts_than_there_are_is_a_mistake(texts: Path) -> None:
    with pytest.raises(ModelError, match="has 4 texts, calibration_texts asks for 9"):
        calibration_texts(Quantisation(calibration=texts, calibration_texts=9))


def test_modelopt_is_told_where_the_texts_lie_and_how_many_to_read(texts: Path, tmp_path: Path) -> None:
    options = Quantisation(group_size=64, calibration=texts, calibration_texts=2, calibration_tokens=128)
    spec = replace(SPEC, backend="tensorrt_llm", precision=Precision.INT4_AWQ, quantisation=options)
    folder = tmp_path / "engine"
    folder.mkdir()

    argv = quantise_argv(spec, "/q.py", folder / "checkpoint")
    with calibration_data(spec, folder):
        lines = (folder / "calibration" / "train.jsonl").read_text().splitlines()

    flags = dict(zip(argv[2::2], argv[3::2], strict=True))
    assert flags["--calib_dataset"] == str(folder / "calibration")
    assert (flags["--calib_size"], flags["--calib_max_seq_length"], flags["--awq_block_size"]) == ("2", "128", "64")
    assert [set(json.loads(line)) for line in lines] == [{"text"}, {"text"}]
    assert calibration_fields(spec, folder)["calib_batches"] == 2
    assert not (folder / "calibration").exists()
    found = kept_calibration(folder)
    assert found is not None
    assert (found.texts, found.tokens) == (2, None)
