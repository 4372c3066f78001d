"""What the transformers backend says it cannot do; needs neither torch nor transformers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from perfgate.case import Batching, Drafting, EngineSpec, KvDtype, Precision, Speculation
from perfgate.device import Device
from perfgate.engines import backend
from perfgate.engines.transformers import Transformers

CPU = Device("cpu/x86_64-avx512", "a CPU")
H200 = Device("sm_90/h200-141gb", "NVIDIA H200", "580.1")
T4 = Device("sm_75/t4-16gb", "Tesla T4", "580.1")
SPEC = EngineSpec("hf", Path("model"), backend="transformers", batching=Batching.STATIC, paged_kv=False)


INFLIGHT = {"batching": Batching.INFLIGHT, "paged_kv": True, "chunked_prefill": True}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions by package, in place of what is installed here; a test may change them."""
    versions = {
        "transformers": "5.5.4",
        "torch": "2.13.0",
        "torchao": "0.18.0",
        "safetensors": "0.8.0",
        "psutil": "7.0",
    }

    def version(package: str) -> str:
        if package not in versions:
            raise metadata.PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr(metadata, "version", version)
    return versions


def reason(device: Device, **changes: Any) -> str | None:
    return Transformers().support(replace(SPEC, **changes), device).reason


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("device", [CPU, H200], ids=["cpu", "gpu"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8_wo", "int4_wo"])
def test_precision_is_supported(device: Device, precision: str) -> None:
    assert reason(device, precision=Precision(precision)) is None


@pytest.mark.usefixtures("installed")
def test_fp16_is_for_gpus() -> None:
    assert reason(H200, precision=Precision.FP16) is None
    assert "on a CPU set precision to fp32 or bf16" in str(reason(CPU, precision=Precision.FP16))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8_WO])
def test_bf16_compute_needs_ampere(precision: Precision) -> None:
    assert "needs sm_80 or newer; this is sm_75/t4-16gb" in str(reason(T4, precision=precision))
    assert reason(T4, precision=Precision.FP16) is None


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("precision", [Precision.INT8_SQ, Precision.INT4_AWQ, Precision.INT4_GPTQ])
def test_other_precision_is_refused(precision: Precision) -> None:
    found = str(reason(H200, precision=precision))

    assert f"precision {precision} is not made by this backend" in found
    assert "int8_wo, int4_wo" in found


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("device", "precision", "kv_cache_dtype"),
    [
        (CPU, Precision.FP32, KvDtype.FP32),
        (CPU, Precision.BF16, KvDtype.BF16),
        (CPU, Precision.INT8_WO, KvDtype.FP32),
        (H200, Precision.INT8_WO, KvDtype.BF16),
        (H200, Precision.FP16, KvDtype.FP16),
    ],
)
def test_kv_cache_in_the_compute_precision_is_supported(
    device: Device, precision: Precision, kv_cache_dtype: KvDtype
) -> None:
    assert reason(device, precision=precision, kv_cache_dtype=kv_cache_dtype) is None


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kv_cache_dtype", [KvDtype.INT8, KvDtype.FP8, KvDtype.BF16])
def test_other_kv_cache_is_refused(kv_cache_dtype: KvDtype) -> None:
    found = reason(CPU, precision=Precision.FP32, kv_cache_dtype=kv_cache_dtype)

    assert found == (f"KV cache {kv_cache_dtype}: transformers keeps it in the compute precision; set auto or fp32")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batching": Batching.INFLIGHT, "paged_kv": True}, "set chunked_prefill: true"),
        ({"batching": Batching.INFLIGHT}, "set paged_kv: true"),
        ({**INFLIGHT, "speculative": Speculation(Drafting.NGRAM)}, "speculation needs batching: static"),
        ({**INFLIGHT, "engine_args": (("torch_compile", True),)}, "torch_compile is for static batching"),
        ({"paged_kv": True}, "set paged_kv: false"),
        ({"prefix_caching": True}, "prefix caching needs in-flight batching"),
        ({"chunked_prefill": True}, "chunked prefill needs in-flight batching"),
        ({"speculative": Speculation(Drafting.NGRAM)}, "set max_batch_size: 1"),
        ({"speculative": Speculation(Drafting.DRAFT_MODEL), "max_batch_size": 1}, "set speculative.model"),
        ({"pp": 2}, "set pp to 1"),
        ({"overlap_scheduler": False}, "leave overlap_scheduler out"),
        ({"context_fmha": True}, "TensorRT-LLM's"),
        ({"remove_input_padding": True}, "TensorRT-LLM's"),
    ],
)
def test_technique_is_refused(changes: dict[str, Any], words: str) -> None:
    assert words in str(reason(H200, **changes))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "changes",
    [
        INFLIGHT,
        {**INFLIGHT, "prefix_caching": True, "overlap_scheduler": False},
        {"speculative": Speculation(Drafting.NGRAM), "max_batch_size": 1},
        {"engine_args": (("torch_compile", True),)},
    ],
)
def test_technique_is_supported_on_every_device(changes: dict[str, Any]) -> None:
    assert (reason(CPU, **changes), reason(H200, **changes)) == (None, None)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("device", [CPU, H200], ids=["cpu", "gpu"])
def test_two_ranks_run_plain_weights_eagerly_in_static_batches(device: Device) -> None:
    assert reason(device, tp=2) is None
    assert "set batching: static" in str(reason(device, tp=2, **INFLIGHT))
    assert "leave cuda_graphs and torch_compile out" in str(reason(H200, tp=2, cuda_graphs=True))
    assert "leave cuda_graphs and" in str(reason(device, tp=2, engine_args=(("torch_compile", True),)))
    assert "set precision to fp32, fp16, bf16" in str(reason(device, tp=2, precision=Precision.INT8_WO))
    drafts = {"speculative": Speculation(Drafting.NGRAM), "max_batch_size": 1}
    assert "speculation runs on one device" in str(reason(device, tp=2, **drafts))


@pytest.mark.usefixtures("installed")
def test_heads_that_do_not_divide_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"num_attention_heads": 4, "num_key_value_heads": 2}')

    assert reason(H200, model=tmp_path, tp=2) is None
    assert reason(H200, model=tmp_path, tp=4) == "tp 4 does not divide the model's num_key_value_heads 2"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("text", [None, "{", "[]", '{"num_attention_heads": null}'])
def test_a_checkpoint_that_tells_no_heads_is_not_refused_here(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)

    assert reason(H200, model=tmp_path, tp=3) is None


@pytest.mark.usefixtures("installed")
def test_graphs_fp8_and_running_ahead_are_for_gpus() -> None:
    assert reason(H200, **INFLIGHT, overlap_scheduler=True) is None
    assert "on GPUs only" in str(reason(CPU, **INFLIGHT, overlap_scheduler=True))
    assert reason(H200, cuda_graphs=True) is None
    assert reason(H200, precision=Precision.FP8) is None
    assert "need an NVIDIA GPU" in str(reason(CPU, cuda_graphs=True))
    assert "needs a GPU of sm_89" in str(reason(CPU, precision=Precision.FP8))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "argument",
    [
        ("trust_remote_code", True),
        ("num_threads", 0),
        ("num_threads", True),
        ("attn_implementation", "someone/kernels"),
    ],
)
def test_engine_argument_is_refused(argument: tuple[str, Any]) -> None:
    found = str(reason(CPU, engine_args=(argument,)))

    assert found.startswith(f"engine_args {argument[0]}: {argument[1]} is not taken")


@pytest.mark.usefixtures("installed")
def test_known_engine_arguments_are_supported() -> None:
    assert reason(CPU, engine_args=(("num_threads", 2), ("attn_implementation", "eager"))) is None


@pytest.mark.parametrize("package", ["transformers", "torch"])
def test_missing_package_names_what_to_install(installed: dict[str, str], package: str) -> None:
    del installed[package]

    found = Transformers().support(SPEC, CPU)

    assert found.reason == f"{package} is not installed: pip install 'pytest-perfgate[transformers]'"
    assert found.is_missing


def test_psutil_is_only_needed_for_inflight_batching_on_a_cpu(installed: dict[str, str]) -> None:
    del installed["psutil"]

    assert reason(CPU) is reason(H200, **INFLIGHT) is None
    assert "pip install psutil" in str(reason(CPU, **INFLIGHT))


@pytest.mark.usefixtures("installed")
def test_what_is_refused_is_not_missing() -> None:
    assert not Transformers().support(replace(SPEC, pp=2), CPU).is_missing


def test_torchao_is_only_needed_for_quantised_weights(installed: dict[str, str]) -> None:
    del installed["torchao"]

    assert reason(CPU) is None
    assert "pip install torchao" in str(reason(CPU, precision=Precision.INT8_WO))


def test_torch_for_cpus_is_refused_on_a_gpu(installed: dict[str, str]) -> None:
    installed["torch"] = "2.13.0+cpu"

    assert reason(CPU) is None
    assert "install one for CUDA" in str(reason(H200))


def test_versions_name_what_is_installed(installed: dict[str, str]) -> None:
    assert Transformers().versions() == {name: found for name, found in installed.items() if name != "psutil"}


def test_backend_is_found_by_name() -> None:
    assert isinstance(backend("transformers"), Transformers)


def test_module_imports_no_engine_library() -> None:
    script = "import sys, perfgate.engines.transformers; print(sorted({'torch', 'transformers'} & set(sys.modules)))"

    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert out.strip() == "[]"
