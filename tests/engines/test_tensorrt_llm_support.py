"""What the TensorRT-LLM backend says it cannot do, and the arguments that it makes; needs no package."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from engines.tensorrt_llm_helpers import A100, CPU, H200, T4
from perfgate.case import (
    Batching,
    BuildWork,
    Case,
    Drafting,
    EngineSpec,
    Flow,
    KvDtype,
    PerplexityWork,
    Precision,
    Speculation,
    WorkKind,
)
from perfgate.device import Device
from perfgate.engines import backend
from perfgate.engines.carrying import why_skipped
from perfgate.engines.tensorrt_llm import TensorRtLlm
from perfgate.engines.tensorrt_llm_arguments import flow_of, for_scoring, kv_tokens, llm_arguments
from perfgate.engines.tensorrt_llm_build import api_arguments, build_argv, quantise_argv
from perfgate.engines.tensorrt_llm_installed import flags_of
from perfgate.engines.tensorrt_llm_own import own_of
from perfgate.engines.tensorrt_llm_table import ARGUMENTS, DECODING, FLOWS, OURS, WRONG, Range
from perfgate.engines.tensorrt_llm_timing import Timing
from perfgate.errors import EngineError, UsageError

SPEC = EngineSpec("e", Path("/models/m"), "tensorrt_llm", Precision.BF16, max_batch_size=64, max_num_tokens=4096)
NGRAM, DRAFT = Speculation(Drafting.NGRAM, 5), Speculation(Drafting.DRAFT_MODEL, 4, Path("/models/draft"))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions by package, in place of what is installed here; a test may change them."""
    versions = {"tensorrt-llm": "1.2.1", "torch": "2.9.1", "tensorrt": "10.13.3"}

    def version(package: str) -> str:
        if package not in versions:
            raise metadata.PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr(metadata, "version", version)
    return versions


def reason(device: Device = H200, **changes: Any) -> str | None:
    return TensorRtLlm().support(replace(SPEC, **changes), device).reason


def arguments(version: str, flow: Flow = Flow.PYTORCH, **changes: Any) -> dict[str, Any]:
    return llm_arguments(replace(SPEC, **changes), flow, Version(version))


# ------------------------------------------------------------------ support


def test_backend_is_found_by_name_and_carries_out_every_kind_of_work_but_tasks() -> None:
    assert isinstance(backend("tensorrt_llm"), TensorRtLlm)
    assert TensorRtLlm.kinds == frozenset(WorkKind) - {WorkKind.TASKS}


def test_missing_package_says_where_to_get_it(installed: dict[str, str]) -> None:
    del installed["tensorrt-llm"]

    assert str(reason()).startswith("tensorrt_llm is not installed: see https://")
    assert "needs an NVIDIA GPU" in str(reason(CPU))


def test_version_that_is_none_is_told(installed: dict[str, str]) -> None:
    installed["tensorrt-llm"] = "main"

    assert reason() == "tensorrt_llm tells the version 'main', expected one like 1.2.1"


@pytest.mark.usefixtures("installed")
def test_versions_name_what_is_installed(installed: dict[str, str]) -> None:
    assert TensorRtLlm().versions() == installed


@pytest.mark.parametrize(
    ("version", "flow"),
    [
        *(("0.20.0", Flow.ENGINE), ("1.0.0", Flow.ENGINE), ("1.0.0", Flow.PYTORCH), ("1.2.1", Flow.ENGINE)),
        *(("1.3.0rc20", Flow.ENGINE), ("1.3.0rc20", Flow.PYTORCH), ("1.3.0rc21", Flow.PYTORCH)),
    ],
)
def test_flow_is_supported_in_its_versions(installed: dict[str, str], version: str, flow: Flow) -> None:
    installed["tensorrt-llm"] = version

    assert reason(flow=flow) is None


@pytest.mark.parametrize(
    ("version", "flow", "told"),
    [
        ("0.19.0", None, "tensorrt_llm 0.19.0 is not known here: use 0.20 or newer"),
        ("0.20.0", Flow.PYTORCH, "has no flow pytorch: it is in 1.0 and newer; set flow: engine"),
        ("1.3.0rc21", Flow.ENGINE, "has no flow engine: it is in 0.20 to before 1.3.0rc21; set flow: pytorch"),
        ("1.3.0", Flow.ENGINE, "has no flow engine"),
    ],
)
def test_flow_is_refused_elsewhere(installed: dict[str, str], version: str, flow: Flow | None, told: str) -> None:
    installed["tensorrt-llm"] = version

    assert told in str(reason(flow=flow))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("device", "changes", "told"),
    [
        (CPU, {}, "needs an NVIDIA GPU; this is cpu/x86_64-avx512"),
        (A100, {"precision": Precision.FP8}, "fp8 weights need sm_89 or newer (Ada, Hopper); this is sm_80/a100-80gb"),
        (A100, {"kv_cache_dtype": KvDtype.FP8}, "an fp8 KV cache needs sm_89 or newer"),
        (T4, {}, "bf16 needs sm_80 or newer; this is sm_75/t4-16gb: set precision: fp16"),
    ],
)
def test_device_that_cannot_is_refused(device: Device, changes: dict[str, Any], told: str) -> None:
    assert told in str(reason(device, **changes))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"precision": Precision.INT8_SQ}, "int8_sq is not in the flow pytorch"),
        ({"kv_cache_dtype": KvDtype.INT8}, "KV cache int8 is not in the flow pytorch"),
        ({"paged_kv": False}, "set paged_kv: true"),
        ({"context_fmha": True}, "are of the flow engine: set it, or leave them out"),
        ({"remove_input_padding": False}, "are of the flow engine: set it, or leave them out"),
        ({"builder_cmd": "make {output_dir}", "flow": Flow.PYTORCH}, "set flow: engine"),
        ({"max_num_tokens": 32}, "max_num_tokens must be at least max_batch_size, 64"),
        ({"max_input_len": 1024}, "max_input_len must be below max_seq_len, 1024"),
        ({"batching": Batching.STATIC, "speculative": NGRAM}, "needs in-flight batching"),
        ({"flow": Flow.ENGINE, "overlap_scheduler": True}, "the overlap scheduler is of the flow pytorch"),
        ({"flow": Flow.ENGINE, "speculative": NGRAM}, "n-gram drafts are of the flow pytorch"),
        ({"flow": Flow.ENGINE, "speculative": DRAFT}, "set flow: pytorch"),
        ({"flow": Flow.ENGINE, "paged_kv": False}, "in-flight batching needs the paged KV cache"),
        ({"flow": Flow.ENGINE, "remove_input_padding": False}, "needs remove_input_padding"),
        ({"flow": Flow.ENGINE, "chunked_prefill": True, "context_fmha": False}, "need context FMHA"),
        ({"flow": Flow.ENGINE, "kv_cache_dtype": KvDtype.INT4}, "set auto, fp8, int8 or the compute precision"),
        (
            {"flow": Flow.ENGINE, "batching": Batching.STATIC, "paged_kv": False, "prefix_caching": True},
            "need the paged KV cache",
        ),
    ],
)
def test_technique_is_refused(changes: dict[str, Any], told: str) -> None:
    assert told in str(reason(**changes))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", WRONG)
def test_wrong_spelling_says_what_is_right(name: str) -> None:
    assert (
        str(reason(engine_args=((name, 1),))) == f"tensorrt_llm: engine_args {name} is no argument here: {WRONG[name]}"
    )


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", OURS)
def test_argument_of_the_spec_is_set_there(name: str) -> None:
    assert f"comes from the spec's key '{OURS[name]}'" in str(reason(engine_args=((name, 1),)))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("force_accepted_tokens", -1), "found '-1', expected drafts accepted in every step"),
        (("force_accepted_tokens", True), "found 'True'"),
        (("scoring", "guessing"), "expected context_logits or prompt_logprobs"),
        (("timing_cache", True), "engine_args timing_cache is of the flow engine"),
        (("gemm_plugin", "auto"), "engine_args gemm_plugin is of the flow engine"),
        (("calib_config.calib_batches", 4), "it is in 0.20 to before 1.3.0rc21 (flow engine)"),
        (("speculative_config.decoding_type", "Guess"), "decoding_type is 'Guess', allowed: Draft_Target"),
        (("speculative_config.decoding_type", "Medusa"), "has no 'Medusa'; it is in 0.20 to before 1.3.0rc21"),
        (("speculative_config.decoding_type", "PARD"), "has no 'PARD'; it is in 1.3.0rc0 and newer (flow pytorch)"),
        (("backend.x", 1), "'backend' has no fields here"),
    ],
)
def test_engine_argument_is_refused(args: tuple[str, Any], told: str) -> None:
    assert told in str(reason(engine_args=(args,)))


# ------------------------------------------------------------------ arguments


def test_flow_is_the_versions_own_unless_told() -> None:
    assert [flow_of(SPEC, Version(one)) for one in ("0.20.0", "1.0.0", "1.3.0")] == [
        *(Flow.ENGINE, Flow.PYTORCH, Flow.PYTORCH)
    ]
    assert flow_of(replace(SPEC, builder_cmd="make"), Version("1.2.1")) is Flow.ENGINE


@pytest.mark.parametrize("version", ["1.0.0", "1.2.1", "1.3.0rc21"])
def test_limits_and_the_cache_are_always_stated(version: str) -> None:
    made = arguments(version)

    assert made["max_batch_size"] == 64
    assert made["max_num_tokens"] == 4096
    assert made["max_seq_len"] == 1024
    assert made["enable_chunked_prefill"] is False
    assert made["kv_cache_config"] == {"enable_block_reuse": False, "dtype": "auto", "max_tokens": 64 * 33 * 32}
    assert made["scheduler_config"] == {"capacity_scheduler_policy": "GUARANTEED_NO_EVICT"}
    assert made["backend"] == "pytorch"


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"cuda_graphs": True}, "cuda_graph_config", {"enable_padding": True, "max_batch_size": 64}),
        ({"cuda_graphs": False}, "cuda_graph_config", None),
        ({"overlap_scheduler": False}, "disable_overlap_scheduler", True),
        ({"chunked_prefill": True}, "enable_chunked_prefill", True),
        ({"batching": Batching.STATIC}, "scheduler_config", {"capacity_scheduler_policy": "STATIC_BATCH"}),
        ({"tp": 4}, "tensor_parallel_size", 4),
        ({"pp": 2}, "pipeline_parallel_size", 2),
        ({"speculative": NGRAM}, "speculative_config", {"decoding_type": "NGram", "max_draft_len": 5}),
        ({"precision": Precision.FP8}, "dtype", "auto"),
        ({"engine_args": (("load_format", "dummy"),)}, "load_format", "dummy"),
        ({"max_input_len": 500}, "max_input_len", 500),
    ],
)
def test_key_of_the_spec_becomes_an_argument_of_the_pytorch_flow(
    changes: dict[str, Any], name: str, expected: object
) -> None:
    assert arguments("1.2.1", **changes)[name] == expected


@pytest.mark.parametrize(
    ("version", "key"),
    [("1.0.0", "speculative_model_dir"), ("1.3.0rc20", "speculative_model_dir"), ("1.3.0rc21", "speculative_model")],
)
def test_draft_model_has_the_key_of_the_version(version: str, key: str) -> None:
    made = arguments(version, speculative=DRAFT)

    assert made["speculative_config"] == {"decoding_type": "Draft_Target", "max_draft_len": 4, key: "/models/draft"}


def test_own_fields_go_beside_ours_but_not_over_the_specs() -> None:
    own = (("kv_cache_config.max_tokens", 4096), ("kv_cache_config.free_gpu_memory_fraction", 0.5))

    made = arguments("1.2.1", engine_args=own)

    assert made["kv_cache_config"]["max_tokens"] == 4096
    assert made["kv_cache_config"]["free_gpu_memory_fraction"] == 0.5
    with pytest.raises(UsageError, match="comes from the spec's key 'speculative'"):
        arguments("1.2.1", speculative=NGRAM, engine_args=(("speculative_config.max_draft_len", 2),))


def test_setting_that_builder_and_llm_share_goes_where_the_flow_reads_it() -> None:
    spec = replace(SPEC, engine_args=(("gather_generation_logits", True),))

    by_flow = {flow: own_of(spec, flow, Version("1.2.1")) for flow in Flow}

    assert by_flow[Flow.ENGINE].build == by_flow[Flow.PYTORCH].llm == {"gather_generation_logits": True}
    assert by_flow[Flow.ENGINE].llm == by_flow[Flow.PYTORCH].build == {}


def test_engine_flow_has_its_own_names() -> None:
    made = arguments("1.2.1", Flow.ENGINE, batching=Batching.STATIC, cuda_graphs=True)

    assert made["batching_type"] == "STATIC"
    assert made["extended_runtime_perf_knob_config"] == {"cuda_graph_mode": True}
    assert "dtype" not in made["kv_cache_config"]
    assert {"backend", "cuda_graph_config", "enable_iter_perf_stats"}.isdisjoint(made)


def test_scoring_turns_off_what_hides_logits() -> None:
    made = arguments("1.2.1", prefix_caching=True, chunked_prefill=True, speculative=NGRAM, max_num_tokens=512)

    scoring = for_scoring(made)

    assert scoring["kv_cache_config"]["enable_block_reuse"] is False
    assert scoring["enable_chunked_prefill"] is False
    assert scoring["max_num_tokens"] == 1024
    assert "speculative_config" not in scoring
    assert made["kv_cache_config"]["enable_block_reuse"] is True


def test_cache_holds_the_largest_batch_of_the_longest_sequences() -> None:
    assert kv_tokens(replace(SPEC, max_batch_size=1, max_seq_len=33)) == 96
    assert kv_tokens(SPEC) >= 64 * 1024


@pytest.mark.parametrize("version", ["0.20.0", "1.0.0", "1.1.0", "1.2.1", "1.3.0rc20", "1.3.0rc21"])
def test_only_arguments_that_the_version_has_are_made(version: str) -> None:
    for flow in (flow for flow in Flow if FLOWS[flow].has(Version(version))):
        for name in arguments(version, flow, cuda_graphs=True):
            assert ARGUMENTS[name][flow].has(Version(version)), name


def test_development_mark_of_a_version_does_not_count() -> None:
    assert Range("1.3.0rc20", "1.3.0rc21").has(Version("1.3.0rc20+double"))
    assert not Range("0.20", "1.3.0rc21").has(Version("1.3.0rc21+cu13"))
    assert not Range("1.0").has(Version("1.0.0rc1"))
    assert set(DECODING) >= {"Draft_Target", "NGram", "Eagle3", "MTP", "Medusa", "Lookahead"}


# ------------------------------------------------------------------ builders


def test_trtllm_build_is_given_limits_plugins_and_ranks() -> None:
    args = (("gemm_plugin", "auto"), ("multiple_profiles", True), ("weight_sparsity", True), ("strip_plan", False))
    spec = replace(SPEC, max_input_len=500, tp=2, context_fmha=True, remove_input_padding=True, engine_args=args)

    argv = build_argv(spec, own_of(spec, Flow.ENGINE, Version("1.2.1")), Path("/c"), Path("/o"))

    assert argv == (
        *("trtllm-build", "--checkpoint_dir", "/c", "--output_dir", "/o"),
        *("--max_batch_size", "64", "--max_num_tokens", "4096", "--max_input_len", "500", "--max_seq_len", "1024"),
        *("--kv_cache_type", "paged", "--context_fmha", "enable", "--remove_input_padding", "enable"),
        *("--workers", "2", "--gemm_plugin", "auto", "--multiple_profiles", "enable", "--weight_sparsity"),
    )


def test_unpaged_cache_is_continuous() -> None:
    argv = build_argv(
        replace(SPEC, paged_kv=False), own_of(SPEC, Flow.ENGINE, Version("1.2.1")), Path("/c"), Path("/o")
    )

    assert argv[argv.index("--kv_cache_type") + 1] == "continuous"


@pytest.mark.parametrize(
    ("precision", "qformat"),
    [(Precision.FP8, "fp8"), (Precision.INT8_SQ, "int8_sq"), (Precision.INT4_AWQ, "int4_awq"), (Precision.BF16, None)],
)
def test_quantize_is_told_precision_cache_and_ranks(precision: Precision, qformat: str | None) -> None:
    spec = replace(SPEC, precision=precision, kv_cache_dtype=KvDtype.FP8, tp=2)

    argv = quantise_argv(spec, "/q.py", Path("/o"))

    assert argv[:2] == (sys.executable, "/q.py")
    assert argv[argv.index("--qformat") + 1] == (qformat or "full_prec")
    assert argv[argv.index("--kv_cache_dtype") + 1] == "fp8"
    assert argv[argv.index("--tp_size") + 1] == "2"


def test_quantize_does_not_make_gptq() -> None:
    with pytest.raises(UsageError, match="makes no int4_gptq"):
        quantise_argv(replace(SPEC, precision=Precision.INT4_GPTQ), "/q.py", Path("/o"))


def test_llm_api_builds_with_limits_plugins_and_quantisation(tmp_path: Path) -> None:
    args = (("calib_config.calib_batches", 4), ("gather_context_logits", True), ("use_fused_mlp", False))
    spec = replace(SPEC, flow=Flow.ENGINE, precision=Precision.INT8_SQ, kv_cache_dtype=KvDtype.INT8, engine_args=args)

    version = Version("1.2.1")
    timing = Timing(tmp_path, H200, version, is_used=True)
    made: Any = api_arguments(spec, own_of(spec, Flow.ENGINE, version), version, timing, tmp_path)

    assert made["build_config"]["output_timing_cache"] == str(tmp_path / "timing.cache")
    assert made["build_config"]["max_input_len"] == 1024
    assert made["build_config"]["gather_context_logits"] is True
    assert made["build_config"]["plugin_config"] == {"use_fused_mlp": False}
    assert made["calib_config"] == {"calib_batches": 4}
    assert made["quant_config"] == {
        "quant_algo": "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN",
        "kv_cache_quant_algo": "INT8",
    }


def text_case(spec: EngineSpec) -> Case:
    return Case(spec, PerplexityWork("text", Path("t.jsonl")))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"flow": Flow.ENGINE}, "set engine_args gather_context_logits: true"),
        ({"builder_cmd": "b {output_dir}"}, "write --gather_context_logits into builder_cmd"),
        ({"flow": Flow.ENGINE, "engine_args": (("gather_context_logits", True),)}, None),
        ({"builder_cmd": "b {output_dir} --gather_all_token_logits"}, None),
        ({"flow": Flow.PYTORCH}, None),
    ],
)
def test_text_is_refused_before_an_engine_is_built_that_cannot_score_it(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], told: str | None
) -> None:
    monkeypatch.setattr("perfgate.engines.tensorrt_llm.version_told", lambda: Version("1.2.1"))
    spec = replace(SPEC, **changes)

    reason = why_skipped(text_case(spec), H200)

    assert reason is None if told is None else told in str(reason)
    assert why_skipped(Case(spec, BuildWork("build")), H200) is None


def test_program_that_is_missing_or_gives_no_help_is_told() -> None:
    with pytest.raises(UsageError, match="the program 'no-such-builder' is not found"):
        flags_of(["no-such-builder"])
    with pytest.raises(EngineError, match="--help ended with code"):
        flags_of([sys.executable, "-c", "raise SystemExit(3)"])


def test_modules_import_no_engine_library() -> None:
    script = (
        "import sys, perfgate.engines.tensorrt_llm; print(sorted({'torch', 'tensorrt_llm', 'yaml'} & set(sys.modules)))"
    )

    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert out.strip() == "['yaml']"
