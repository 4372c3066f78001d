"""The capability matrix: what backends answer, as cells and in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from perfgate import capabilities
from perfgate.capabilities import CPU, GPU, Cell, Column, Standing, matrix, records, rows
from perfgate.capability_words import COMMAND, as_markdown, as_text
from perfgate.case import Batching, EngineSpec, WorkKind
from perfgate.device import Device
from perfgate.engines import BACKENDS
from perfgate.engines.base import Support

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


class Picky:
    """Batches statically on a GPU only, speculates one request at a time, and lacks a package."""

    name = "picky"
    runs_on = frozenset({"gpu"})
    kinds = frozenset({WorkKind.LATENCY})

    def support(self, spec: EngineSpec, device: Device) -> Support:
        assert device.is_gpu
        if spec.batching is Batching.INFLIGHT:
            return Support("static batching only")
        if spec.tp > 1:
            return Support("one GPU only")
        if spec.speculative and spec.max_batch_size != 1:
            return Support("one request only")
        return Support("picky is not installed", is_missing=True)


@pytest.fixture
def picky(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "BACKENDS", {"picky": ""})
    monkeypatch.setattr(capabilities, "backend", lambda _: Picky())


def cell(column: Column, row: str) -> Cell:
    return column.cells[rows().index(row)]


def test_page_of_the_docs_is_up_to_date() -> None:
    assert (DOCS / "capabilities.md").read_text() == as_markdown(matrix()) + "\n", (
        f"run: {COMMAND} > docs/capabilities.md"
    )


@pytest.mark.usefixtures("picky")
def test_reason_is_the_technique_s_own_and_not_that_of_its_surroundings() -> None:
    (column,) = matrix()

    assert cell(column, "tensor parallelism of 2") == Cell(Standing.NO, "one GPU only")
    assert cell(column, "in-flight batching") == Cell(Standing.NO, "static batching only")


@pytest.mark.usefixtures("picky")
def test_technique_is_there_if_it_is_in_any_surroundings() -> None:
    (column,) = matrix()

    assert cell(column, "n-gram speculation") == Cell(Standing.CONTRACT)


@pytest.mark.usefixtures("picky")
def test_what_is_missing_counts_on_this_machine_only() -> None:
    here = Device("sm_90/h100-80gb", "NVIDIA H100")

    elsewhere, mine = (cell(matrix(device)[0], "precision bf16") for device in (None, here))

    assert elsewhere == Cell(Standing.CONTRACT)
    assert mine == Cell(Standing.INSTALL, "picky is not installed")


@pytest.mark.usefixtures("picky")
def test_workloads_are_those_that_the_backend_names() -> None:
    (column,) = matrix()

    assert cell(column, "workload latency").standing is Standing.CONTRACT
    assert cell(column, "workload perplexity").standing is Standing.NO


@pytest.mark.usefixtures("picky")
def test_columns_in_which_nothing_is_there_are_left_out() -> None:
    assert [column.device for column in matrix()] == [GPU]


@pytest.mark.usefixtures("picky")
def test_one_technique_seen_on_a_device_says_nothing_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {
        "picky": {GPU.key: {"docs/a.md": ["precision bf16", "workload latency"], "docs/b.md": ["tensor parallelism"]}}
    }
    monkeypatch.setattr(capabilities, "records", lambda: seen)

    (column,) = matrix()

    assert cell(column, "precision bf16") == Cell(Standing.SEEN, "ran on sm_90/h200-141gb: docs/a.md")
    assert cell(column, "precision fp16") == Cell(Standing.CONTRACT)
    assert cell(column, "workload latency").standing is Standing.SEEN


@pytest.mark.usefixtures("picky")
def test_what_ran_on_another_device_or_cannot_be_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {
        "picky": {"sm_80/a100-80gb": {"docs/a.md": ["precision bf16"]}, GPU.key: {"docs/a.md": ["in-flight batching"]}}
    }
    monkeypatch.setattr(capabilities, "records", lambda: seen)

    (column,) = matrix()

    assert cell(column, "precision bf16") == Cell(Standing.CONTRACT)
    assert cell(column, "in-flight batching") == Cell(Standing.NO, "static batching only")


def test_every_record_of_a_run_names_a_column_a_row_and_a_file_that_are_there() -> None:
    columns = {(one.backend, one.device.key): dict(zip(rows(), one.cells, strict=True)) for one in matrix()}
    known = [
        (column, device, file, row)
        for column, devices in records().items()
        for device, files in devices.items()
        for file, its_rows in files.items()
        for row in its_rows
    ]

    assert known
    assert [one for one in known if columns[one[:2]][one[3]].standing is not Standing.SEEN] == []
    assert [one for one in known if not (ROOT / one[2]).is_file()] == []


def test_a_backend_that_cannot_be_asked_without_arguments_has_a_column_for_each_of_its_probes(
    monkeypatch: pytest.MonkeyPatch, picky: None
) -> None:
    del picky
    monkeypatch.setattr(Picky, "probes", {"fast": (("mode", "fast"),), "slow": (("mode", "slow"),)}, raising=False)

    assert [column.title for column in matrix()] == ["picky fast, GPU", "picky slow, GPU"]


def test_every_backend_answers_for_every_technique() -> None:
    made = matrix(CPU)

    assert {column.backend.split()[0] for column in made} == set(BACKENDS)
    assert {len(column.cells) for column in made} == {len(rows())}


def test_each_reason_is_told_once() -> None:
    no = Cell(Standing.NO, "because")
    column = Column("one", CPU, (no,) * len(rows()))

    text = as_text([column])

    assert text.count("because") == 1
    assert text.count("no [1]") == len(rows())


def test_command_lists_and_loads_no_engine() -> None:
    script = (
        "import sys; from perfgate.cli import main; main(['plan', '--capabilities']); "
        "print(sorted({'torch', 'vllm', 'openvino'} & set(sys.modules)))"
    )

    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert out.startswith("technique")
    assert out.splitlines()[-1] == "[]"
