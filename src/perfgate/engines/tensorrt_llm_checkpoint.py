"""What a checkpoint or engine folder of TensorRT-LLM is, and how it is quantised."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from perfgate.case import EngineSpec, KvDtype, Precision
from perfgate.errors import EngineError, ModelError
from perfgate.foreign_json import ForeignJsonError, read_json

DTYPES = {Precision.FP32: "float32", Precision.FP16: "float16", Precision.BF16: "bfloat16"}
HF_ALGORITHMS = {  # quant_algo of hf_quant_config.json that a precision means on the PyTorch flow
    Precision.FP8: ("FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_BLOCK_SCALES"),
    Precision.INT4_AWQ: ("W4A16_AWQ", "W4A8_AWQ"),
    Precision.INT4_GPTQ: ("W4A16_GPTQ",),
}
ENGINE_ALGORITHMS = {  # of the engine flow; the first is what we ask for where we quantise
    Precision.FP8: ("FP8", "FP8_PER_CHANNEL_PER_TOKEN"),
    Precision.INT8_WO: ("W8A16",),
    Precision.INT4_WO: ("W4A16",),
    Precision.INT8_SQ: (
        "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN",
        "W8A8_SQ_PER_CHANNEL",
        "W8A8_SQ_PER_TENSOR_PLUGIN",
        "W8A8_SQ_PER_CHANNEL_PER_TENSOR_PLUGIN",
        "W8A8_SQ_PER_TENSOR_PER_TOKEN_PLUGIN",
    ),
    Precision.INT4_AWQ: ("W4A16_AWQ", "W4A8_AWQ"),
    Precision.INT4_GPTQ: ("W4A16_GPTQ",),
}
KV_ALGORITHMS = {KvDtype.FP8: "FP8", KvDtype.INT8: "INT8"}
KV_DTYPES = {KvDtype.AUTO: "auto", KvDtype.FP8: "fp8", KvDtype.FP16: "float16", KvDtype.BF16: "bfloat16"}


class Format(Enum):
    """What lies in a folder."""

    HF = auto()
    TRTLLM = auto()  # converted or quantised for trtllm-build
    ENGINE = auto()


def format_of(folder: Path) -> Format:
    """What a model folder holds.

    Raises:
        ModelError: it has no config.json, or one that is not JSON.
    """
    config = _config(folder)
    if "pretrained_config" in config and "build_config" in config:
        return Format.ENGINE
    is_converted = "architecture" in config and "mapping" in config
    return Format.TRTLLM if is_converted else Format.HF


def hf_algorithm(folder: Path) -> str | None:
    """The quant_algo of a HuggingFace checkpoint that ModelOpt quantised, else None."""
    try:
        plain = read_json(folder / "hf_quant_config.json")
        return str(plain["quantization"]["quant_algo"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_hf_precision(spec: EngineSpec) -> None:
    """See that a precision that is a quantisation is the checkpoint's own.

    Raises:
        ModelError: it is not.
    """
    if spec.precision in HF_ALGORITHMS:
        found, wanted = hf_algorithm(spec.model), HF_ALGORITHMS[spec.precision]
        if found not in wanted:
            raise ModelError(
                f"precision {spec.precision} needs a checkpoint with quant_algo {' or '.join(wanted)} in "
                f"{spec.model / 'hf_quant_config.json'}, found {found or 'none'}: quantise it first (ModelOpt)"
            )


def check_converted(spec: EngineSpec) -> None:
    """See that a converted checkpoint has the precision, KV cache and ranks of the spec.

    Raises:
        ModelError: it has others.
    """
    for what, found, wanted in _differences(spec, _config(spec.model)):
        raise ModelError(f"the checkpoint {spec.model} has {what} {found}, the spec asks for {wanted}: convert it anew")


def check_built(spec: EngineSpec, folder: Path, version: Version) -> None:
    """See that a built engine is what the spec asks for and of this version.

    Raises:
        EngineError: files are missing, or it is of other limits, precision, ranks or version.
    """
    try:
        config = _config(folder)
        pretrained, build = config["pretrained_config"], config["build_config"]
    except (ModelError, KeyError) as exc:
        raise EngineError(f"no TensorRT engine in {folder}: found no config.json with a build_config") from exc
    for rank in range(spec.tp * spec.pp):
        if not (folder / f"rank{rank}.engine").is_file():
            raise EngineError(
                f"the engine in {folder} lacks rank{rank}.engine; {spec.tp * spec.pp} ranks are asked for"
            )
    limits = ("max_batch_size", "max_num_tokens", "max_seq_len")
    rows = [(name, build.get(name), getattr(spec, name)) for name in limits]
    faults = [row for row in rows if not isinstance(row[1], int) or row[1] < row[2]]
    faults += _differences(spec, pretrained)
    built_by = str(config.get("version", "unknown"))
    if not _same_version(built_by, version):
        faults.append(("version", built_by, str(version)))
    for what, found, wanted in faults:
        raise EngineError(f"the engine in {folder} was built with {what} {found}, the spec asks for {wanted}")


def _differences(spec: EngineSpec, config: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(what, found, wanted) of a `pretrained_config`."""
    mapping, quantisation = config.get("mapping") or {}, config.get("quantization") or {}
    found, kv_found = quantisation.get("quant_algo"), quantisation.get("kv_cache_quant_algo")
    out: list[tuple[str, Any, Any]] = []
    for name, wanted in (("tp_size", spec.tp), ("pp_size", spec.pp)):
        if mapping.get(name, 1) != wanted:
            out.append((name, mapping.get(name, 1), wanted))
    if spec.precision in DTYPES:
        if found not in (None, "NO_QUANT"):
            out.append(("quant_algo", found, f"none ({spec.precision})"))
        elif config.get("dtype") != DTYPES[spec.precision]:
            out.append(("dtype", config.get("dtype"), DTYPES[spec.precision]))
    elif found not in ENGINE_ALGORITHMS[spec.precision]:
        out.append(("quant_algo", found, " or ".join(ENGINE_ALGORITHMS[spec.precision])))
    if spec.kv_cache_dtype in KV_ALGORITHMS and kv_found != KV_ALGORITHMS[spec.kv_cache_dtype]:
        out.append(("kv_cache_quant_algo", kv_found, KV_ALGORITHMS[spec.kv_cache_dtype]))
    return out


def _same_version(text: str, version: Version) -> bool:
    try:
        return Version(text) == version
    except InvalidVersion:
        return False


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        plain = read_json(folder / "config.json")
    except OSError as exc:
        raise ModelError(f"the model folder {folder} has no config.json that can be read: {exc.strerror}") from exc
    except ForeignJsonError as exc:
        raise ModelError(f"{folder / 'config.json'} {exc}") from exc
    if not isinstance(plain, dict):
        raise ModelError(f"{folder / 'config.json'} holds no mapping")
    return plain
