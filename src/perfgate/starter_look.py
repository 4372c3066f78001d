"""What `perfgate init` finds before it asks: device, backends, checkpoints, and what a checkpoint is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perfgate.case import Batching, EngineSpec, Precision
from perfgate.device import Device
from perfgate.doctor_facts import BACKENDS, missing_of
from perfgate.engines import backend
from perfgate.engines.base import Support
from perfgate.foreign_json import ForeignJsonError, read_json
from perfgate.model_shape import ModelShape, read_shape
from perfgate.model_work import Split, Widths, kv_bytes_per_token
from perfgate.record import printable

_DEPTH = 3  # folders below the current one that are searched for checkpoints
_NAMES = {"bfloat16": Precision.BF16, "float16": Precision.FP16, "float32": Precision.FP32}
_BYTES = {Precision.FP32: 4.0, Precision.FP16: 2.0, Precision.BF16: 2.0}
_LARGE = 1e9
_ROOM = 0.9  # of the memory: what engines take by default
# Ways of batching, tried in this order: backends differ in which they have.
_WAYS: Sequence[dict[str, Any]] = ({}, {"batching": Batching.STATIC, "paged_kv": False})
_QUANTISED = (Precision.FP8, Precision.INT8_WO, Precision.INT4_WO)
QUANTISERS = (
    "openvino",
    "transformers",
    "vllm",
)  # make such weights from a plain checkpoint, as far as they support it


@dataclass(frozen=True, slots=True)
class Variant:
    """A precision beside the base; `why` says why it is not for this backend, device or checkpoint."""

    name: str
    precision: Precision
    why: str = ""


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a backend runs a checkpoint here: precision and batching of the base, and precisions beside it."""

    precision: Precision
    keys: dict[str, Any]  # further keys of the base's spec
    variants: tuple[Variant, ...]
    refused: tuple[Variant, ...]
    missing: str | None  # what has to be installed first


def installed() -> list[str]:
    """Our backends whose packages are all here; nothing is imported."""
    return [name for name, modules in BACKENDS.items() if not missing_of(modules)]


def usual_backend(device: Device) -> str:
    """The first that is installed and runs on such a device, else the one to install."""
    order = ("tensorrt_llm", "vllm", "transformers") if device.is_gpu else ("openvino", "transformers")
    here = installed()
    return next((name for name in order if name in here), "vllm" if device.is_gpu else "openvino")


def checkpoints(root: Path) -> list[Path]:
    """Folders below `root` that have a config.json with a model in it, nearest first."""
    found = [path for depth in range(1, _DEPTH + 1) for path in sorted(root.glob("*/" * depth + "config.json"))]
    return [path.parent for path in found if "model_type" in config_of(path.parent)]


def config_of(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint's config.json; empty where there is none to read."""
    try:
        found = read_json(checkpoint / "config.json")
    except (OSError, ForeignJsonError):
        return {}
    return found if isinstance(found, dict) else {}


# ------------------------------------------------------------------ what it will take


def fitting(name: str, model: Path, device: Device, tp: int, args: dict[str, Any]) -> Fitting | str:
    """What the backend says to this checkpoint on this device, or why it refuses all that was tried."""
    one, reasons = backend(name), []
    for precision in _bases(model, device):
        for keys in _WAYS:
            spec = EngineSpec("probe", model, name, precision, tp=tp, engine_args=tuple(args.items()), **keys)
            found = one.support(spec, device)
            if _may(found):
                variants = list(_variants(name, spec, device))
                return Fitting(
                    precision, keys, tuple(v for v in variants if not v.why), tuple(v for v in variants if v.why),
                    found.reason,
                )  # fmt: skip
            reasons.append(str(found.reason))
    return reasons[0]


def _may(found: Support) -> bool:
    return found.is_supported or found.is_missing


def _bases(model: Path, device: Device) -> list[Precision]:
    """Plain precisions, likeliest first: fp32 on a CPU, the checkpoint's own on a GPU."""
    config = config_of(model)
    own = _NAMES.get(str(config.get("dtype") or config.get("torch_dtype")))
    order = [own, Precision.BF16, Precision.FP16, Precision.FP32] if device.is_gpu else [Precision.FP32, Precision.BF16]
    return [one for one in dict.fromkeys(order) if one is not None]


def _variants(name: str, base: EngineSpec, device: Device) -> Iterator[Variant]:
    for precision in _QUANTISED:
        if name not in QUANTISERS and ":" not in name:
            yield Variant(
                _short(precision), precision, "it takes a checkpoint that is quantised so; name it with `model:`"
            )
            continue
        found = backend(name).support(replace(base, precision=precision), device)
        yield Variant(_short(precision), precision, "" if _may(found) else printable(str(found.reason)))


def _short(precision: Precision) -> str:
    return precision.partition("_")[0]


# ------------------------------------------------------------------ does it fit


def size_line(model: Path, precision: Precision, device: Device, tp: int, memory: int | None, tokens: int) -> str:
    """'llama, 8.0 G parameters, 16.1 GB in bf16 of 141 GB: fits'; what is not known is said.

    memory: bytes of one device, or of the machine; tokens: positions that the KV cache must hold at a time.
    """
    shape = read_shape(model)
    family = printable(str(config_of(model).get("model_type", "unknown architecture")))[:40]
    if not isinstance(shape, ModelShape):
        return printable(f"{family}; size {shape}")
    width = _BYTES[precision]
    weights = shape.total_params * width / tp
    cache = tokens * kv_bytes_per_token(shape, Widths(width, width, width), Split(tp))
    what = f"{family}, {_count(shape.total_params)} parameters, {_bytes(weights)} of weights in {precision}"
    what += f" and {_bytes(cache)} of KV cache" + (f" on each of {tp} devices" if tp > 1 else "")
    if memory is None:
        return what
    where = f"{_bytes(memory)} of {'GPU' if device.is_gpu else 'main'} memory"
    verdict = "fits" if weights + cache < _ROOM * memory else "likely too large"
    return f"{what}; {where}: {verdict}"


def _count(number: float) -> str:
    return f"{number / 1e9:.3g} B" if number >= _LARGE else f"{number / 1e6:.3g} M"


def _bytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB" if size >= _LARGE else f"{size / 1e6:.3g} MB"
