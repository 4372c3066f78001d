"""The double of NVML in place of `pynvml`, for tests in one process."""

from __future__ import annotations

import sys

import pytest

from doubles import pynvml_double as double
from doubles.pynvml_double import Card, Machine, Process, Slice

OWN = "GPU-00000000-1111-2222-3333-444444444444"
OTHER = "GPU-aaaaaaaa-1111-2222-3333-444444444444"

__all__ = ["OTHER", "OWN", "Card", "Machine", "Process", "Slice", "double", "pretend"]


def pretend(monkeypatch: pytest.MonkeyPatch, *cards: Card, machine: Machine | None = None) -> Machine:
    """Let this process see these GPUs, or this machine, and no CUDA_VISIBLE_DEVICES."""
    made = machine or Machine(list(cards))
    double.use(made)
    monkeypatch.setitem(sys.modules, "pynvml", double.as_module())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv(double.SCRIPT, raising=False)
    return made
