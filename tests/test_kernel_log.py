"""Counters of the out-of-memory killer, and the kernel's words on GPUs."""

from __future__ import annotations

from pathlib import Path

from perfgate.diagnosis import OomKills
from perfgate.kernel_log import kernel_lines, oom_kills


def _tree(folder: Path, cgroup: str, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "proc", folder / "sys"


def test_kills_are_read_of_a_cgroup_of_version_2(tmp_path: Path) -> None:
    files = {"sys/jobs/7/memory.events": "low 0\noom 3\noom_kill 2\n", "proc/vmstat": "nr_free_pages 1\noom_kill 5\n"}

    assert oom_kills(*_tree(tmp_path, "0::/jobs/7\n", files)) == OomKills(own=2, machine=5)


def test_kills_are_read_of_a_cgroup_of_version_1(tmp_path: Path) -> None:
    files = {"sys/memory/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"}

    found = oom_kills(*_tree(tmp_path, "4:memory:/a\n1:cpu:/\n0::/\n", files))

    assert found == OomKills(own=4, machine=0)


def test_machine_that_tells_nothing_counts_none(tmp_path: Path) -> None:
    assert oom_kills(tmp_path, tmp_path) == OomKills()


def test_lines_of_gpus_since_a_moment(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text("4,9,7000000,-;NVRM: Xid (PCI:0000:44:00): 79, GPU has fallen off the bus\n SUBSYSTEM=pci\n")

    assert kernel_lines(6.0, log) == ["NVRM: Xid (PCI:0000:44:00): 79, GPU has fallen off the bus"]
    assert kernel_lines(8.0, log) == []
    assert kernel_lines(0.0, tmp_path / "none") == []
