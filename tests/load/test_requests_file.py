"""Request records as files, read back by their own readers."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
from test_load_figures import failed, record

from perfgate.errors import UsageError
from perfgate.load import requests_file
from perfgate.load.request import RequestRecord
from perfgate.load.requests_file import COLUMNS, RecordsAs, requests_writer

RECORDS = [record(0), failed(1), record(2, sent_ms=80.0)]


def test_json_lines_hold_a_record_each(tmp_path: Path) -> None:
    requests_writer(RecordsAs.JSONL)(tmp_path / "concurrency_2", RECORDS)

    lines = [json.loads(line) for line in (tmp_path / "concurrency_2.requests.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2]
    assert lines[1]["fault"]["kind"] == "reset"
    assert lines[2]["event_ns"] == list(RECORDS[2].event_ns)
    assert [path.name for path in tmp_path.iterdir()] == ["concurrency_2.requests.jsonl"]


@pytest.mark.parametrize("how", [RecordsAs.PARQUET, RecordsAs.BOTH])
def test_parquet_comes_back_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: RecordsAs) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(requests_file, "ROW_GROUP", 2)

    requests_writer(how)(tmp_path / "rate_2.5", RECORDS)

    table = parquet.read_table(tmp_path / "rate_2.5.requests.parquet")
    assert table.column_names == list(COLUMNS)
    assert [_plain(one) for one in RECORDS] == table.to_pylist()
    assert {path.suffix for path in tmp_path.iterdir()} == (
        {".parquet"} if how is RecordsAs.PARQUET else {".parquet", ".jsonl"}
    )


def test_a_run_without_records_has_a_table_without_rows(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")

    requests_writer(RecordsAs.PARQUET)(tmp_path / "x", [])

    assert parquet.read_table(tmp_path / "x.requests.parquet").num_rows == 0


def test_parquet_without_pyarrow_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(UsageError, match=r"pip install 'pytest-perfgate\[records\]', or keep them as jsonl"):
        requests_writer(RecordsAs.BOTH)


def _plain(one: RequestRecord) -> dict[str, Any]:
    values = {name: getattr(one, name) for name in COLUMNS if hasattr(one, name)}
    values |= {"event_ns": list(one.event_ns), "event_tokens": list(one.event_tokens), "source": str(one.source)}
    values |= {"usage_input_tokens": one.usage.input_tokens, "usage_output_tokens": one.usage.output_tokens}
    fault = one.fault
    return values | {"fault": str(fault.kind) if fault else None, "fault_found": fault.found if fault else None}
