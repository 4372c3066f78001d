"""The engines of a suite: their keys, which of them contradict each other, and specs from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from perfgate.case import Batching, Drafting, EngineSpec, Flow, KvDtype, Precision, Speculation
from perfgate.engines import BACKENDS, installed_backends
from perfgate.errors import Fault, SuiteError
from perfgate.quality_suite import ENGINE_QUALITY
from perfgate.quantise_suite import QUANTISATION, quantisation_conflicts, read_quantisation
from perfgate.schema import Anything, Choice, Context, FilePath, Flag, MapOf, Record, Text, Whole


@dataclass(frozen=True, slots=True)
class BackendName:
    """One of perfgate's backends, one that a package brings by entry point, or 'module:Class' of the user's own."""

    def parse(self, node: yaml.Node, path: str, context: Context) -> str | None:
        if isinstance(node, yaml.ScalarNode) and re.fullmatch(r"[\w.]+:\w+", node.value):
            return str(node.value)
        if isinstance(node, yaml.ScalarNode) and node.value in BACKENDS:
            return str(node.value)
        return Choice((*BACKENDS, *installed_backends())).parse(node, path, context)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(BACKENDS)}, {"type": "string", "pattern": r"^[\w.]+:\w+$"}]}


_SPECULATIVE = Record(
    {"method": Choice.of(Drafting), "draft_len": Whole(1, 64), "model": FilePath()},
    required=("method",),
    docs={"draft_len": "tokens proposed per step", "model": "draft checkpoint, for draft_model"},
)

ENGINE = Record(
    {
        "backend": BackendName(),
        "model": FilePath(),
        "precision": Choice.of(Precision),
        "kv_cache_dtype": Choice.of(KvDtype),
        "batching": Choice.of(Batching),
        "paged_kv": Flag(),
        "prefix_caching": Flag(),
        "chunked_prefill": Flag(),
        "speculative": _SPECULATIVE,
        "max_batch_size": Whole(1, 65536),
        "max_num_tokens": Whole(1),
        "max_seq_len": Whole(1),
        "cuda_graphs": Flag(),
        "overlap_scheduler": Flag(),
        "context_fmha": Flag(),
        "remove_input_padding": Flag(),
        "tp": Whole(1, 1024),
        "pp": Whole(1, 1024),
        "engine_args": MapOf(Anything()),
        "flow": Choice.of(Flow),
        "max_input_len": Whole(1),
        "builder_cmd": Text(r"(?s).{1,4000}", "a command line"),
        "quality": ENGINE_QUALITY,
        "quantisation": QUANTISATION,
        "made_by": Text(r".{1,300}", "a command line"),
    },
    docs={
        "flow": "TensorRT-LLM: a compiled engine, or its PyTorch backend; without it the version's own",
        "made_by": "the command that makes the checkpoint: where that is missing, cases are skips that name it",
        "quality": "its reference and the loss it may have, where they are not the suite's",
        "builder_cmd": "TensorRT-LLM: a command that builds the engine, with {model_name}, {output_dir} and others",
    },
)
_DEFAULT_BACKEND = next(field.default for field in fields(EngineSpec) if field.name == "backend")
_TENSORRT_LLM_ONLY = ("flow", "max_input_len", "builder_cmd")


def read_engine(name: str, fields: Mapping[str, Any], folder: Path) -> EngineSpec:
    """An engine's spec from the keys that a suite has for engines; paths are relative to the folder.

    Raises:
        SuiteError: with every fault.
    """
    context = Context(folder / "engine")
    plain = {key: str(value) if isinstance(value, (Path, StrEnum)) else value for key, value in fields.items()}
    node = yaml.compose(yaml.safe_dump(plain, sort_keys=False), Loader=yaml.SafeLoader)
    assert node is not None  # there is a mapping, if an empty one
    found = ENGINE.parse(node, "", context)
    faults = [replace(one, where=f"engine '{name}' {one.where.partition(' ')[2]}".rstrip()) for one in context.faults]
    if not faults:
        faults = [Fault(f"engine '{name}'", what) for _, what in engine_conflicts("", found)]
    if faults:
        raise SuiteError(faults)
    return engine_of(name, found)


def engine_of(name: str, raw: Mapping[str, Any]) -> EngineSpec:
    """A spec from keys as `ENGINE` reads them."""
    plain = {key: value for key, value in raw.items() if key != "quality"}  # no part of what is built or measured
    converters: dict[str, Any] = {
        "precision": Precision,
        "kv_cache_dtype": KvDtype,
        "batching": Batching,
        "flow": Flow,
        "speculative": _speculation,
        "quantisation": read_quantisation,
        "engine_args": lambda args: tuple(sorted(args.items())),
    }
    for key, convert in converters.items():
        if key in plain:
            plain[key] = convert(plain[key])
    return EngineSpec(name=name, **plain)


def _speculation(raw: Mapping[str, Any]) -> Speculation:
    return Speculation(Drafting(raw["method"]), raw.get("draft_len", 3), raw.get("model"))


def why_refused(engine: Mapping[str, Any]) -> str:
    """What contradicts what in the keys of one engine; empty where nothing does."""
    return "; ".join(what for _, what in engine_conflicts("", engine))


def engine_conflicts(where: str, engine: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Key paths, and what is wrong with the keys of one engine."""
    draft = engine.get("speculative") or {}
    if "model" not in engine:
        yield where, "the key 'model' is missing, here and in defaults.engine"
    if draft.get("method") == Drafting.DRAFT_MODEL and "model" not in draft:
        yield f"{where}.speculative", "draft_model needs the key 'model': the draft checkpoint"
    if draft.get("method") == Drafting.NGRAM and "model" in draft:
        yield f"{where}.speculative", "ngram drafts from the prompt; remove 'model'"
    if draft and engine.get("batching") == Batching.STATIC:
        yield where, "speculative decoding runs with in-flight batching; remove one of the two"
    backend = engine.get("backend", _DEFAULT_BACKEND)
    if backend in BACKENDS and backend != "tensorrt_llm":
        for key in (key for key in _TENSORRT_LLM_ONLY if key in engine):
            yield f"{where}.{key}", f"the backend {backend} has no such key: it is tensorrt_llm's; remove it"
    yield from quantisation_conflicts(where, engine)
