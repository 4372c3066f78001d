"""Servers as engines of a suite."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from perfgate.case import Case, EngineSpec, LatencyWork, ServingWork
from perfgate.device import find_device
from perfgate.engines import backend
from perfgate.engines.cache import EngineCache, key_parts
from perfgate.engines.carrying import ALL_KINDS, can_rerun, kinds_of, serving, why_skipped
from perfgate.engines.kept import Patience, free_port
from perfgate.engines.openai import attach
from perfgate.engines.served import FACTS, Served, launch_of, way_of
from perfgate.errors import EngineError, UsageError
from perfgate.plant import Plant
from serving_engine import SERVER, write_checkpoint

COMMAND = f"{sys.executable} {SERVER} {{port}} --step-ms 1"
SERVING = ServingWork("c1", concurrency=1)


def _spec(checkpoint: Path = Path("m"), /, **args: str | float) -> EngineSpec:
    return EngineSpec("one", checkpoint, "openai", engine_args=tuple(sorted(args.items())))


@pytest.fixture
def running() -> Iterator[str]:
    """The URL of a server that somebody else started."""
    port = free_port()
    with subprocess.Popen([sys.executable, str(SERVER), str(port)], stderr=subprocess.DEVNULL) as child:
        url = f"http://127.0.0.1:{port}"
        try:
            attach(url, patience=Patience(ready_s=10, poll_s=0.02))
            yield url
        finally:
            child.kill()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({}, "found none of url, profile, command, expected exactly one"),
        ({"url": "http://h:1", "command": "x {port}"}, "found url, command of"),
        ({"url": "http://h:1", "dtype": "x"}, "'dtype' is none of"),
        ({"comand": "x"}, "expected exactly one"),
        ({"command": "serve --port 8000"}, "holds no {port}"),
        ({"command": "serve '{port}"}, "cannot be split"),
        ({"url": "http://h:1", "token_ids": "yes"}, "expected true or false"),
    ],
)
def test_what_cannot_be_meant_is_refused(args: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match="engine_args") as error:
        way_of(_spec(**args))

    assert said in str(error.value)


def test_an_unknown_profile_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="did you mean 'vllm serve'"):
        Served().support(_spec(profile="vlm serve"), find_device())


def test_a_command_is_words_and_never_a_shell(tmp_path: Path) -> None:
    spec = _spec(Path("/models/tiny"), command="serve '{model}' --port={port} --out {folder} $(id) ; rm", model="name")

    launch = launch_of(spec, tmp_path, 1234)

    assert launch.argv == ("serve", "/models/tiny", "--port=1234", "--out", str(tmp_path), "$(id)", ";", "rm")
    assert launch.model == "name"


def test_a_profile_gets_the_other_arguments() -> None:
    spec = _spec(profile="vllm serve", version="0.26.0", program="python3 -m vllm", gpu_memory_utilization=0.8)

    argv = launch_of(replace(spec, max_num_tokens=4096, max_seq_len=1024), Path(), 1).argv

    assert argv[:3] == ("python3", "-m", "vllm")
    assert argv[-4:] == ("--gpu-memory-utilization", "0.8", "--load-format", "safetensors")


@pytest.mark.parametrize(
    ("args", "lists"),
    [
        ({"profile": "vllm serve", "version": "0.26.0"}, True),
        ({"command": "serve {port}", "token_ids": True}, True),
        ({"command": "serve {port}"}, False),
    ],
)
def test_ids_of_tokens_are_asked_of_servers_that_list_them(args: dict[str, str], *, lists: bool) -> None:
    assert launch_of(_spec(**args), Path(), 1).returns_token_ids is lists


def test_a_program_that_is_not_there_is_a_skip_with_its_reason() -> None:
    spec = _spec(command="no-such-server --port {port}")

    assert "no program 'no-such-server'" in (why_skipped(Case(spec, SERVING), find_device()) or "")


def test_what_a_profile_refuses_is_a_skip_with_its_reason() -> None:
    spec = _spec(profile="vllm serve", version="0.1.0")

    assert "version 0.1.0 is not known" in (why_skipped(Case(spec, SERVING), find_device()) or "")


def test_a_server_has_no_latency_workloads() -> None:
    case = Case(_spec(command=COMMAND), LatencyWork("b1", Path("p")))

    assert "no latency workloads; it has build, serving" in (why_skipped(case, find_device()) or "")


def test_a_command_is_started_and_ended(tmp_path: Path) -> None:
    spec = _spec(command=COMMAND)

    with Served().serve(spec, tmp_path, Plant(), tmp_path) as server:
        assert (server.facts.model, server.facts.version) == ("tiny", "1.2.3")
        pid = server.pid

    assert not Path(f"/proc/{pid}").exists()
    assert "hello" in (tmp_path / "server.log").read_text()


def test_a_running_server_is_described_and_left_as_it_is(running: str, tmp_path: Path) -> None:
    spec = _spec(url=running, model="other", token_ids=True)

    Served().prepare(spec, find_device(), tmp_path)
    with Served().serve(spec, tmp_path, Plant(), tmp_path) as server:
        assert (server.facts.model, server.pid, server.facts.returns_token_ids) == ("other", None, True)

    assert json.loads((tmp_path / FACTS).read_text()) == {"models": ["tiny"], "url": running, "version": "1.2.3"}
    assert attach(running).facts.version == "1.2.3"


def test_the_key_of_a_running_server_holds_what_it_answers(running: str, tmp_path: Path) -> None:
    spec = _spec(write_checkpoint(tmp_path / "model"), url=running)

    parts = key_parts(spec, find_device(), backend("openai"))
    found = EngineCache(tmp_path / "cache", str).get(spec, find_device(), backend("openai"))

    assert (parts["version.server"], parts["version.server.models"]) == ("1.2.3", "tiny")
    assert found.entry.versions == {"server": "1.2.3", "server.models": "tiny"}


def test_a_server_that_is_not_there_is_an_error() -> None:
    with pytest.raises(EngineError, match="not ready within"):
        attach(f"http://127.0.0.1:{free_port()}", patience=Patience(ready_s=0.1, poll_s=0.02))


def test_a_changed_program_is_another_engine(tmp_path: Path) -> None:
    script, spec = tmp_path / "server.py", _spec(command=f"{sys.executable} {tmp_path}/server.py {{port}}")
    told = []
    for text in ("one", "two"):
        script.write_text(text)
        told.append(Served().versions_of(spec)["server.files"])

    assert told[0] != told[1]


def test_only_what_we_start_is_surely_the_baselines_engine() -> None:
    assert can_rerun(_spec(command=COMMAND))
    assert not can_rerun(_spec(url="http://127.0.0.1:1"))
    assert can_rerun(EngineSpec("own", Path("m"), "fake_engine:FakeBackend"))


def test_no_regression_is_planted_in_a_server(tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match="no regression can be planted"),
        Served().serve(_spec(command=COMMAND), tmp_path, Plant(decode=1.5), tmp_path),
    ):
        pass


def test_a_backend_without_a_server_is_served_by_the_bridge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bridge = ModuleType("perfgate.engines.bridge")
    bridge.serve_engine = lambda *given: given  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "perfgate.engines.bridge", bridge)
    spec = EngineSpec("one", Path("m"), "fake_engine:FakeBackend")

    given: object = serving(spec, tmp_path, Plant(decode=1.5), tmp_path / "folder")

    assert given == (spec, tmp_path, Plant(decode=1.5), tmp_path / "folder")


def test_a_backend_says_which_workloads_it_has() -> None:
    assert kinds_of(backend("openvino")) == ALL_KINDS
    assert kinds_of(backend("fake_engine:FakeBackend")) == ALL_KINDS
    assert kinds_of(backend("openai")) == {"build", "serving"}
