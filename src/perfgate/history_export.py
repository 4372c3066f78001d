"""The history as a file for other tools: CSV always, Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from operator import attrgetter
from pathlib import Path

from perfgate.errors import UsageError

ROW_GROUP = 100_000  # rows that are held in memory at once for Parquet


@dataclass(frozen=True, slots=True)
class Value:
    """One exported row: a metric of a case in one round, in `unit`."""

    run: str
    suite: str
    device: str
    product: str
    started: str
    commit: str
    case: str
    case_hash: str
    engine: str
    engine_key: str
    side: str  # "candidate" or "baseline"
    round: int
    metric: str
    unit: str
    value: float


COLUMNS = tuple(field.name for field in fields(Value))


COLUMNS = tuple(field.name for field in fields(Value))

_Writer = Callable[[Path, Iterator[Value]], int]
_row = attrgetter(*COLUMNS)


def write_values(path: Path, values: Iterator[Value]) -> int:
    """Write values to a `.csv` or `.parquet` file, whole or not at all; returns how many rows.

    Raises:
        UsageError: another suffix, no pyarrow for Parquet, or a folder that cannot be written.
    """
    write = _writer(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            fresh = Path(folder) / path.name
            rows = write(fresh, values)
            fresh.replace(path)
    except OSError as exc:
        raise UsageError(f"{path} cannot be written: {exc.strerror}; name a file in a folder of yours") from exc
    return rows


def _writer(path: Path) -> _Writer:
    match path.suffix:
        case ".csv":
            return _write_csv
        case ".parquet":
            return _parquet_writer(path)
        case other:
            raise UsageError(f"{path}: found suffix '{other}', expected .csv or .parquet")


def _write_csv(path: Path, values: Iterator[Value]) -> int:
    rows = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(COLUMNS)
        for value in values:
            out.writerow(_row(value))
            rows += 1
    return rows


def _parquet_writer(path: Path) -> _Writer:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as exc:
        raise UsageError(
            f"{path}: Parquet needs pyarrow; pip install 'pytest-perfgate[history]', or export to .csv"
        ) from exc
    types = {"round": pa.int64(), "value": pa.float64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])

    def write(fresh: Path, values: Iterator[Value]) -> int:
        rows = 0
        with parquet.ParquetWriter(fresh, schema) as out:
            while part := [_row(value) for value in islice(values, ROW_GROUP)]:
                columns = dict(zip(COLUMNS, zip(*part, strict=True), strict=True))
                out.write_table(pa.table(columns, schema=schema))
                rows += len(part)
        return rows

    return write
