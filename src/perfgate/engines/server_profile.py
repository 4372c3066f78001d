"""What a server profile is: an engine spec turned into the command line of one program at one version.

A profile refuses, in one line, what its version lacks, rather than starting something else than was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.version import InvalidVersion, Version  # pytest needs it too

from perfgate.case import Batching, EngineSpec, Precision
from perfgate.engines.kept import Launch, Routes
from perfgate.engines.pickles import ALLOWED, why_refused
from perfgate.errors import UsageError

Scalar = str | int | float | bool

DTYPES = {Precision.FP32: "float32", Precision.FP16: "float16", Precision.BF16: "bfloat16"}
_ARGUMENT = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server will run. program: the words that start it, where they are not the profile's own."""

    port: int
    folder: Path  # for configuration files
    version: str  # of the server's package, as it tells it
    program: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """What follows the program's own words, files that it names, and what a reader of the figures should know."""

    words: tuple[str, ...]
    files: Mapping[Path, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """How one server program is asked.

    takes_token_ids: whether a prompt of /v1/completions may be token ids; takes_ignore_eos: whether
    requests may say ignore_eos; returns_token_ids: whether it lists the ids of each event's tokens where it is asked
    to; is_pinned: whether requests must name the model as the command line did,
    which /v1/models does not list; has_load_format: whether an option says in which format weights are read.
    """

    name: str
    program: tuple[str, ...]
    oldest: str  # the first version whose command line this profile knows
    command: Callable[[EngineSpec, Place, Version], Command]
    routes: Routes = field(default_factory=Routes)
    takes_token_ids: bool = True
    takes_ignore_eos: bool = True
    returns_token_ids: bool = False
    is_pinned: bool = False
    has_load_format: bool = False

    def launch(self, spec: EngineSpec, place: Place) -> Launch:
        """The start of a server for a spec.

        Raises:
            UsageError: the version is unknown to the profile, or lacks something that the spec asks for.
        """
        version = self._version(place.version)
        refuse(self.name, _lacking_everywhere(spec))
        spec = self._safe(spec)
        command = self.command(spec, place, version)
        argv = (*(place.program or self.program), *command.words)
        model = str(spec.model) if self.is_pinned else None
        return Launch(
            argv, place.port, self.routes, command.files, place.variables, command.notes, model, self.returns_token_ids
        )

    def _safe(self, spec: EngineSpec) -> EngineSpec:
        """The spec with the format of its weights stated where nobody did; see `pickles`."""
        own = dict(spec.engine_args)
        if own.pop(ALLOWED, False) is True:
            return replace(spec, engine_args=tuple(own.items()))
        why = why_refused(spec)
        refuse(self.name, {f"{why}, or say engine_args {ALLOWED}: true": bool(why)})
        if self.has_load_format:
            own.setdefault("load_format", "safetensors")
        return replace(spec, engine_args=tuple(own.items()))

    def _version(self, text: str) -> Version:
        try:
            version = Version(text)
        except InvalidVersion as exc:
            raise UsageError(f"{self.name}: found the version '{text[:40]}', expected one like {self.oldest}") from exc
        refuse(
            self.name,
            {f"version {version} is not known here: use {self.oldest} or newer": version < Version(self.oldest)},
        )
        return version


def _lacking_everywhere(spec: EngineSpec) -> dict[str, bool]:
    return {
        "servers batch in flight: set batching: inflight": spec.batching is not Batching.INFLIGHT,
        "servers keep a paged KV cache: set paged_kv: true": not spec.paged_kv,
        "context_fmha and remove_input_padding belong to the TensorRT-engine backend: leave them out": (
            (spec.context_fmha, spec.remove_input_padding) != (None, None)
        ),
    }


def refuse(name: str, reasons: Mapping[str, bool]) -> None:
    """Raise the first reason that holds.

    Raises:
        UsageError: one does.
    """
    for reason, is_so in reasons.items():
        if is_so:
            raise UsageError(f"{name}: {reason}")


def own_arguments(
    name: str, spec: EngineSpec, ours: Mapping[str, str], wrong: Mapping[str, str] | None = None
) -> dict[str, Scalar]:
    """The user's own arguments (engine_args), with '_' for '-'.

    ours: arguments that come from a key of the spec, and that key; wrong: spellings of other programs or
    versions, and what is right.

    Raises:
        UsageError: one is no name, is the spec's, or is known to be wrong.
    """
    out: dict[str, Scalar] = {}
    for raw, value in spec.engine_args:
        key = raw.lstrip("-").replace("-", "_")
        reasons = {f"engine_args '{raw[:60]}' is no argument's name": not _ARGUMENT.fullmatch(key)}
        if wrong and key in wrong:
            reasons[f"engine_args {key} is no argument here: {wrong[key]}"] = True
        if key in ours:
            reasons[f"engine_args {key} comes from the spec's key '{ours[key]}': set that"] = True
        refuse(name, reasons)
        out[key] = value
    return out


def options(words: Iterable[tuple[str, Scalar | None]]) -> tuple[str, ...]:
    """('--port', '8000', ...) of (option, value) pairs; a value of None leaves an option out."""
    return tuple(word for option, value in words if value is not None for word in (option, str(value)))


def own_options(name: str, given: Mapping[str, Scalar], *, has_off: bool) -> tuple[str, ...]:
    """The user's own arguments as options: true is --name, false is --no-name where the program has that form.

    Raises:
        UsageError: one is false and the program has no such form.
    """
    out: list[str] = []
    for key, value in given.items():
        option = key.replace("_", "-")
        if value is False:
            refuse(name, {f"engine_args {key}: false has no option here: leave it out": not has_off})
        shown = {True: (f"--{option}",), False: (f"--no-{option}",)}
        out += shown[value] if isinstance(value, bool) else (f"--{option}", str(value))
    return tuple(out)
