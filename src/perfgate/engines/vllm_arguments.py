"""An engine spec in vLLM's words: names and values of `EngineArgs` (0.26.0), for its engine and its server alike."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from perfgate.case import Drafting, EngineSpec, KvDtype, Precision, Speculation
from perfgate.engines.server_profile import DTYPES, Scalar, own_arguments, refuse
from perfgate.schema import nearest

OLDEST = "0.26.0"
# Precisions that only a checkpoint can have, and what its config.json may call them (`quant_method`).
IN_CHECKPOINT: Mapping[Precision, tuple[str, ...]] = {
    Precision.INT4_AWQ: ("awq", "auto_awq", "awq_marlin", "compressed-tensors"),
    Precision.INT4_GPTQ: ("gptq", "auto_gptq", "gptq_marlin", "compressed-tensors"),
    Precision.INT4_WO: ("compressed-tensors", "torchao"),
    Precision.INT8_WO: ("compressed-tensors", "torchao"),
    Precision.INT8_SQ: ("compressed-tensors", "quark"),
}
_OURS = {
    "host": "port",
    "port": "port",
    "model": "model",
    "dtype": "precision",
    "quantization": "precision",
    "tensor_parallel_size": "tp",
    "pipeline_parallel_size": "pp",
    "max_num_seqs": "max_batch_size",
    "max_num_batched_tokens": "max_num_tokens",
    "max_model_len": "max_seq_len",
    "kv_cache_dtype": "kv_cache_dtype",
    "enable_prefix_caching": "prefix_caching",
    "enable_chunked_prefill": "chunked_prefill",
    "enforce_eager": "cuda_graphs",
    "async_scheduling": "overlap_scheduler",
    "speculative_config": "speculative",
}
_KV_DTYPES = {  # CacheDType of vLLM 0.26.0, config/cache.py
    KvDtype.AUTO: "auto",
    KvDtype.FP16: "float16",
    KvDtype.BF16: "bfloat16",
    KvDtype.FP8: "fp8",
    KvDtype.INT8: "int8_per_token_head",
    KvDtype.INT4: "int4_per_token_head",
}


def arguments(spec: EngineSpec, name: str) -> dict[str, Any]:
    """Every argument that is stated, but the model; what the spec leaves to the engine is left out.

    Prefix caching and chunked prefill are on by default there, so they are always stated. The user's own
    arguments follow; 'a.b' is the key b of the argument a, also of one that we make (speculative_config.*).

    Raises:
        UsageError: vLLM has no such thing; `name` says who refuses.
    """
    own = own_arguments(name, spec, _OURS)
    refuse(name, _refused(spec))
    stated = {
        "dtype": DTYPES.get(spec.precision, "auto"),
        # Of the checkpoint's own weights at load; 8 and 4 bits of other kinds must be in the checkpoint.
        "quantization": "fp8" if spec.precision is Precision.FP8 else None,
        "tensor_parallel_size": spec.tp,
        "pipeline_parallel_size": spec.pp,
        "max_num_seqs": spec.max_batch_size,
        "max_num_batched_tokens": spec.max_num_tokens,
        "max_model_len": spec.max_seq_len,
        "kv_cache_dtype": _kv_dtype(spec),
        "speculative_config": _speculation(spec.speculative),
        "enable_prefix_caching": spec.prefix_caching,
        "enable_chunked_prefill": spec.chunked_prefill,
        "enforce_eager": None if spec.cuda_graphs is None else not spec.cuda_graphs,
        "async_scheduling": spec.overlap_scheduler,
    }
    out = {key: value for key, value in stated.items() if value is not None}
    for key, value in own.items():
        _put(out, key, value, name)
    return out


def check_names(given: Mapping[str, Any], known: frozenset[str], name: str) -> None:
    """See that every argument is one of the installed version's `EngineArgs`.

    Raises:
        UsageError: one is not.
    """
    for key in given:
        hint = nearest(key, sorted(known))
        refuse(name, {f"engine_args {key} is no argument of the installed vLLM{hint}": key not in known})


@cache
def known_names() -> frozenset[str] | None:
    """The fields of the installed `EngineArgs`, read from its source; importing vLLM would take seconds and a GPU.

    None where vLLM is not installed or its source is laid out differently.
    """
    found = find_spec("vllm")
    folders = found.submodule_search_locations if found else None
    try:
        source = (Path(next(iter(folders or ()))) / "engine" / "arg_utils.py").read_text()
        tree = ast.parse(source)
    except (StopIteration, OSError, SyntaxError):
        return None
    bodies = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "EngineArgs")
    targets = (line.target for body in bodies for line in body if isinstance(line, ast.AnnAssign))
    return frozenset(target.id for target in targets if isinstance(target, ast.Name)) or None


def _refused(spec: EngineSpec) -> dict[str, bool]:
    return {
        f"KV cache {spec.kv_cache_dtype} is not served here; it has {', '.join(_KV_DTYPES)}": (
            not _is_compute_dtype(spec) and spec.kv_cache_dtype not in _KV_DTYPES
        ),
        f"without chunked prefill a prompt is one step: max_num_tokens must be at least max_seq_len, "
        f"{spec.max_seq_len}": not spec.chunked_prefill and spec.max_num_tokens < spec.max_seq_len,
        f"max_num_tokens must be at least max_batch_size, {spec.max_batch_size}": (
            spec.max_num_tokens < spec.max_batch_size
        ),
        "n-gram speculation is not scheduled ahead (overlap_scheduler): set it to false or leave it out": (
            spec.overlap_scheduler is True
            and spec.speculative is not None
            and spec.speculative.method is Drafting.NGRAM
        ),
        "speculation with a draft model needs its checkpoint: set speculative.model": (
            spec.speculative is not None
            and spec.speculative.method is Drafting.DRAFT_MODEL
            and spec.speculative.model is None
        ),
    }


def _is_compute_dtype(spec: EngineSpec) -> bool:
    return spec.precision in DTYPES and spec.kv_cache_dtype.value == spec.precision.value


def _kv_dtype(spec: EngineSpec) -> str:
    """A cache in the compute precision is vLLM's own choice and may have no name (fp32)."""
    return "auto" if _is_compute_dtype(spec) else _KV_DTYPES[spec.kv_cache_dtype]


def _speculation(wish: Speculation | None) -> dict[str, str | int] | None:
    if wish is None:
        return None
    match wish.method:
        case Drafting.NGRAM:
            return {"method": "ngram", "num_speculative_tokens": wish.draft_len, "prompt_lookup_max": wish.draft_len}
        case Drafting.DRAFT_MODEL:
            return {"method": "draft_model", "model": str(wish.model), "num_speculative_tokens": wish.draft_len}


def _put(out: dict[str, Any], key: str, value: Scalar, name: str) -> None:
    """Set a.b.c = value in nested dictionaries; a text in braces is JSON."""
    *outer, last = key.split(".")
    inner = out
    for part in outer:
        inner = inner.setdefault(part, {})
        refuse(name, {f"engine_args {key}: {part} is set to a plain value already": not isinstance(inner, dict)})
    inner[last] = _plain(value, key, name)


def _plain(value: Scalar, key: str, name: str) -> Any:
    if not (isinstance(value, str) and value.startswith("{")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        refuse(name, {f"engine_args {key}: the text in braces is no JSON": True})


def as_options(given: Mapping[str, Any]) -> dict[str, Scalar]:
    """The same for a command line: nested arguments as JSON."""
    return {
        key: json.dumps(value, sort_keys=True) if isinstance(value, dict) else value for key, value in given.items()
    }
