"""The files that a repository starts its gate with, from the answers to `perfgate init`."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import jinja2

from perfgate.case import WorkKind
from perfgate.device import Device
from perfgate.record import printable, write_atomic
from perfgate.starter_look import Fitting
from perfgate.starter_texts import data

ACTION = "OWNER/perfgate@COMMIT"  # nobody can know where a user keeps the action
_TABLE = '[tool.perfgate]\nsuite = "suite.yaml" # --perfgate-suite; further settings: docs/options.md of perfgate\n'
_IGNORED = (".perfgate/", "perfgate-out/")


class Ci(StrEnum):
    """Where the gate runs beside here."""

    GITHUB = "github"
    GITLAB = "gitlab"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Answers:
    """What a new suite is made from. args: the engine's own (`engine_args`)."""

    name: str
    model: Path
    backend: str
    kinds: tuple[WorkKind, ...]
    ci: Ci
    tp: int = 1
    action: str = ACTION
    args: Mapping[str, Any] | None = None


class State(StrEnum):
    """What became of a file."""

    WRITTEN = "written"
    REPLACED = "replaced"
    EXTENDED = "extended"
    SAME = "there already"
    KEPT = "kept as it is"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to write whole, or (`adds`) lines for one that may be there. is_ours: shown where it is not written."""

    path: str
    content: bytes
    adds: bool = False
    is_ours: bool = True


def entries(answers: Answers, fitting: Fitting, device: Device, root: Path, size: str) -> list[Entry]:
    """Everything but prompts."""
    shown = {"is_gpu": device.is_gpu, "action": answers.action}
    made = [
        Entry("suite.yaml", suite_text(answers, fitting, device, root, size)),
        Entry("perf_tests/test_perf.py", _rendered("test_perf.py.j2")),
        Entry("perf_tests/conftest.py", _rendered("conftest.py.j2")),
        Entry("pyproject.toml", _TABLE.encode(), adds=True),
        Entry(".gitignore", "".join(f"{line}\n" for line in _IGNORED).encode(), adds=True),
    ]
    match answers.ci:
        case Ci.GITHUB:
            made.append(Entry(".github/workflows/perfgate.yml", _rendered("perfgate.yml.j2", **shown)))
        case Ci.GITLAB:
            made.append(Entry(".gitlab-ci.yml", _rendered("gitlab-ci.yml.j2", **shown), adds=True))
        case Ci.NONE:
            pass
    return made


def suite_text(answers: Answers, fitting: Fitting, device: Device, root: Path, size: str) -> bytes:
    """suite.yaml: a base engine, the precisions beside it, one request at a time and many."""
    is_gpu, kinds = device.is_gpu, [str(kind) for kind in answers.kinds]
    return _rendered(
        "suite.yaml.j2",
        name=answers.name,
        device=printable(f"{device.key} ({device.product})"),
        description=f"{answers.model.name} with {answers.backend}",
        backend=answers.backend,
        model=os.path.relpath(answers.model, root),
        size=printable(", ".join(size.split(", ")[:2])),  # a comment: what a checkpoint says must not end it
        base=_base(answers, fitting, is_gpu=is_gpu),
        base_name=str(fitting.precision),
        variants=fitting.variants,
        refused=fitting.refused,
        kinds=kinds,
        served=answers.backend == "openai",
        is_gpu=is_gpu,
        isl=256 if is_gpu else 128,
        osl=128 if is_gpu else 32,
        batch=batch_of(device),
        close="{margin: 2%, detect: 5%}" if is_gpu else "{margin: 5%, detect: 10%}",
        wide="{margin: 5%, detect: 15%}" if is_gpu else "{margin: 10%, detect: 40%}",
        pairing="consecutive" if is_gpu else "interleaved",
        noise="{round_sd: 2%, session_sd: 2%, pair_sd: 2%}"
        if is_gpu
        else "{round_sd: 10%, session_sd: 20%, pair_sd: 5%}",
        budget="1h" if is_gpu else "10min",
    )


def batch_of(device: Device) -> int:
    """Requests at a time of the larger load."""
    return 32 if device.is_gpu else 8


def _base(answers: Answers, fitting: Fitting, *, is_gpu: bool) -> dict[str, Any]:
    keys: dict[str, Any] = {"precision": str(fitting.precision)}
    keys |= {key: str(value) if isinstance(value, StrEnum) else value for key, value in fitting.keys.items()}
    keys |= {"max_batch_size": 32 if is_gpu else 8, "max_seq_len": 1024}
    if answers.tp > 1:
        keys["tp"] = answers.tp
    if answers.args:
        keys["engine_args"] = dict(answers.args)
    return keys


def _rendered(template: str, /, **values: Any) -> bytes:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701 - YAML; values from outside pass `tojson`
    return environment.from_string(data(template).decode()).render(**values).encode()


# ------------------------------------------------------------------ writing


def write(root: Path, wanted: Iterable[Entry], *, force: bool) -> list[tuple[Entry, State]]:
    """Write what is not there yet, each file whole or not at all; with `force` what differs as well."""
    return [(entry, _write(root / entry.path, entry, force=force)) for entry in wanted]


def _write(path: Path, entry: Entry, *, force: bool) -> State:
    if not path.exists():
        write_atomic(path, entry.content)
        return State.WRITTEN
    before = path.read_bytes()
    missing = missing_from(before, entry)
    if not missing:
        return State.SAME
    if not force:
        return State.KEPT
    write_atomic(path, before.rstrip(b"\n") + b"\n\n" + missing if entry.adds else entry.content)
    return State.EXTENDED if entry.adds else State.REPLACED


def missing_from(before: bytes, entry: Entry) -> bytes:
    """What of an entry a file lacks; a table or a job of ours that is there counts, whatever it says."""
    if not entry.adds:
        return b"" if before == entry.content else entry.content
    if entry.path == "pyproject.toml":
        return b"" if _has_table(before) else entry.content
    if entry.path == ".gitignore":
        there = {line.strip() for line in before.decode("utf-8", "replace").splitlines()}
        return b"".join(line for line in entry.content.splitlines(keepends=True) if line.decode().strip() not in there)
    return b"" if re.search(rb"^perfgate:", before, re.MULTILINE) else entry.content


def _has_table(toml: bytes) -> bool:
    try:
        return "perfgate" in tomllib.loads(toml.decode()).get("tool", {})
    except (ValueError, UnicodeDecodeError):
        return False
