"""`perfgate serve`: an engine of a suite, served until Ctrl-C."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np  # noqa: F401 - first loaded within a test, pytester would forget it, and it loads only once
import pytest

from conftest import Project
from perfgate.cli import main
from perfgate.device import find_device
from perfgate.engines.kept import free_port
from perfgate.errors import UsageError
from perfgate.leases import Wait, leased, places


@contextmanager
def serving(*words: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "perfgate.cli", "serve", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def completion(port: int) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("POST", "/v1/completions", json.dumps({"prompt": "text", "max_tokens": 2}))
        return connection.getresponse().read()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_engine_of_a_suite_is_prepared_served_and_ended(small_project: Project, how: signal.Signals) -> None:
    """The device is leased meanwhile."""
    if signal.getsignal(how) is signal.SIG_IGN:
        pytest.skip("the shell that started these tests has its children ignore it, as scripts do with `&`")
    suite, port = small_project(), free_port()

    with serving("one", "--suite", str(suite), "--port", str(port)) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "preparing one\n"
        assert f"one at http://127.0.0.1:{port}" in child.stdout.readline()
        assert b'"completion_tokens": 2' in completion(port)
        with (
            pytest.raises(UsageError, match=f"is measured on by pid {child.pid}'s gate"),
            leased(places(find_device(), []), Wait(0.0, print)),
        ):
            pass
        child.send_signal(how)
        assert child.wait(10) == 0

    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            completion(port)
        except ConnectionRefusedError:
            return
    pytest.fail("the server lives on")


def test_a_device_that_others_measure_on_is_waited_for_as_the_option_says(
    small_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """The port is taken too: what serves all the same ends."""
    suite = small_project()
    with leased(places(find_device(), []), Wait(0.0, print)), socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        assert main(["serve", "one", "--suite", str(suite), "--port", port, "--lease-wait", "0s"]) == 4

    assert "allow more time (--lease-wait 2h)" in capsys.readouterr().err


def test_an_engine_that_is_not_there_is_the_users_mistake(
    small_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "two", "--suite", str(small_project())]) == 4
    assert "no engine 'two'" in capsys.readouterr().err


def test_an_engine_that_is_not_supported_is_refused_with_its_reason(
    small_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    suite: Path = small_project('  two: {engine_args: {refuse: "needs sm_89"}}')

    assert main(["serve", "two", "--suite", str(suite)]) == 4
    assert "engine 'two': needs sm_89" in capsys.readouterr().err
