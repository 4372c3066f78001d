"""What counts as progress, by a clock of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfgate.errors import RoundError
from perfgate.fault_kinds import ProcessFault
from perfgate.process_tree import Effort
from perfgate.stall import Watch


class Scene:
    """A clock, a child's effort and a GPU that a test moves."""

    def __init__(self, folder: Path) -> None:
        self.now, self.cpu_s, self.disk, self.gpu, self.reads = 0.0, 0.0, 0, False, 0
        self.state = folder / "state"
        self.watch = Watch(1, self.state, 60.0, lambda: self.now, self.effort, lambda: self.gpu)

    def effort(self, pid: int) -> Effort:
        assert pid == 1
        self.reads += 1
        return Effort(self.cpu_s, self.disk)

    def after(self, seconds: float, *, cpu_s: float = 0.0, disk: int = 0) -> None:
        self.now, self.cpu_s, self.disk = self.now + seconds, self.cpu_s + cpu_s, self.disk + disk
        self.watch.look()


def test_silent_idle_child_is_stalled_with_what_it_said_last(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.state.write_text("loading the engine")
    scene.after(10)
    for _ in range(5):
        scene.after(10)

    with pytest.raises(RoundError, match="for 60 s while 'loading the engine': killed") as raised:
        scene.after(10)

    assert raised.value.kind is ProcessFault.STALLED


@pytest.mark.parametrize("work", [{"cpu_s": 5.0}, {"disk": 50_000_000}], ids=["compiling", "reading weights"])
def test_silent_child_that_works_is_left_alone(tmp_path: Path, work: dict[str, float]) -> None:
    scene = Scene(tmp_path)

    for _ in range(60):
        scene.after(10, **work)  # type: ignore[arg-type]


def test_host_that_sleeps_while_kernels_run_is_left_alone(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.gpu = True

    for _ in range(60):
        scene.after(10)


def test_threads_that_only_poll_are_no_progress(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    for _ in range(5):
        scene.after(10, cpu_s=0.1)

    with pytest.raises(RoundError, match="'starting'"):
        scene.after(10, cpu_s=0.1)


def test_words_are_progress_and_spare_the_look_at_processes(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    for number in range(20):
        scene.state.write_text(f"measuring, {number} of 20 requests")
        scene.after(10)

    assert scene.reads == 0


def test_waiting_for_a_turn_is_no_stall(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for _ in range(10):
        scene.now += 50
        scene.watch.restart()
        scene.after(5)
