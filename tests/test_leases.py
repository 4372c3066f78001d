from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fake_engine import FakeBackend
from perfgate.case import EngineSpec
from perfgate.device import Device
from perfgate.errors import UsageError
from perfgate.gpu.facts import Gpu
from perfgate.leases import Place, Wait, leased, places

GPU = Device("sm_90/h200-141gb", "NVIDIA H200")
CPU = Place("cpu", "cpu/x86_64")
HOLD = """
import subprocess, sys, time
from perfgate.gpu.facts import Gpu
from perfgate.leases import Place, Wait, leased
with leased([Place("cpu", "cpu")], Wait(0.0, print)) as handles:
    if sys.argv[1:]:
        subprocess.Popen(["sleep", sys.argv[1]], pass_fds=handles, stdout=subprocess.DEVNULL)
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERFGATE_LEASES", str(tmp_path / "leases"))
    return tmp_path / "leases"


def _holder(*args: str) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", HOLD, *args], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def _end(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.communicate()


def _silent(text: str) -> None:
    raise AssertionError(f"nobody should have to wait: {text}")


def test_a_free_device_is_leased_at_once_and_again_afterwards() -> None:
    for _ in range(2):
        with leased([CPU], Wait(0.0, _silent)) as handles:
            assert len(handles) == 1


@pytest.mark.parametrize("option", ["", "--lease-wait"])
def test_a_held_lease_is_refused_after_the_wait_and_names_who_holds_it(option: str) -> None:
    told: list[str] = []
    child = _holder()
    try:
        with pytest.raises(UsageError) as refused, leased([CPU], Wait(0.3, told.append, option)):
            pass
    finally:
        _end(child)

    assert f"cpu/x86_64 is measured on by pid {child.pid}'s gate, since 2" in str(refused.value)
    assert ("Wait for its end, allow more time (--lease-wait 2h), or" in str(refused.value)) is bool(option)
    assert ("Wait for its end or name another device" in str(refused.value)) is not bool(option)
    assert [line.partition("pid")[0] for line in told] == ["waiting for cpu/x86_64: it is measured on by "]


def test_a_waiting_program_goes_on_when_the_holder_ends() -> None:
    child = _holder()
    threading.Timer(0.3, child.kill).start()

    with leased([CPU], Wait(60.0, lambda _: None)):
        child.communicate()


def test_the_lease_of_a_killed_holder_is_taken_over_when_its_last_child_has_ended() -> None:
    told: list[str] = []
    child = _holder("1")

    _end(child)
    with leased([CPU], Wait(60.0, told.append)):
        pass

    assert len(told) == 1
    assert "no such process here: killed with rounds still ending" in told[0]


def test_devices_do_not_wait_for_each_other() -> None:
    with leased([Place("gpu-0", "0")], Wait(0.0, _silent)), leased([Place("gpu-1", "1")], Wait(0.0, _silent)):
        pass


def test_two_that_want_the_same_devices_in_another_order_both_get_them() -> None:
    a, b = Place("gpu-a", "a"), Place("gpu-b", "b")
    done: list[int] = []

    def take(*wanted: Place) -> None:
        for number in range(5):
            with leased(wanted, Wait(60.0, lambda _: None)):
                time.sleep(0.01)
                done.append(number)

    threads = [threading.Thread(target=take, args=order) for order in ((a, b), (b, a))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(2 * list(range(5)))


def test_a_file_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (tmp_path / "precious").write_text("keep")
    (folder / "cpu.lock").symlink_to(tmp_path / "precious")

    with pytest.raises(UsageError, match="PERFGATE_LEASES name a folder"), leased([CPU], Wait(0.0, _silent)):
        pass

    assert (tmp_path / "precious").read_text() == "keep"


def test_a_file_with_another_name_is_refused_and_left(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (tmp_path / "precious").write_text("keep")
    (folder / "cpu.lock").hardlink_to(tmp_path / "precious")

    with pytest.raises(UsageError, match=r"cpu\.lock: it is a file of 2 names"), leased([CPU], Wait(0.0, _silent)):
        pass

    assert (tmp_path / "precious").read_text() == "keep"


def test_a_named_pipe_is_refused_and_never_waited_for(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "cpu.lock")

    with pytest.raises(UsageError, match=r"cpu\.lock: it is a named pipe.*PERF"), leased([CPU], Wait(0.0, _silent)):
        pass


def test_no_secret_of_a_command_line_is_in_a_lease_or_told_to_who_waits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_TOKEN", "planted-in-variable")
    argv = ["/x/perfgate", "run", "http://u:planted2@h", "planted-in-variable", "--api-key", "planted1"]
    monkeypatch.setattr("sys.argv", argv)
    told: list[str] = []

    with leased([CPU], Wait(0.0, _silent)):
        signed = (folder / "cpu.lock").read_text()
        with pytest.raises(UsageError) as refused, leased([CPU], Wait(0.0, told.append)):
            pass
        old = signed.replace("***@h", "u:planted2@h")  # as a perfgate before this one signed
        (folder / "cpu.lock").write_text(old)
        with pytest.raises(UsageError) as again, leased([CPU], Wait(0.0, told.append)):
            pass

    assert "perfgate run 'http://***@h' '***' --api-key '***'" in signed  # quoted for a shell
    assert "planted2" in old
    assert not any("planted" in text for text in (signed, *told, str(refused.value), str(again.value)))


def test_nonsense_in_a_lease_file_stops_nobody(folder: Path) -> None:
    folder.mkdir()
    (folder / "cpu.lock").write_bytes(b"\x00garbage" * 1000)

    with leased([CPU], Wait(0.0, _silent)):
        pass


def test_everybody_may_take_the_lease_next(folder: Path) -> None:
    before = os.umask(0o077)
    try:
        with leased([CPU], Wait(0.0, _silent)):
            pass
    finally:
        os.umask(before)

    assert (folder / "cpu.lock").stat().st_mode & 0o777 == 0o666
    assert folder.stat().st_mode & 0o7777 == 0o1777


def _spec(tp: int) -> EngineSpec:
    return EngineSpec("one", Path("model"), FakeBackend().name, tp=tp)


def test_an_engine_over_two_gpus_leases_the_first_two_that_it_sees() -> None:
    seen = tuple(Gpu(at, f"GPU-{at}", "NVIDIA H200", (9, 0), 150 * 10**9) for at in (2, 0, 1))

    found = places(replace(GPU, gpus=seen), [_spec(1), _spec(2)])

    assert [(one.file, one.name) for one in found] == [
        ("gpu-GPU-2", "sm_90/h200-141gb #2"),
        ("gpu-GPU-0", "sm_90/h200-141gb #0"),
    ]


def test_a_cpu_is_one_place_however_many_engines() -> None:
    assert [one.file for one in places(Device("cpu/x86_64", "x"), [_spec(1), _spec(4)])] == ["cpu"]
