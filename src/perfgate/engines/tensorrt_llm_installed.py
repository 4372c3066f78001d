"""The TensorRT-LLM that is installed: its version, its flows, and whether it takes the arguments we made.

`tensorrt_llm` itself is imported here and in the modules that load an engine only, always in a child process.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from packaging.version import InvalidVersion, Version

from perfgate.case import Flow
from perfgate.engines.base import first_line
from perfgate.engines.installed import version_of, versions_of
from perfgate.engines.tensorrt_llm_own import lacking
from perfgate.engines.tensorrt_llm_table import ARGUMENTS, CLASSES, DECODING, ENUMS, FLOWS, OPTIONAL
from perfgate.errors import EngineError, UsageError

BUILDER = "trtllm-build"
DISTRIBUTION = "tensorrt-llm"
_PACKAGES = (  # whatever changes an engine's bits or speed
    *(DISTRIBUTION, "tensorrt", "torch", "flashinfer-python", "triton", "transformers", "nvidia-modelopt"),
    *("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu13", "nvidia-nccl-cu12"),
)
_HELP_S = 300.0  # the program imports all of TensorRT-LLM before it answers
_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9_-]*)")


def versions() -> dict[str, str]:
    """Versions of the packages that are installed, without importing one."""
    return versions_of(_PACKAGES)


def version_told() -> Version | None:
    """The version of the package as installed, or None where there is none.

    Raises:
        UsageError: it is no version.
    """
    text = version_of(DISTRIBUTION)
    try:
        return Version(text) if text else None
    except InvalidVersion as exc:
        raise UsageError(f"tensorrt_llm tells the version '{text}', expected one like 1.2.1") from exc


@dataclass(frozen=True, slots=True)
class Installed:
    """The package, imported: the class to construct for a flow and the arguments it takes."""

    version: Version
    flow: Flow
    llm: Any
    fields: frozenset[str]

    def fitting(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments without those optional ones that this version lacks.

        Raises:
            UsageError: one that matters is not taken, in one line with the versions that have it.
        """
        out = {name: value for name, value in arguments.items() if name in self.fields or name not in OPTIONAL}
        for name in out:
            if name not in self.fields:
                raise UsageError(self._refusal(name))
        for name, value in out.items():
            if isinstance(value, Mapping) and (cls := self._class_of(name, value)) is not None:
                self._check_fields(name, value, cls)
        return out

    def objects(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments with nested mappings as objects of the package.

        Raises:
            UsageError: the package refuses one.
        """
        try:
            return {name: self._object(name, value) for name, value in arguments.items()}
        except (ValueError, TypeError, AttributeError, KeyError) as exc:
            raise UsageError(f"tensorrt_llm {self.version} refuses an argument: {first_line(exc)}") from exc

    def _object(self, name: str, value: Any) -> Any:
        if name in ENUMS:
            return _member(name, value)
        if not isinstance(value, Mapping) or (cls := self._class_of(name, value)) is None:
            return value
        plain = {key: item for key, item in value.items() if key not in {"plugin_config", "decoding_type"}}
        plain = {key: _member(key, item) if key in ENUMS else item for key, item in plain.items()}
        made = cls(**plain)
        for key, item in value.get("plugin_config", {}).items():
            if not hasattr(made.plugin_config, key):
                raise UsageError(f"tensorrt_llm {self.version} has no plugin setting '{key}': leave it out")
            setattr(made.plugin_config, key, item)
        return made

    def _class_of(self, name: str, value: Mapping[str, Any]) -> Any:
        if name == "speculative_config":
            return api(DECODING[value["decoding_type"]].cls)
        return api(CLASSES[name]) if name in CLASSES else None

    def _check_fields(self, name: str, value: Mapping[str, Any], cls: Any) -> None:
        fields = fields_of(cls)
        for key in value:
            if fields and key not in fields and key not in {"decoding_type", "plugin_config"}:
                raise UsageError(self._refusal(f"{name}.{key}"))

    def _refusal(self, name: str) -> str:
        why = lacking(name, ARGUMENTS, self.flow, self.version) or _where(name, self.flow)
        return f"tensorrt_llm {self.version}, flow {self.flow}, takes no argument '{name}': {why}"


def _where(name: str, flow: Flow) -> str:
    ranges = ARGUMENTS.get(name, {})
    if flow in ranges:
        return f"it was expected in {ranges[flow]}, and this build of it differs: leave it out"
    return "no version is known that has it: leave it out"


def look(flow: Flow) -> Installed:
    """Import the package and see what it takes.

    Raises:
        EngineError: it cannot be imported.
        UsageError: it lacks the flow.
    """
    try:
        package = importlib.import_module("tensorrt_llm")
        version = Version(str(package.__version__))
        llm, args = _classes(package, flow)
    except (ImportError, OSError, RuntimeError, AttributeError, InvalidVersion) as exc:
        raise EngineError(f"tensorrt_llm cannot be imported: {first_line(exc)}") from exc
    if llm is None:
        raise UsageError(f"tensorrt_llm {version} has no flow {flow}: it is in {FLOWS[flow]}")
    return Installed(version, flow, llm, fields_of(args))


def _classes(package: Any, flow: Flow) -> tuple[Any, Any]:
    """The LLM class of a flow and the class of its arguments; (None, None) where it has none."""
    arguments = importlib.import_module("tensorrt_llm.llmapi.llm_args")
    if flow is Flow.PYTORCH:
        return (package.LLM, arguments.TorchLlmArgs) if FLOWS[flow].has(Version(package.__version__)) else (None, None)
    if find_spec("tensorrt_llm._tensorrt_engine"):
        return importlib.import_module("tensorrt_llm._tensorrt_engine").LLM, arguments.TrtLlmArgs
    is_first = not FLOWS[Flow.PYTORCH].has(Version(package.__version__))
    return (package.LLM, arguments.TrtLlmArgs) if is_first else (None, None)


def api(name: str) -> Any:
    """A class of tensorrt_llm.llmapi, or of the package itself.

    Raises:
        UsageError: this version has none of that name.
    """
    for module in ("tensorrt_llm.llmapi", "tensorrt_llm", "tensorrt_llm.llmapi.llm_args"):
        found = getattr(importlib.import_module(module), name, None)
        if found is not None:
            return found
    package = importlib.import_module("tensorrt_llm")
    raise UsageError(f"tensorrt_llm {package.__version__} has no {name}: leave out what needs it")


def _member(name: str, value: object) -> Any:
    """The member of an enum of the package that an argument holds.

    Raises:
        UsageError: it has no such member.
    """
    members = api(ENUMS[name]).__members__
    if value not in members:
        raise UsageError(f"{name}: found '{value}', tensorrt_llm as installed has {', '.join(members)}")
    return members[value]


def fields_of(cls: Any) -> frozenset[str]:
    """Names that a class of settings takes: pydantic's fields with their aliases, a dataclass's, or a signature's."""
    if found := getattr(cls, "model_fields", None):
        aliases = (getattr(item, "alias", None) for item in found.values())
        choices = (getattr(item, "validation_alias", None) for item in found.values())
        return frozenset(found) | {one for one in aliases if one} | _choices(choices)
    if dataclasses.is_dataclass(cls):
        return frozenset(field.name for field in dataclasses.fields(cls))
    return frozenset(inspect.signature(cls).parameters) - {"args", "kwargs"}


def _choices(aliases: Iterable[Any]) -> frozenset[str]:
    """The words of pydantic's AliasChoices."""
    words: list[Any] = []
    for alias in aliases:
        words += getattr(alias, "choices", [alias])
    return frozenset(word for word in words if isinstance(word, str))


# ------------------------------------------------------------------ programs


def flags_of(program: Sequence[str]) -> frozenset[str]:
    """The flags that a program's --help names, without '--'.

    Raises:
        UsageError: there is no such program.
        EngineError: it does not answer.
    """
    if not shutil.which(program[0]):
        raise UsageError(f"the program '{program[0]}' is not found: it comes with tensorrt_llm {FLOWS[Flow.ENGINE]}")
    try:
        told = subprocess.run(  # noqa: S603 - an argument list, never a shell
            [*program, "--help"], capture_output=True, text=True, errors="replace", timeout=_HELP_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise EngineError(f"{' '.join(program)} --help does not answer: {first_line(exc)}") from exc
    flags = frozenset(_FLAG.findall(told.stdout))
    if told.returncode != 0 or not flags:
        raise EngineError(f"{' '.join(program)} --help ended with code {told.returncode}: {told.stderr[-300:].strip()}")
    return flags


def check_flags(program: Sequence[str], argv: Sequence[str]) -> None:
    """See that a program has every flag of an argument list, before it runs for minutes.

    Raises:
        UsageError: one is missing.
        EngineError: the program does not answer.
    """
    known = flags_of(program)
    for word in argv:
        flag = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and flag not in known:
            raise UsageError(f"{' '.join(program)} as installed has no --{flag}: leave it out, or see its --help")
