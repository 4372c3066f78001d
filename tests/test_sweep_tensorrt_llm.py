"""The build options of TensorRT-LLM as a sweep, against its double: real builds and rounds, and skips with reasons."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from doubles.tensorrt_llm_double import install
from engines.tensorrt_llm_helpers import H200, SRC, converted_model, texts
from perfgate import sweep_plan
from perfgate.cli import main

SUITE = """
schema: 1
suite: trt
engines:
  base: {backend: tensorrt_llm, flow: engine, model: model, precision: bf16, max_seq_len: 128, max_num_tokens: 256}
workloads:
  traffic: {kind: latency, prompts: texts.jsonl, input_len: 8, output_len: 12, concurrency: 2, requests: 16}
sweep:
  axes:
    max_input_len: [32, 64]
    kv_cache_dtype: [auto, int4]
  rounds: 1
cases: []
gate: {metrics: {}, max_foreign_cpu: 100%}
"""


def test_build_options_are_swept_and_what_a_version_lacks_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    double = install(tmp_path / "double", "1.2.1")
    for name, value in double.variables(SRC).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(double.site))
    monkeypatch.setattr(sweep_plan, "find_device", lambda: H200)
    monkeypatch.chdir(tmp_path)
    converted_model(tmp_path / "model")
    texts(tmp_path / "texts.jsonl")
    (tmp_path / "suite.yaml").write_text(SUITE)

    code = main(["sweep", "--suite", "suite.yaml"])

    told = capsys.readouterr().out
    assert code == 0, told
    assert "2 configurations measured" in told
    assert "KV cache int4 on the flow engine: set auto" in told
    rows = list(csv.DictReader((tmp_path / "perfgate-out" / "trtllm_tradeoffs.csv").read_text().splitlines()))
    assert [(row["max_input_len"], row["max_output_len"]) for row in rows] == [("32", "96"), ("64", "64")]
    assert all(float(row["build_time_s"]) > 0 and float(row["p95_total_ms"]) > 0 for row in rows)
