"""A trtllm-serve of a prepared engine, by the server profile; of a compiled engine with the tensorrt backend."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import yaml
from packaging.version import Version

from perfgate.case import Batching, EngineSpec, Flow
from perfgate.engines import openai
from perfgate.engines import tensorrt_llm_entry as entries
from perfgate.engines.kept import LOOPBACK, Launch, Routes, free_port
from perfgate.engines.server_profile import Place, Scalar, options
from perfgate.engines.server_profiles import profile
from perfgate.engines.tensorrt_llm_arguments import kv_tokens, llm_arguments
from perfgate.engines.tensorrt_llm_build import ENGINE
from perfgate.engines.tensorrt_llm_checkpoint import check_built
from perfgate.engines.tensorrt_llm_own import NAME, Own, own_of
from perfgate.engines.tensorrt_llm_process import FORCED_DRAFTS, variables_of
from perfgate.engines.tensorrt_llm_table import FLOWS
from perfgate.errors import UsageError
from perfgate.plant import Plant

_PROFILE = "trtllm-serve"
_FLAGGED = frozenset(  # arguments of LLM that are flags of the command line
    {
        *("tensor_parallel_size", "pipeline_parallel_size", "max_batch_size", "max_num_tokens", "max_seq_len"),
        *("max_beam_width", "dtype", "batching_type", "max_input_len"),
    }
)


@contextmanager
def serve(spec: EngineSpec, prepared: Path, plant: Plant, folder: Path) -> Iterator[openai.Server]:
    """Start the server and wait until it is ready; its log and files lie in `folder`.

    Raises:
        UsageError: a planted regression, which a server cannot be told; or see `Profile.launch`.
        EngineError: it does not become ready.
    """
    if plant != Plant():
        raise UsageError(
            f"{NAME}: trtllm-serve cannot be told to be worse: plant regressions into cases without a server"
        )
    record = entries.read(prepared)
    version = Version(record.version)
    own = own_of(spec, record.flow, version)
    with entries.tuned(prepared, keep=False) as autotuner:
        unforced = {FORCED_DRAFTS: "0"} if FORCED_DRAFTS in os.environ else {}  # the shell's; a server inherits it
        variables = unforced | variables_of(own, None if record.flow is Flow.ENGINE else autotuner)
        place = Place(free_port(), folder, version.public, variables=variables)
        if record.flow is Flow.ENGINE:
            launch = _of_engine(spec, prepared / ENGINE, place, version)
        else:
            launch = profile(_PROFILE).launch(_for_profile(spec, own), place)
        notes = (*launch.notes, *(f"{name}: {value}" for name, value in record.told.items()))
        with openai.serve(replace(launch, notes=notes), folder / f"{spec.name}.trtllm-serve.log") as server:
            yield server


def _for_profile(spec: EngineSpec, own: Own) -> EngineSpec:
    """The spec as the profile reads it: without what is ours, and with the size of the KV cache stated."""
    stated: Mapping[str, Scalar] = {
        "kv_cache_config.max_tokens": kv_tokens(spec),
        "enable_iter_perf_stats": True,
        **own.llm,
    }
    return replace(spec, engine_args=tuple(sorted(stated.items())))


def _of_engine(spec: EngineSpec, engine: Path, place: Place, version: Version) -> Launch:
    """The command line for a compiled engine, with flags that 0.20 to 1.3.0rc20 have; the rest goes into the YAML.

    0.20 takes the engines by default and has no word for them.
    """
    if spec.batching is not Batching.INFLIGHT or not spec.paged_kv:
        raise UsageError(
            f"{NAME}: servers batch in flight, with a paged KV cache: set batching: inflight, paged_kv: true"
        )
    check_built(spec, engine, version)
    arguments = {
        name: value for name, value in llm_arguments(spec, Flow.ENGINE, version).items() if name not in _FLAGGED
    }
    config = place.folder / f"{spec.name}.trtllm-serve.yaml"
    tokenizer = arguments.pop("tokenizer", str(spec.model))
    words = options(
        [
            ("--tokenizer", str(tokenizer)),
            ("--host", LOOPBACK),
            ("--port", place.port),
            ("--backend", "tensorrt" if FLOWS[Flow.PYTORCH].has(version) else None),
            ("--tp_size", spec.tp),
            ("--pp_size", spec.pp),
            ("--max_batch_size", spec.max_batch_size),
            ("--max_num_tokens", spec.max_num_tokens),
            ("--max_seq_len", spec.max_seq_len),
            ("--extra_llm_api_options", str(config)),
        ]
    )
    files = {config: yaml.safe_dump(arguments, sort_keys=True)}
    return Launch((_PROFILE, str(engine), *words), place.port, Routes(), files, place.variables)
