"""The double has the real package's names, parameters, constants and error classes."""

from __future__ import annotations

import inspect

import pytest

from gpu.nvml_machine import Card, Machine, double, pretend

real = pytest.importorskip("pynvml")
FUNCTIONS = [name for name in vars(double) if name.startswith("nvml") and callable(getattr(double, name))]
CONSTANTS = [
    name
    for name, value in vars(double).items()
    if name.lower().startswith("nvml") and isinstance(value, int) and name != "NVML_NVLINK_MAX_LINKS"  # 18, then 36
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_called_as_the_real_ones(name: str) -> None:
    theirs = inspect.signature(getattr(real, name)).parameters

    if list(theirs) != ["args", "kwargs"]:  # a decorator hides some
        assert list(inspect.signature(getattr(double, name)).parameters) == list(theirs)


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_the_real_ones(name: str) -> None:
    assert getattr(double, name) == getattr(real, name)


@pytest.mark.parametrize("code", [1, 3, 4, 6, 13, 15])
def test_errors_speak_as_the_real_ones(code: int) -> None:
    ours, theirs = double.NVMLError(code), real.NVMLError(code)

    assert (str(ours), ours.value) == (str(theirs), theirs.value)


def test_errors_are_of_the_class_of_their_code() -> None:
    assert type(double.NVMLError(3)) is double.NVMLError_NotSupported
    assert type(real.NVMLError(3)) is real.NVMLError_NotSupported


def test_nothing_answers_before_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card())

    with pytest.raises(double.NVMLError, match="Uninitialized"):
        double.nvmlDeviceGetCount()


def test_energy_is_the_integral_of_power(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(power=[[0, 100_000], [10, 300_000]])
    pretend(monkeypatch, machine=Machine([card], begin=0.0, is_open=1))
    monkeypatch.setattr("time.monotonic", lambda: 15.0)

    assert double.nvmlDeviceGetTotalEnergyConsumption(card) == 10 * 100_000 + 5 * 300_000
