"""A suite for a checkpoint that no suite names: the plain engine, the quantised one, and what both are measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from perfgate.device import find_device
from perfgate.errors import UsageError
from perfgate.record import write_atomic

_STATIC = {"batching": "static", "paged_kv": False}  # transformers' in-flight batching wants chunked prefill as well


@dataclass(frozen=True, slots=True)
class Alone:
    """What the command line says of a checkpoint. options: 'KEY=VALUE' of `quantisation`."""

    model: Path
    backend: str
    precision: str
    text: Path
    prompts: Path | None
    allowed: str | None
    options: tuple[str, ...]


def write_suite(asked: Alone, folder: Path) -> Path:
    """Write it; faults in it are told when it is read, by their key.

    Raises:
        UsageError: an option is not KEY=VALUE.
    """
    plain = "bf16" if find_device().is_gpu else "fp32"
    shared: dict[str, Any] = {"backend": asked.backend, "model": str(asked.model.resolve())}
    quantised: dict[str, Any] = {"precision": asked.precision}
    if options := dict(map(_option, asked.options)):
        quantised["quantisation"] = options
    works: dict[str, Any] = {"text": {"kind": "perplexity", "text": str(asked.text.resolve())}}
    if asked.prompts:
        works["b1"] = {"kind": "latency", "prompts": str(asked.prompts.resolve()), "concurrency": 1}
    suite = {
        "schema": 1,
        "suite": asked.model.resolve().name,
        "defaults": {"engine": shared | (_STATIC if asked.backend == "transformers" else {})},
        "engines": {plain: {"precision": plain}, asked.precision: quantised},
        "workloads": {"build": {"kind": "build"}, **works},
        "quality": {"reference": plain} | ({"perplexity": asked.allowed} if asked.allowed else {}),
        "gate": {
            "metrics": {"perplexity": {}},
            "max_foreign_cpu": "95%",
        },  # texts are judged: no neighbour changes them
    }
    path = folder / f"{asked.model.resolve().name}.yaml"
    write_atomic(path, yaml.safe_dump(suite, sort_keys=False).encode())
    return path


def _option(text: str) -> tuple[str, Any]:
    key, is_there, value = text.partition("=")
    if not is_there:
        raise UsageError(f"--option: found '{text}', expected KEY=VALUE such as group_size=64")
    return key, yaml.safe_load(value)
