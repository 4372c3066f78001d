"""Which GPUs a CUDA program sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu.nvml_machine import OTHER, OWN, Card, Slice, pretend
from perfgate.gpu.nvml import open_nvml
from perfgate.gpu.visible import Listed, all_gpus, visible_gpus

TWO = [Listed(0, OWN, "a", "a"), Listed(1, OTHER, "b", "b")]
MIG = [
    Listed(0, "MIG-1", "s1", "a", "1/0", OWN),
    Listed(0, "MIG-2", "s2", "a", "2/0", OWN),
    Listed(1, OTHER, "b", "b"),
]


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        (None, [0, 1]),
        ("0", [0]),
        ("1,0", [1, 0]),
        (" 1 , 0 ", [1, 0]),
        ("", []),
        ("-1", []),
        ("0,-1,1", [0]),
        ("0,7,1", [0]),
        ("0,0", []),
        (OTHER, [1]),
        (OTHER.lower(), [1]),
        ("GPU-a", [1]),
        ("GPU-", []),
        (f"1,{OWN}", [1, 0]),
        ("NoDevFiles", []),
    ],
)
def test_a_list_is_read_as_cuda_reads_it(told: str | None, seen: list[int]) -> None:
    variables = {} if told is None else {"CUDA_VISIBLE_DEVICES": told}

    assert [one.index for one in visible_gpus(TWO, variables)] == seen


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        (None, ["MIG-1"]),
        ("0", ["MIG-1"]),
        ("1", [OTHER]),
        ("MIG-2", ["MIG-2"]),
        ("MIG-2,MIG-1", ["MIG-2"]),
        (f"MIG-{OWN}/2/0", ["MIG-2"]),
        ("1,MIG-1", [OTHER]),
        (OWN, []),
    ],
)
def test_a_program_sees_one_slice_at_most(told: str | None, seen: list[str]) -> None:
    variables = {} if told is None else {"CUDA_VISIBLE_DEVICES": told}

    assert [one.uuid for one in visible_gpus(MIG, variables)] == seen


@given(st.text(max_size=40))
def test_any_text_names_gpus_or_none(told: str) -> None:
    assert {one.index for one in visible_gpus(TWO, {"CUDA_VISIBLE_DEVICES": told})} <= {0, 1}


def test_slices_stand_for_a_gpu_in_mig_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    sliced = Card(mig=1, slices=[Slice("MIG-1", "NVIDIA H200 MIG 1g.18gb", 2**34, 1), Slice("MIG-2", "x", 2**34, 5)])
    pretend(monkeypatch, sliced, Card(OTHER), Card("GPU-c", mig=1))

    with open_nvml() as nvml:
        found = all_gpus(nvml)

    assert [(one.index, one.uuid, one.place) for one in found] == [
        (0, "MIG-1", "1/0"),
        (0, "MIG-2", "5/0"),
        (1, OTHER, ""),
    ]
