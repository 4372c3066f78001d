"""The backend vllm through the double of vLLM 0.26.0, in child processes; the real one needs a GPU."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
DOUBLE = TESTS / "doubles" / "vllm-0.26"
SOURCES = TESTS.parent / "src"
CONFIG = {"architectures": ["LlamaForCausalLM"], "dtype": "bfloat16", "vocab_size": 512}
LN2 = math.log(2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a checkpoint that has no weights, as load_format: dummy takes it."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(CONFIG))
    (model / "tokenizer.json").write_text("{}")
    (model / "modeling_own.py").write_text("raise SystemExit")
    return tmp_path


def answer(folder: Path, **job: Any) -> dict[str, Any]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (SOURCES, DOUBLE)))}
    env = {name: value for name, value in env.items() if not name.startswith(("VLLM_", "HF_", "PYTEST"))}
    words = [sys.executable, str(Path(__file__).with_name("vllm_child.py")), json.dumps({"folder": str(folder), **job})]
    ended = subprocess.run(words, capture_output=True, text=True, env=env, check=False, timeout=60)
    assert "ANSWER" in ended.stdout, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.split("ANSWER")[1])
    return found


def test_every_request_is_due_once_and_gets_exactly_its_tokens(folder: Path) -> None:
    found = answer(folder, lengths=[5, 9, 7], output_len=6, concurrency=2)

    assert [request for request, tokens in found["events"] if not tokens] == [0, 1, 2]
    assert {name: sum(t for r, t in found["events"] if r == name) for name in range(3)} == {0: 6, 1: 6, 2: 6}
    assert found["is_ordered"]
    assert not found["is_speculative"]


def test_request_joins_when_another_ended(folder: Path) -> None:
    found = answer(folder, lengths=[4, 4, 4], output_len=3, concurrency=2, spec={"overlap_scheduler": False})

    assert found["events"][:2] == [[0, 0], [1, 0]]
    assert found["events"][2:9].index([2, 0]) == 6  # after three tokens each of the first two


def test_speculation_gives_several_tokens_an_event(folder: Path) -> None:
    found = answer(folder, lengths=[4], output_len=8, spec={"speculative": 3})

    assert max(tokens for _, tokens in found["events"]) > 1
    assert sum(tokens for _, tokens in found["events"]) == 8
    assert found["is_speculative"]
    assert found["notes"]["speculation"] == "ngram"
    assert found["notes"]["async_scheduling"] == "False"


def test_score_is_of_every_token_but_the_first(folder: Path) -> None:
    found = answer(folder, texts=[[9, 1, 2, 17], [5], []])

    assert found["scores"][0] == pytest.approx([-3 * LN2, -4 * LN2, -3 * LN2])
    assert found["scores"][1:] == [[], []]


def test_the_likeliest_tokens_come_with_the_scores_of_the_last_ones(folder: Path) -> None:
    found = answer(folder, texts=[[0, 1, 2, 5]])

    (top,) = found["tops"]
    assert top["log_probs"] == pytest.approx(found["scores"][0][-2:])
    assert top["ids"] == [[0, 1, 2], [0, 1, 2]]  # the double's odds fall with the id modulo 8
    assert top["top"][0] == pytest.approx([-2 * LN2, -3 * LN2, -4 * LN2])


def test_planted_loss_of_quality_raises_perplexity_by_no_more_than_asked(folder: Path) -> None:
    ids = [index * 37 % 512 for index in range(900)]

    true, planted = (answer(folder, texts=[ids], perplexity=ratio)["scores"][0] for ratio in (1.0, 1.3))

    raised = math.exp((sum(true) - sum(planted)) / len(true))
    assert 1.05 < raised < 1.4


@pytest.mark.parametrize("is_ahead", [False, True], ids=["in step", "scheduled ahead"])
def test_planted_slowdown_makes_steps_longer(folder: Path, *, is_ahead: bool) -> None:
    """Also where the GPU has its next batch already, and a wait of the host alone would be lost."""
    job = {"lengths": [4], "output_len": 60, "spec": {"overlap_scheduler": is_ahead}}

    true, planted = (answer(folder, decode=ratio, **job)["itl_ns"] for ratio in (1.0, 1.8))

    assert sum(planted[1:]) / sum(true[1:]) == pytest.approx(1.8, rel=0.02)


def test_where_nothing_can_be_profiled_the_reason_is_told_and_the_engine_goes_on(folder: Path) -> None:
    found = answer(folder, lengths=[4], text="ab")

    assert found["steps"]["steps"] == []
    assert "profiling failed: ModuleNotFoundError" in found["steps"]["reason"]  # the double of torch has no profiler
    assert found["encoded"] == [97, 98]


def test_workers_in_other_processes_cannot_be_profiled(folder: Path) -> None:
    found = answer(folder, lengths=[4], spec={"tp": 2})

    assert "other processes" in found["steps"]["reason"]


def test_text_is_encoded_without_special_tokens(folder: Path) -> None:
    assert answer(folder, text="ab")["encoded"] == [97, 98]


def test_notes_tell_what_the_engine_says_it_runs_with(folder: Path) -> None:
    spec = {
        "precision": "fp8",
        "kv_cache_dtype": "fp8",
        "prefix_caching": True,
        "chunked_prefill": True,
        "cuda_graphs": False,
        "max_batch_size": 4,
        "max_num_tokens": 64,
    }

    found = answer(folder, spec=spec)

    assert found["notes"] == {
        "dtype": "bfloat16",
        "quantization": "fp8",
        "load_format": "dummy",
        "max_model_len": "1024",
        "enforce_eager": "True",
        "cudagraph_mode": "NONE",
        "kv_cache_dtype": "fp8",
        "kv_blocks": "512",
        "kv_block_tokens": "16",
        "prefix_caching": "True",
        "chunked_prefill": "True",
        "async_scheduling": "True",
        "max_num_seqs": "4",
        "max_num_batched_tokens": "64",
        "v2_model_runner": "True",
        "tensor_parallel_size": "1",
        "pipeline_parallel_size": "1",
        "speculation": "None",
    }
    assert (found["kv_blocks"], found["peak_gpu_bytes"]) == (512, 123_000_000)
    assert found["versions"]["vllm"] == "0.26.0+double"


def test_what_is_compiled_is_kept_beside_the_entry_which_does_not_change(folder: Path) -> None:
    answer(folder)
    before = sorted(path.name for path in (folder / "engine").rglob("*"))

    answer(folder)

    assert before == sorted(path.name for path in (folder / "engine").rglob("*")) == CHECKPOINT
    assert (folder / "engine.scratch" / "torch_compile_cache" / "loads").read_text().count("load") == 3
    assert (folder / "engine.scratch" / "cleaned").exists()


CHECKPOINT = ["config.json", "model", "tokenizer.json"]  # neither code nor weights


def test_weights_are_linked_where_they_are_read(folder: Path) -> None:
    (folder / "model" / "model.safetensors").write_bytes(b"weights")

    answer(folder, spec={"engine_args": []})

    assert (folder / "engine" / "model" / "model.safetensors").samefile(folder / "model" / "model.safetensors")


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"spec": {"engine_args": []}}, "ModelError: .* lacks \\*.safetensors"),
        ({"lengths": [1024]}, "EngineError: vLLM refused a request: .* longer than the maximum model length of 1024"),
        ({"spec": {"precision": "int4_awq"}}, r"REFUSED int4_awq must be in the checkpoint .* has none"),
        ({"spec": {"engine_args": [["gpu_memory_utilisation", 0.5]]}}, "did you mean 'gpu_memory_utilization'"),
        ({"spec": {"engine_args": [["max_model_len", 9]]}}, "comes from the spec's key 'max_seq_len'"),
        ({"spec": {"kv_cache_dtype": "fp32"}}, "KV cache fp32 is not served here"),
        (
            {"spec": {"speculative": 2, "engine_args": [["load_format", "dummy"], ["speculative_config.lookup", 1]]}},
            "EngineError: vLLM cannot load 'e': speculative_config: Unexpected keyword argument",
        ),
        ({"spec": {"batching": "static"}}, "REFUSED vLLM batches in flight"),
        ({"spec": {"tp": 2}, "decode": 2.0}, "UsageError: a slower decode cannot be planted in 'e'"),
        ({"serve": True, "decode": 2.0}, "UsageError: a regression cannot be planted in vllm serve"),
    ],
)
def test_what_cannot_be_is_one_line(folder: Path, job: dict[str, Any], words: str) -> None:
    found = answer(folder, **job)

    text = found.get("error") or f"REFUSED {found.get('refused')}"
    assert re.search(words, text), text
    assert "\n" not in text


def test_quantised_checkpoint_is_taken_as_it_is(folder: Path) -> None:
    (folder / "model" / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": {"quant_method": "awq"}}))

    found = answer(folder, spec={"precision": "int4_awq"}, lengths=[4])

    assert sum(tokens for _, tokens in found["events"]) == 4
    assert found["notes"]["quantization"] == "None"  # left to the checkpoint


def test_server_is_of_the_prepared_checkpoint_and_of_this_python(folder: Path) -> None:
    found = answer(folder, serve=True, spec={"max_batch_size": 4})

    assert found["version"] == "0.26.0+double"
    assert found["model"] == str(folder / "engine" / "model")
    assert found["argv"][:4] == [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve"]
    assert "double of vllm serve" in (folder / "server.log").read_text()


def test_double_has_no_field_that_the_backend_made_up(folder: Path) -> None:
    """Also with everything set: the double refuses what vLLM 0.26.0 does not know."""
    spec = {
        "speculative": 2,
        "overlap_scheduler": False,
        "cuda_graphs": True,
        "engine_args": [
            ["load_format", "dummy"],
            ["gpu_memory_utilization", 0.5],
            ["compilation_config.cudagraph_mode", "PIECEWISE"],
            ["speculative_config.rejection_sample_method", "synthetic"],
            ["speculative_config.synthetic_acceptance_length", 2.0],
        ],
    }

    assert answer(folder, spec=spec)["notes"]["cudagraph_mode"] == "PIECEWISE"
