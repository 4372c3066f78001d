"""The request records of a run as files: JSON Lines always, Parquet where pyarrow is installed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from perfgate.errors import UsageError
from perfgate.load.request import RequestRecord
from perfgate.record import encode, write_atomic

ROW_GROUP = 10_000  # rows that are held in memory at once for Parquet

_NESTED = ("usage", "fault")
COLUMNS = (
    *(field.name for field in fields(RequestRecord) if field.name not in _NESTED),
    "usage_input_tokens",
    "usage_output_tokens",
    "fault",
    "fault_found",
)
_TEXTS = ("finish_reason", "source", "fault", "fault_found")
_LISTS = ("event_ns", "event_tokens")

Writer = Callable[[Path, Sequence[RequestRecord]], None]


class RecordsAs(StrEnum):
    """In which form request records are kept."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    BOTH = "both"


def requests_writer(how: RecordsAs) -> Writer:
    """What writes records beside a path without suffix: NAME.requests.jsonl, NAME.requests.parquet or both.

    Raises:
        UsageError: Parquet is wanted and pyarrow is not there; to be told before anything is measured.
    """
    writers = list[Writer]()
    if how is not RecordsAs.PARQUET:
        writers.append(_write_jsonl)
    if how is not RecordsAs.JSONL:
        writers.append(_parquet_writer())

    def write(stem: Path, records: Sequence[RequestRecord]) -> None:
        for one in writers:
            one(stem, records)

    return write


def _write_jsonl(stem: Path, records: Sequence[RequestRecord]) -> None:
    write_atomic(stem.with_name(f"{stem.name}.requests.jsonl"), b"".join(encode(one) + b"\n" for one in records))


def _parquet_writer() -> Writer:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as exc:
        raise UsageError(
            "records: Parquet needs pyarrow; pip install 'pytest-perfgate[records]', or keep them as jsonl"
        ) from exc
    schema = pa.schema([(name, _type(name, pa)) for name in COLUMNS])

    def write(stem: Path, records: Sequence[RequestRecord]) -> None:
        path, left = stem.with_name(f"{stem.name}.requests.parquet"), iter(records)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            fresh = Path(folder) / path.name
            with parquet.ParquetWriter(fresh, schema, compression="zstd") as out:
                while part := list(islice(left, ROW_GROUP)):
                    columns = dict(zip(COLUMNS, zip(*map(_row, part), strict=True), strict=True))
                    out.write_table(pa.table(columns, schema=schema))
            fresh.replace(path)

    return write


def _type(name: str, pa: Any) -> Any:
    if name in _TEXTS:
        return pa.string()
    if name in _LISTS:
        return pa.list_(pa.int64())
    return pa.bool_() if name.startswith("is_") else pa.int64()


def _row(one: RequestRecord) -> Iterator[Any]:
    """A record's values in the order of the columns."""
    yield from (getattr(one, name) for name in COLUMNS[:-4])
    yield one.usage.input_tokens
    yield one.usage.output_tokens
    yield str(one.fault.kind) if one.fault else None
    yield one.fault.found if one.fault else None
