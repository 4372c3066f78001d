"""The user's engine_args for TensorRT-LLM, sorted by what they are for, and refused where they cannot be meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.version import Version

from perfgate.case import EngineSpec, Flow
from perfgate.engines.server_profile import Scalar, own_arguments
from perfgate.engines.tensorrt_llm_table import ARGUMENTS, BUILD, FLOWS, OURS, PERFGATE, WRONG, Ranges
from perfgate.errors import UsageError

NAME = "tensorrt_llm"
_LLM_TOO = frozenset({"max_beam_width", "gather_generation_logits"})  # flags of the builder, and arguments of LLM


@dataclass(frozen=True, slots=True)
class Own:
    """The user's engine_args by what they are for."""

    llm: Mapping[str, Scalar] = field(default_factory=dict)  # arguments of LLM; 'a.b' is a field of one
    build: Mapping[str, Scalar] = field(default_factory=dict)  # flags of trtllm-build
    perfgate: Mapping[str, Scalar] = field(default_factory=dict)


def own_of(spec: EngineSpec, flow: Flow, version: Version) -> Own:
    """The user's arguments, sorted.

    Raises:
        UsageError: one is misspelt, the spec's own, or not in this version and flow.
    """
    given = own_arguments(NAME, spec, OURS, WRONG)
    out = Own({}, {}, {})
    groups: Mapping[str, Any] = {"perfgate": out.perfgate, "build": out.build, "llm": out.llm}
    for name, value in given.items():
        is_build = name in BUILD and (flow is Flow.ENGINE or name not in _LLM_TOO)
        groups["perfgate" if name in PERFGATE else "build" if is_build else "llm"][name] = value
    _refuse_values(out.perfgate)
    if flow is Flow.PYTORCH:
        for name in (*out.build, *(key for key in ("quantize_script", "timing_cache") if key in out.perfgate)):
            raise UsageError(f"{NAME}: engine_args {name} is of the flow engine ({FLOWS[Flow.ENGINE]}): leave it out")
    for name in out.llm:
        if reason := lacking(name, ARGUMENTS, flow, version):
            raise UsageError(f"{NAME}: engine_args {name}: {reason}")
    return out


def lacking(name: str, table: Mapping[str, Ranges], flow: Flow, version: Version) -> str | None:
    """Why a version and flow lack an argument, with the versions that have it; None where they do not."""
    for known in (part for part in _prefixes(name) if part in table):
        ranges = table[known]
        if flow in ranges and ranges[flow].has(version):
            continue
        there = " and ".join(f"{one} (flow {which})" for which, one in ranges.items()) or "0.20 alone"
        return f"version {version.public}, flow {flow}, has no '{known}'; it is in {there}"
    return None


def _refuse_values(own: Mapping[str, Scalar]) -> None:
    checks: Mapping[str, Callable[[Any], bool]] = {
        "force_accepted_tokens": lambda value: _is_number(value) and value > 0,
        "scoring": lambda value: value in {"context_logits", "prompt_logprobs"},
        "timing_cache": lambda value: isinstance(value, bool),
        "quantize_script": lambda value: isinstance(value, str),
    }
    for name, value in own.items():
        if not checks[name](value):
            raise UsageError(f"{NAME}: engine_args {name}: found '{value}', expected {PERFGATE[name]}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _prefixes(name: str) -> Iterable[str]:
    """'a', 'a.b' of 'a.b'."""
    words = name.split(".")
    return (".".join(words[: count + 1]) for count in range(len(words)))
