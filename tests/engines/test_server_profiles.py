"""Command lines of servers, against what each version is known to take."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from perfgate.case import Batching, Drafting, EngineSpec, KvDtype, Precision, Speculation
from perfgate.engines.kept import Launch
from perfgate.engines.server_profile import Place
from perfgate.engines.server_profiles import PROFILES, profile
from perfgate.errors import UsageError

MODEL = Path("/models/llama-8b")
SPEC = EngineSpec("e", MODEL, "vllm", Precision.BF16, tp=2, max_batch_size=64, max_num_tokens=4096, max_seq_len=2048)

# trtllm-serve flags that every version from 1.0 on takes, and 0.20 too.
TRTLLM_PORTABLE = {
    *(
        "--tp_size",
        "--pp_size",
        "--ep_size",
        "--max_batch_size",
        "--max_num_tokens",
        "--max_seq_len",
        "--host",
        "--port",
    ),
    *("--kv_cache_free_gpu_memory_fraction", "--extra_llm_api_options", "--backend"),
}
VERSIONS = ["0.20.0", "1.0.0", "1.1.0", "1.2.1", "1.3.0rc20", "1.3.0rc21"]


def launched(name: str, spec: EngineSpec, version: str, **more: Any) -> Launch:
    return profile(name).launch(spec, Place(8123, Path("/run"), version, **more))


def args(**own: str | float | bool) -> EngineSpec:
    return replace(SPEC, engine_args=tuple(own.items()))


NEWEST = {"trtllm-serve": "1.2.1", "vllm serve": "0.26.0", "sglang": "0.5.23", "transformers serve": "5.17.0"}


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_told_loopback(name: str) -> None:
    argv = launched(name, replace(SPEC, tp=1), NEWEST[name]).argv

    assert argv[argv.index("--host") + 1] == "127.0.0.1"
    assert argv.count("--host") == 1


@pytest.mark.parametrize("name", PROFILES)
def test_no_engine_argument_says_where_a_profile_listens(name: str) -> None:
    with pytest.raises(UsageError, match="host"):
        launched(name, replace(args(host="0.0.0.0"), tp=1), NEWEST[name])  # noqa: S104 - that it is refused


# ------------------------------------------------------------------ trtllm-serve


def config(launch: Launch) -> dict[str, Any]:
    (text,) = launch.files.values()
    plain: dict[str, Any] = yaml.safe_load(text)
    return plain


@pytest.mark.parametrize("version", VERSIONS)
def test_trtllm_serve_is_asked_with_flags_of_all_versions_only(version: str) -> None:
    made = launched("trtllm-serve", replace(SPEC, engine_args=(("ep_size", 2),)), version)

    assert made.argv == (
        *("trtllm-serve", "/models/llama-8b", "--host", "127.0.0.1", "--port", "8123", "--backend", "pytorch"),
        *("--tp_size", "2", "--pp_size", "1", "--max_batch_size", "64", "--max_num_tokens", "4096"),
        *("--max_seq_len", "2048", "--ep_size", "2", "--extra_llm_api_options", "/run/e.trtllm-serve.yaml"),
    )
    assert {word for word in made.argv if word.startswith("--")} <= TRTLLM_PORTABLE
    assert list(made.files) == [Path("/run/e.trtllm-serve.yaml")]
    assert made.routes.health[0] == "/health"
    assert made.routes.facts[:2] == ("/version", "/v1/models")


def test_trtllm_serve_is_told_the_rest_in_its_file() -> None:
    made = config(launched("trtllm-serve", replace(SPEC, kv_cache_dtype=KvDtype.FP8, prefix_caching=True), "1.2.1"))

    assert made == {
        "dtype": "bfloat16",
        "enable_chunked_prefill": False,
        "kv_cache_config": {"enable_block_reuse": True, "dtype": "fp8"},
    }


@pytest.mark.parametrize(
    ("version", "is_on", "expected"),
    [
        ("0.20.0", True, {"use_cuda_graph": True}),
        ("0.20.0", False, {"use_cuda_graph": False}),
        ("1.0.0", True, {"cuda_graph_config": {"enable_padding": True, "max_batch_size": 64}}),
        ("1.3.0rc20", False, {"cuda_graph_config": None}),
    ],
)
def test_cuda_graphs_have_the_names_of_the_version(version: str, is_on: bool, expected: dict[str, Any]) -> None:  # noqa: FBT001
    made = config(launched("trtllm-serve", replace(SPEC, cuda_graphs=is_on), version))

    assert {key: value for key, value in made.items() if "graph" in key} == expected


@pytest.mark.parametrize(
    ("version", "key"),
    [("1.0.0", "speculative_model_dir"), ("1.3.0rc20", "speculative_model_dir"), ("1.3.0rc21", "speculative_model")],
)
def test_the_draft_model_has_the_key_of_the_version(version: str, key: str) -> None:
    draft = Speculation(Drafting.DRAFT_MODEL, 4, Path("/models/draft"))

    made = config(launched("trtllm-serve", replace(SPEC, speculative=draft), version))

    assert made["speculative_config"] == {"decoding_type": "Draft_Target", "max_draft_len": 4, key: "/models/draft"}


def test_ngram_speculation_and_the_overlap_scheduler_are_stated() -> None:
    spec = replace(SPEC, speculative=Speculation(Drafting.NGRAM, 5), overlap_scheduler=False)

    made = config(launched("trtllm-serve", spec, "1.1.0"))

    assert made["speculative_config"] == {"decoding_type": "NGram", "max_draft_len": 5}
    assert made["disable_overlap_scheduler"] is True


def test_own_arguments_go_into_the_file_and_may_be_nested() -> None:
    own: dict[str, Any] = {
        "kv_cache_config.max_tokens": 100_000,
        "load_format": "dummy",
        "kv_cache_free_gpu_memory_fraction": 0.8,
    }

    made = launched("trtllm-serve", args(**own), "1.2.1")

    assert config(made)["kv_cache_config"] == {"enable_block_reuse": False, "dtype": "auto", "max_tokens": 100_000}
    assert config(made)["load_format"] == "dummy"
    assert made.argv[-4:-2] == ("--kv_cache_free_gpu_memory_fraction", "0.8")


def test_a_quantised_precision_needs_a_checkpoint_that_is(tmp_path: Path) -> None:
    spec = replace(SPEC, model=tmp_path, precision=Precision.FP8)

    with pytest.raises(UsageError, match=r"precision fp8 needs a checkpoint with quant_algo FP8 .*found none"):
        launched("trtllm-serve", spec, "1.2.1")

    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))
    assert config(launched("trtllm-serve", spec, "1.2.1"))["dtype"] == "auto"


@pytest.mark.parametrize(
    ("change", "version", "words"),
    [
        ({}, "0.19.0", "version 0.19.0 is not known here: use 0.20 or newer"),
        ({}, "latest", "found the version 'latest', expected one like 0.20"),
        ({"kv_cache_dtype": KvDtype.INT8}, "1.2.1", "KV cache int8: the PyTorch backend has auto, fp8, fp16, bf16"),
        ({"precision": Precision.INT8_SQ}, "1.2.1", "precision int8_sq is not served by the PyTorch backend"),
        ({"speculative": Speculation(Drafting.NGRAM)}, "0.20.0", "version 0.20.0 has no speculation"),
        ({"batching": Batching.STATIC}, "1.2.1", "servers batch in flight"),
        ({"paged_kv": False}, "1.2.1", "servers keep a paged KV cache"),
        ({"context_fmha": True}, "1.2.1", "belong to the TensorRT-engine backend"),
        ({"engine_args": (("quantization", "fp8"),)}, "1.2.1", "name a checkpoint that is quantised already"),
        ({"engine_args": (("enable-prefix-caching", True),)}, "1.2.1", "vLLM spells it so; set the spec's key"),
        ({"engine_args": (("max_chunked_prefill_length", 8),)}, "1.2.1", "bounded by the spec's max_num_tokens"),
        ({"engine_args": (("tp_size", 8),)}, "1.2.1", "engine_args tp_size comes from the spec's key 'tp'"),
        ({"engine_args": (("dtype.x", 1),)}, "1.2.1", "'dtype' is not a group of settings here"),
        ({"engine_args": (("--port; rm", 1),)}, "1.2.1", "is no argument's name"),
    ],
)
def test_trtllm_serve_refuses_in_one_line_what_it_lacks(change: dict[str, Any], version: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        launched("trtllm-serve", replace(SPEC, **change), version)

    assert words in str(caught.value)
    assert str(caught.value).startswith("trtllm-serve: ")
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ vllm serve

# Options of vLLM 0.26.0 (engine/arg_utils.py, entrypoints/openai/cli_args.py) that a spec can lead to.
VLLM_OPTIONS = {
    *("--host", "--port", "--dtype", "--quantization", "--tensor-parallel-size", "--pipeline-parallel-size"),
    *("--max-num-seqs", "--max-num-batched-tokens", "--max-model-len", "--kv-cache-dtype", "--speculative-config"),
    *("--enable-prefix-caching", "--no-enable-prefix-caching", "--enable-chunked-prefill"),
    *("--no-enable-chunked-prefill", "--enforce-eager", "--no-enforce-eager"),
    *("--async-scheduling", "--no-async-scheduling"),
}
VLLM_KV_DTYPES = {"auto", "float16", "bfloat16", "fp8", "int8_per_token_head", "int4_per_token_head"}


def test_vllm_serve_is_asked_as_its_command_line_reads() -> None:
    assert launched("vllm serve", SPEC, "0.26.0").argv == (
        *("vllm", "serve", "/models/llama-8b", "--host", "127.0.0.1", "--port", "8123", "--dtype", "bfloat16"),
        *("--tensor-parallel-size", "2", "--pipeline-parallel-size", "1", "--max-num-seqs", "64"),
        *("--max-num-batched-tokens", "4096", "--max-model-len", "2048", "--kv-cache-dtype", "auto"),
        *("--no-enable-prefix-caching", "--no-enable-chunked-prefill", "--load-format", "safetensors"),
    )


def checkpoint(folder: Path, files: tuple[str, ...], name: str) -> EngineSpec:
    """A spec that the profile takes, over a folder of such files."""
    for file in files:
        (folder / file).touch()
    return replace(SPEC, model=folder, tp=1 if name == "transformers serve" else SPEC.tp)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("files", [("pytorch_model.bin",), ("model.pth", "x.safetensors"), ("consolidated.ckpt",)])
def test_pickles_are_refused_before_a_server_starts_unless_they_are_named(
    tmp_path: Path, name: str, files: tuple[str, ...]
) -> None:
    spec = checkpoint(tmp_path, files, name)

    with pytest.raises(UsageError, match=rf"{name}: .*pickles \({files[0]}\).* or say engine_args pickles: true"):
        launched(name, spec, NEWEST[name])
    named = launched(name, replace(spec, engine_args=(("pickles", True),)), NEWEST[name]).argv
    assert not {"safetensors", "--pickles"} & set(named)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("files", [(), ("training_args.bin", "model.safetensors"), ("model.safetensors.index.json",)])
def test_servers_that_can_be_told_to_read_safetensors_are(tmp_path: Path, name: str, files: tuple[str, ...]) -> None:
    argv = launched(name, checkpoint(tmp_path, files, name), NEWEST[name]).argv

    assert ("--load-format safetensors" in " ".join(argv)) is (name in {"vllm serve", "sglang"})


def test_pickles_of_a_draft_model_are_refused_too_and_a_load_format_is_the_suites(tmp_path: Path) -> None:
    (tmp_path / "draft.pt").touch()
    spec = replace(SPEC, speculative=Speculation(Drafting.DRAFT_MODEL, 4, tmp_path))

    with pytest.raises(UsageError, match=r"pickles \(draft\.pt\)"):
        launched("vllm serve", spec, "0.26.0")
    for own in ("dummy", "pt"):
        argv = launched("vllm serve", replace(spec, engine_args=(("load_format", own),)), "0.26.0").argv
        assert argv[argv.index("--load-format") + 1] == own


def test_vllm_serve_is_told_every_technique() -> None:
    spec = replace(
        SPEC,
        precision=Precision.FP8,
        kv_cache_dtype=KvDtype.FP8,
        prefix_caching=True,
        chunked_prefill=True,
        cuda_graphs=False,
        overlap_scheduler=False,
        speculative=Speculation(Drafting.NGRAM, 4),
        engine_args=(("gpu_memory_utilization", 0.8), ("load_format", "dummy"), ("trust_remote_code", False)),
    )

    made = launched("vllm serve", spec, "0.26.0").argv

    assert made[made.index("--quantization") + 1] == "fp8"
    assert made[made.index("--dtype") + 1] == "auto"
    assert made[made.index("--kv-cache-dtype") + 1] == "fp8"
    assert json.loads(made[made.index("--speculative-config") + 1]) == {
        "method": "ngram",
        "num_speculative_tokens": 4,
        "prompt_lookup_max": 4,
    }
    assert {word for word in made[:-5] if word.startswith("--")} <= VLLM_OPTIONS
    assert made[-9:] == (
        *("--enable-prefix-caching", "--enable-chunked-prefill", "--enforce-eager", "--no-async-scheduling"),
        *("--gpu-memory-utilization", "0.8", "--load-format", "dummy", "--no-trust-remote-code"),
    )


@pytest.mark.parametrize("kv", [KvDtype.AUTO, KvDtype.FP16, KvDtype.BF16, KvDtype.FP8, KvDtype.INT8, KvDtype.INT4])
def test_vllm_serve_knows_the_kv_cache_by_its_own_names(kv: KvDtype) -> None:
    made = launched("vllm serve", replace(SPEC, kv_cache_dtype=kv), "0.26.0").argv

    assert made[made.index("--kv-cache-dtype") + 1] in VLLM_KV_DTYPES


def test_a_kv_cache_in_the_compute_precision_is_the_engines_own() -> None:
    made = launched("vllm serve", replace(SPEC, kv_cache_dtype=KvDtype.BF16), "0.26.0").argv

    assert made[made.index("--kv-cache-dtype") + 1] == "auto"


def test_a_program_of_the_users_own_replaces_the_first_words() -> None:
    made = launched("vllm serve", SPEC, "0.26.0", program=("python3", "-m", "vllm.entrypoints.cli.main", "serve"))

    assert made.argv[:5] == ("python3", "-m", "vllm.entrypoints.cli.main", "serve", "/models/llama-8b")


@pytest.mark.parametrize(
    ("change", "version", "words"),
    [
        ({}, "0.25.1", "version 0.25.1 is not known here: use 0.26.0 or newer"),
        (
            {"speculative": Speculation(Drafting.NGRAM), "overlap_scheduler": True},
            "0.26.0",
            "n-gram speculation is not scheduled ahead",
        ),
        ({"speculative": Speculation(Drafting.DRAFT_MODEL)}, "0.26.0", "set speculative.model"),
        ({"kv_cache_dtype": KvDtype.FP32}, "0.26.0", "KV cache fp32 is not served here"),
        ({"max_num_tokens": 2047}, "0.26.0", "without chunked prefill a prompt is one step: .* max_seq_len, 2048"),
        ({"max_num_tokens": 63, "max_seq_len": 9}, "0.26.0", "max_num_tokens must be at least max_batch_size, 64"),
        ({"engine_args": (("max_model_len", 9),)}, "0.26.0", "comes from the spec's key 'max_seq_len'"),
    ],
)
def test_vllm_serve_refuses_in_one_line_what_it_lacks(change: dict[str, Any], version: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        launched("vllm serve", replace(SPEC, **change), version)


def test_vllm_serve_takes_keys_inside_an_argument() -> None:
    spec = replace(
        SPEC,
        speculative=Speculation(Drafting.NGRAM, 3),
        engine_args=(
            ("speculative_config.rejection_sample_method", "synthetic"),
            ("compilation_config", '{"cudagraph_mode": "PIECEWISE"}'),
        ),
    )

    made = launched("vllm serve", spec, "0.26.0").argv

    assert json.loads(made[made.index("--speculative-config") + 1])["rejection_sample_method"] == "synthetic"
    assert json.loads(made[made.index("--compilation-config") + 1]) == {"cudagraph_mode": "PIECEWISE"}


# ------------------------------------------------------------------ SGLang, transformers serve


def test_sglang_is_asked_as_its_command_line_reads() -> None:
    made = launched("sglang", replace(SPEC, cuda_graphs=False, kv_cache_dtype=KvDtype.FP8), "0.5.23").argv

    assert made[1:] == (
        *("-m", "sglang.launch_server", "--model-path", "/models/llama-8b", "--host", "127.0.0.1", "--port", "8123"),
        *("--dtype", "bfloat16", "--tp-size", "2", "--pp-size", "1", "--max-running-requests", "64"),
        *("--context-length", "2048", "--max-prefill-tokens", "4096", "--chunked-prefill-size", "-1"),
        *("--kv-cache-dtype", "fp8_e4m3", "--disable-radix-cache", "--disable-cuda-graph"),
        *("--load-format", "safetensors"),
    )


def test_sglang_chunks_by_the_most_tokens_of_a_step() -> None:
    made = launched("sglang", replace(SPEC, chunked_prefill=True, prefix_caching=True), "0.5.23").argv

    assert made[made.index("--chunked-prefill-size") + 1] == "4096"
    assert "--disable-radix-cache" not in made


def test_sglang_has_no_off_form_of_switches() -> None:
    with pytest.raises(UsageError, match="false has no option here"):
        launched("sglang", args(trust_remote_code=False), "0.5.23")


def test_transformers_serve_is_asked_as_its_command_line_reads_and_says_what_it_cannot_bound() -> None:
    made = launched("transformers serve", replace(SPEC, tp=1, cuda_graphs=True), "5.17.0")

    assert made.argv == (
        *("transformers", "serve", "/models/llama-8b", "--host", "127.0.0.1", "--port", "8123", "--dtype", "bfloat16"),
        *("--cb-max-batch-tokens", "4096", "--continuous-batching", "--cb-use-cuda-graph"),
    )
    assert "neither is limited" in made.notes[0]
    assert made.model == "/models/llama-8b"  # its server is pinned to it and refuses another name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tp": 2}, "one device"),
        ({"precision": Precision.FP8}, "precision fp8 is not served here"),
        ({"kv_cache_dtype": KvDtype.FP16}, "kept in the compute precision"),
        ({"prefix_caching": True}, "no option for prefix caching"),
        ({"chunked_prefill": True}, "no option for chunked prefill"),
        ({"speculative": Speculation(Drafting.NGRAM)}, "no speculation"),
        ({"overlap_scheduler": True}, "overlap scheduler"),
    ],
)
def test_transformers_serve_refuses_in_one_line_what_it_lacks(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        launched("transformers serve", replace(SPEC, **{"tp": 1, **change}), "5.17.0")


def test_what_requests_may_ask_of_each_server_is_told() -> None:
    takers = {name for name, one in PROFILES.items() if one.takes_token_ids and one.takes_ignore_eos}

    assert takers == {"trtllm-serve", "vllm serve", "sglang"}


def test_a_profile_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no server profile 'vlm serve'; .*did you mean 'vllm serve'"):
        profile("vlm serve")


def test_variables_of_the_place_are_handed_on() -> None:
    made = launched("vllm serve", SPEC, "0.26.0", variables={"CUDA_VISIBLE_DEVICES": "0,1"})

    assert made.variables == {"CUDA_VISIBLE_DEVICES": "0,1"}
