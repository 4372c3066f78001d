"""Which cores rounds run on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.errors import RoundError, UsageError
from perfgate.pinning import (
    Cores,
    allowed_cpus,
    check_cpus,
    chosen_cores,
    cpu_text,
    node_cpus,
    nodes_of,
    numa_nodes,
    parse_cpus,
    pin,
    spare_cpus,
    steady_cpus,
)

NOWHERE = 65_535


@given(st.sets(st.integers(0, 300)))
def test_a_list_of_cores_survives_the_way_to_text_and_back(cpus: set[int]) -> None:
    assert parse_cpus(cpu_text(cpus)) == tuple(sorted(cpus))


@given(st.text(max_size=12))
def test_any_text_is_a_list_of_cores_or_none(text: str) -> None:
    found = parse_cpus(text)

    assert found is None or all(cpu >= 0 for cpu in found)


@pytest.mark.parametrize("text", ["a", "1-", "-1", "0x1", "1 2", "0-999999999999"])
def test_what_is_no_list_is_refused(text: str) -> None:
    assert parse_cpus(text) is None


def test_several_numa_nodes_give_the_largest_that_is_allowed() -> None:
    nodes = (frozenset(range(4)), frozenset(range(4, 8)), frozenset[int]())

    assert steady_cpus([2, 3, 4, 5, 6], nodes) == (4, 5, 6)


def test_one_node_gives_all_but_the_first_core() -> None:
    assert steady_cpus([0, 1, 2, 3], (frozenset(range(4)),)) == (1, 2, 3)
    assert steady_cpus([3], ()) == ()


def test_rounds_get_the_cores_near_the_gpu_and_clients_one_of_them() -> None:
    nodes = (frozenset(range(4)), frozenset(range(4, 8)))

    assert chosen_cores(range(8), nodes, (4, 5, 6, 7), keeps_client=True) == Cores((4, 5, 6), (7,))
    assert chosen_cores(range(8), nodes, (0, 1, 2, 3)) == Cores((1, 2, 3))
    assert chosen_cores(range(4), nodes, (4, 5)) == Cores((1, 2, 3))
    assert chosen_cores(range(2), (), keeps_client=True) == Cores((1,))
    assert chosen_cores([3], ()) == Cores()


def test_the_nodes_of_cores_are_told(tmp_path: Path) -> None:
    for name, cpus in (("node0", "0-1\n"), ("node1", "2-3\n"), ("node10", "8\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpulist").write_text(cpus)

    assert nodes_of([1, 3, 8], tmp_path) == (0, 1, 10)
    assert nodes_of([], tmp_path) == ()
    assert node_cpus(1, tmp_path) == (2, 3)
    assert node_cpus(None, tmp_path) == ()


def test_what_is_taken_is_not_spare() -> None:
    assert spare_cpus(allowed_cpus()) == ()
    assert spare_cpus(()) == allowed_cpus()


def test_nodes_are_read_as_the_kernel_lists_them(tmp_path: Path) -> None:
    for name, cpus in (("node0", "0-1,4\n"), ("node1", "2-3\n"), ("node2", "\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpulist").write_text(cpus)

    assert numa_nodes(tmp_path) == (frozenset({0, 1, 4}), frozenset({2, 3}))
    assert numa_nodes(tmp_path / "absent") == ()


def test_unknown_cores_are_a_clear_refusal() -> None:
    with pytest.raises(UsageError, match=rf"gate.cpus: found core {NOWHERE}, this process may use \d"):
        check_cpus("gate.cpus", [*allowed_cpus(), NOWHERE])
    check_cpus("gate.cpus", allowed_cpus())


def test_a_process_is_pinned_with_its_threads() -> None:
    core = allowed_cpus()[-1]
    code = (
        "import os, threading, perfgate.pinning as p\n"
        "stop = threading.Event(); threading.Thread(target=stop.wait).start()\n"
        f"print(p.pin([{core}]), {{tuple(os.sched_getaffinity(int(t))) for t in os.listdir('/proc/self/task')}})\n"
        "stop.set()"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == f"({core},) {{({core},)}}"


def test_cores_that_are_not_there_cannot_be_pinned_to() -> None:
    with pytest.raises(RoundError, match=f"cannot be pinned to cores {NOWHERE}"):
        pin([NOWHERE])
