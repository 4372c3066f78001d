"""A HuggingFace checkpoint into a cache entry, and from there into memory, quantised by torchao where asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perfgate.case import EngineSpec, Precision, Quantisation
from perfgate.engines.base import first_line
from perfgate.engines.installed import version_of
from perfgate.engines.transformers_sharding import WHOLE, Share, cut
from perfgate.engines.transformers_support import QUANTISED, TORCH_NAMES, compute_precision, has_weights
from perfgate.errors import EngineError, ModelError

INT4_GROUP = 32  # weights that share a scale
_WEIGHTS = "model*.safetensors"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")  # one of these must be there
_FILES = (
    *("config.json", _WEIGHTS, "model.safetensors.index.json", *_TOKENIZERS),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
)
DEVICE_FILE = "perfgate-device"  # "cpu" or "cuda": a loader does not choose again
_LOCAL: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def copy_checkpoint(folder: Path, into: Path, *, with_weights: bool = True) -> None:
    """The files that loading reads; never code, pickles or files of other engines.

    Copies, not links: the entry outlives a change of the checkpoint, and damage to one spares the other.
    Without weights they are made at random when the engine is loaded.

    Raises:
        ModelError: there is no configuration, weight or tokenizer file, or one cannot be read.
    """
    files = [path for pattern in _FILES for path in sorted(folder.glob(pattern)) if path.is_file()]
    files = [path for path in files if with_weights or path.suffix != ".safetensors"]
    for patterns in (("config.json",), *([(_WEIGHTS,)] if with_weights else []), _TOKENIZERS):
        if not any(path.match(pattern) for path in files for pattern in patterns):
            raise ModelError(f"the checkpoint {folder} lacks {' or '.join(patterns)}")
    for path in files:
        try:
            shutil.copyfile(path, into / path.name)
        except OSError as exc:
            raise ModelError(f"the checkpoint file {path} cannot be copied to {into}: {exc.strerror}") from exc


def import_torch(spec: EngineSpec) -> Any:
    """Torch, with all that loading needs: its time belongs to no later phase."""
    try:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache  # noqa: F401
        from transformers.utils.logging import disable_progress_bar

        if spec.precision in QUANTISED:
            import torchao.quantization  # noqa: F401
    except ImportError as exc:
        raise EngineError(f"transformers cannot load '{spec.name}': {first_line(exc)}") from exc
    disable_progress_bar()
    return torch


def device_of(prepared: Path) -> str:
    import torch

    try:
        device = (prepared / DEVICE_FILE).read_text()
    except OSError as exc:
        raise EngineError(f"{prepared} was not prepared by the backend transformers: no {DEVICE_FILE} in it") from exc
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError(f"the engine in {prepared} is for a GPU, and torch {torch.__version__} finds none")
    return device


@contextmanager
def clear_load_errors(spec: EngineSpec) -> Iterator[None]:
    """The libraries' errors as ours, one line each."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, json.JSONDecodeError) as exc:
        raise ModelError(f"the checkpoint {spec.model} is damaged or incomplete: {first_line(exc)}") from exc
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ImportError) as exc:
        raise EngineError(f"transformers cannot load '{spec.name}': {first_line(exc)}") from exc


def read_model(spec: EngineSpec, folder: Path, device: str, share: Share = WHOLE) -> Any:
    """The model, or a rank's share of it, in its compute precision, not quantised yet; device: cpu, cuda or cuda:1."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, **_LOCAL)
    if found := getattr(config, "quantization_config", None):
        method = found.get("quant_method") if isinstance(found, Mapping) else found
        raise EngineError(f"the checkpoint {spec.model} is quantised already ({method}): this backend takes plain ones")
    wishes = {
        "dtype": getattr(torch, TORCH_NAMES[compute_precision(spec.precision, is_gpu=device != "cpu")]),
        "attn_implementation": dict(spec.engine_args).get("attn_implementation"),
    }
    if not has_weights(spec):
        return _random_model(config, wishes, device, share)
    model, info = AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # reported below, with the missing ones
        output_loading_info=True,
        **wishes,
        **_LOCAL,
    )
    _check_weights(spec, info)
    cut(model, share)
    return model.to(device).eval()


def _random_model(config: Any, wishes: Mapping[str, Any], device: str, share: Share) -> Any:
    """A model of this shape whose weights are uniform within 1e-3 of zero, as vLLM's are with load_format dummy.

    A rank makes all of it first, so that its share is of the same weights; that memory is not counted.
    """
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, **wishes)
    for weight in model.parameters():
        weight.data.uniform_(-1e-3, 1e-3)
    cut(model, share)
    if share != WHOLE and device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return model.to(device).eval()


def _check_weights(spec: EngineSpec, info: Mapping[str, Any]) -> None:
    """The library fills weights that do not fit with random numbers, and warns: here they are an error."""
    faults = [f"lacks the weight {name}" for name in sorted(info["missing_keys"])]
    for name, found, expected in sorted(info["mismatched_keys"]):
        faults.append(f"has the weight {name} as {list(found)}, its config.json asks for {list(expected)}")
    if faults:
        more = f" ({len(faults) - 1} more do not fit)" if len(faults) > 1 else ""
        raise ModelError(f"the checkpoint {spec.model} {faults[0]}{more}")


def read_tokenizer(spec: EngineSpec, folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, **_LOCAL)
    except Exception as exc:  # the tokenizers library raises no narrower class
        raise ModelError(f"the tokenizer of {spec.model} cannot be read: {first_line(exc)}") from exc


def quantise(model: Any, spec: EngineSpec, device: str) -> str:
    """Quantise the linear layers but the output head, as transformers does; returns what was seen afterwards.

    Raises:
        EngineError: torchao left every layer as it was.
    """
    import torch

    precision = spec.precision
    if precision not in QUANTISED:
        return str(precision)
    from torchao.quantization import quantize_

    head = model.get_output_embeddings()
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head]
    wanted = {id(layer) for layer in layers}
    quantize_(model, _recipe(spec, device), filter_fn=lambda module, _: id(module) in wanted)
    kinds = {type(layer.weight).__name__ for layer in layers if type(layer.weight) is not torch.nn.Parameter}
    done = sum(type(layer.weight) is not torch.nn.Parameter for layer in layers)
    if not done:
        raise EngineError(f"torchao {version_of('torchao')} quantised none of the model's {len(layers)} linear layers")
    return f"{precision} at load by torchao, {done} of {len(layers)} linear layers: {', '.join(sorted(kinds))}"


def _recipe(spec: EngineSpec, device: str) -> Any:
    """Torchao's configuration of a spec's precision.

    On a CPU torchao 0.18 has no packed int4 kernel (each of its packing formats needs CUDA or XPU): the
    weights take int4 values but lie in int8, which costs the quality of int4 without its memory.
    """
    import torch
    from torchao import quantization as ao

    options = spec.quantisation or Quantisation()
    group = INT4_GROUP if options.group_size is None else options.group_size
    if spec.precision is Precision.INT8_WO:
        return ao.Int8WeightOnlyConfig()
    if spec.precision is Precision.FP8:  # weights at load, activations as they come: what vLLM's "fp8" does too
        return ao.Float8DynamicActivationFloat8WeightConfig(granularity=ao.PerRow())
    if device == "cuda":
        return ao.Int4WeightOnlyConfig(group_size=group, int4_packing_format="tile_packed_to_4d")
    granularity = ao.PerAxis(0) if group < 0 else ao.PerGroup(group)
    mapping = ao.MappingType.ASYMMETRIC if options.symmetric is False else ao.MappingType.SYMMETRIC
    return ao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=granularity, mapping_type=mapping)
