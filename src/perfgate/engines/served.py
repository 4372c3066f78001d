"""The backend `openai`: any server that speaks the OpenAI routes, attached to or started by a profile or a command.

What it is told stands in `engine_args`:

    url        http://host:port of a server that runs already
    profile    a server program: vllm serve, sglang, transformers serve, trtllm-serve; further arguments go to it
    command    a command line, split as a shell would but run without one; it holds {port}, perhaps {model}, {folder}
    program    the words that start a profile's program, where they are not its own
    version    the program's version, where its package is not installed beside us
    model      the name by which requests ask for the model, where it is not the first that the server lists
    token_env  the variable that holds the key which requests need
    token_ids  true where it lists the ids of each event's tokens when asked (vLLM does), for a `url` or a `command`
    health     the route that answers 200 when a `command` is ready
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from perfgate.case import EngineSpec, WorkKind, short_hash
from perfgate.device import Device
from perfgate.engines.base import Prepared, Support
from perfgate.engines.cache import Phases
from perfgate.engines.kept import Launch, Routes, free_port
from perfgate.engines.openai import Facts, Server, attach, serve
from perfgate.engines.redaction import masked_argv
from perfgate.engines.server_profile import Place
from perfgate.engines.server_profiles import profile
from perfgate.errors import EngineError, UsageError
from perfgate.plant import Plant
from perfgate.record import encode_pretty, write_atomic
from perfgate.schema import nearest

FACTS = "server.json"
_WAYS = ("url", "profile", "command")
_KEYS = (*_WAYS, "program", "version", "model", "token_env", "token_ids", "health")
_PACKAGES = {
    "vllm serve": "vllm",
    "sglang": "sglang",
    "transformers serve": "transformers",
    "trtllm-serve": "tensorrt-llm",
}
_PROBED = {"trtllm-serve": "1.2.0", "vllm serve": "0.26.0"}  # for the capability matrix


@dataclass(frozen=True, slots=True)
class Way:
    """How a spec comes to its server: exactly one of url, profile and command is given."""

    url: str = ""
    profile: str = ""
    command: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    version: str = ""
    model: str | None = None
    token_env: str | None = None
    token_ids: str = "False"
    health: str = ""

    @property
    def returns_token_ids(self) -> bool:
        return self.token_ids == "True"


def way_of(spec: EngineSpec) -> Way:
    """The way that `engine_args` tell.

    Raises:
        UsageError: they tell none, or more than one, or something that does not belong to it.
    """
    args = {key: str(value) for key, value in spec.engine_args if key in _KEYS}
    ways = [key for key in _WAYS if key in args]
    others = [key for key, _ in spec.engine_args if key not in _KEYS]
    if len(ways) != 1:
        raise UsageError(f"engine_args: found {', '.join(ways) or 'none'} of {', '.join(_WAYS)}, expected exactly one")
    if others and ways != ["profile"]:
        near = nearest(others[0], _KEYS)
        raise UsageError(f"engine_args: '{others[0]}' is none of {', '.join(_KEYS)}{near}; others go with a profile")
    if args.get("token_ids", "False") not in {"True", "False"}:
        raise UsageError(f"engine_args token_ids: found {args['token_ids']}, expected true or false")
    words = {key: _split(key, args.pop(key)) for key in ("command", "program") if key in args}
    found = Way(**args, **words)  # type: ignore[arg-type]
    if found.command and not any("{port}" in word for word in found.command):
        raise UsageError("engine_args command: holds no {port}: the server must listen at the port that it is given")
    return found


def _split(key: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as exc:
        raise UsageError(f"engine_args {key}: cannot be split into words: {exc}") from exc


class Served:
    """The backend `openai`; its engines are servers alone."""

    name = "openai"
    kinds = frozenset({WorkKind.BUILD, WorkKind.SERVING})
    runs_on = frozenset({"gpu"})  # what the probes start
    probes: Mapping[str, tuple[tuple[str, str | int | float | bool], ...]] = {
        name: (("profile", name), ("version", version)) for name, version in _PROBED.items()
    }

    def versions(self) -> Mapping[str, str]:
        """Nothing that all servers share."""
        return {}

    def versions_of(self, spec: EngineSpec) -> Mapping[str, str]:
        """What a server tells of itself, or the version of its program, or the digests of what a command runs.

        Raises:
            UsageError: the version of a profile's program is not known.
            EngineError: the server to attach to is not there.
        """
        way = way_of(spec)
        if way.url:
            facts = _attached(way).facts
            return {"server": facts.version or "untold", "server.models": ", ".join(facts.models)}
        if way.profile:
            return {"server": _version(way)}
        told = {"server": way.version} if way.version else {}
        return told | {"server.files": short_hash(_digests(way.command))}

    def can_rerun(self, spec: EngineSpec) -> bool:
        """A server that we do not start may change and tell nothing of it."""
        return not way_of(spec).url

    def support(self, spec: EngineSpec, device: Device) -> Support:  # noqa: ARG002 - the server's own matter
        """Whether the program is there, and its profile takes the spec.

        Raises:
            UsageError: `engine_args` are wrong.
        """
        way = way_of(spec)
        if way.url:
            return Support()
        if way.profile:
            profile(way.profile)  # an unknown one is a mistake, not a lack
        try:
            launch = launch_of(spec, Path(), 0)
        except UsageError as exc:
            return Support(str(exc))
        path = launch.environment.get("PATH")
        has_program = shutil.which(launch.argv[0], path=path) is not None
        reason = None if has_program else f"no program '{launch.argv[0]}': install it"
        return Support(reason, is_missing=not has_program)

    def prepare(self, spec: EngineSpec, device: Device, into: Path) -> Prepared:  # noqa: ARG002 - as its siblings
        """Write down what will be started, or what the server to attach to tells.

        Raises:
            UsageError: the spec and the server's version do not go together.
            EngineError: the server to attach to is not there.
        """
        phases, way = Phases(), way_of(spec)
        with phases("describe"):
            if way.url:
                facts = _attached(way).facts
                told: dict[str, object] = {"url": facts.url, "version": facts.version, "models": facts.models}
            else:
                argv = masked_argv(launch_of(spec, Path("{folder}"), 0).argv)
                told = {"argv": argv, "versions": self.versions_of(spec)}
            write_atomic(into / FACTS, encode_pretty(told))
        return Prepared(into, phases.seconds)

    @contextmanager
    def serve(self, spec: EngineSpec, prepared: Path, plant: Plant, folder: Path) -> Iterator[Server]:  # noqa: ARG002
        """The server, started in this folder or attached to.

        Raises:
            UsageError: the program is not there, or its version lacks something.
            EngineError: it did not get ready, or a regression is to be planted.
        """
        if plant != Plant():
            raise EngineError("no regression can be planted in a server of another program: leave this engine out")
        way = way_of(spec)
        if way.url:
            yield _attached(way)
            return
        with serve(launch_of(spec, folder, free_port()), folder / "server.log") as server:
            yield replace(server, token_env=way.token_env)


def launch_of(spec: EngineSpec, folder: Path, port: int) -> Launch:
    """How the server of a spec is started; files that it needs go into the folder.

    Raises:
        UsageError: its version is unknown, or lacks something that the spec asks for.
    """
    way = way_of(spec)
    if way.command:
        there = {"{port}": str(port), "{model}": str(spec.model), "{folder}": str(folder)}
        routes = Routes(health=(way.health,)) if way.health else Routes()
        argv = tuple(_filled(word, there) for word in way.command)
        return Launch(argv, port, routes, model=way.model, returns_token_ids=way.returns_token_ids)
    own = tuple((key, value) for key, value in spec.engine_args if key not in _KEYS)
    place = Place(port, folder, _version(way), way.program)
    launch = profile(way.profile).launch(replace(spec, engine_args=own), place)
    return replace(launch, model=way.model or launch.model)


def _filled(word: str, there: Mapping[str, str]) -> str:
    for name, value in there.items():
        word = word.replace(name, value)
    return word


def _version(way: Way) -> str:
    if way.version:
        return way.version
    try:
        return metadata.version(_PACKAGES.get(way.profile, way.profile))
    except metadata.PackageNotFoundError as exc:
        raise UsageError(
            f"{way.profile}: its package {exc.name} is not here: install it, or give engine_args program and version"
        ) from exc


def _attached(way: Way) -> Server:
    key = os.environ.get(way.token_env or "", "")
    server = attach(way.url, headers={"Authorization": f"Bearer {key}"} if key else None)
    model = way.model or server.facts.model
    facts: Facts = replace(server.facts, model=model, returns_token_ids=way.returns_token_ids)
    return Server(facts, token_env=way.token_env)


def _digests(command: tuple[str, ...]) -> dict[str, str]:
    """Of the program and of the scripts that a command line names, by their places in it."""
    program = shutil.which(command[0]) or command[0]
    files = {0: Path(program)} | {at: Path(word) for at, word in enumerate(command) if at and word.endswith(".py")}
    return {str(at): hashlib.sha256(path.read_bytes()).hexdigest() for at, path in files.items() if path.is_file()}
