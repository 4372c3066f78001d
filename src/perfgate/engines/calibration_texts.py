"""Calibration texts: what a backend reads of them when it quantises, and the record that stays with the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from perfgate.case import Quantisation
from perfgate.engines.cache import calibration_digest
from perfgate.errors import ModelError
from perfgate.record import encode_pretty, read_record, write_atomic
from perfgate.workloads.texts import read_documents

CALIBRATION_SCHEMA = 1
RECORD = "perfgate-calibration.json"
TEXTS, TOKENS = 64, 256  # read where the spec does not say


@dataclass(frozen=True, slots=True)
class Calibration:
    """The texts that an engine was quantised on; tokens is None where the tool that read them does not tell."""

    file: str
    sha256: str
    texts: int
    tokens: int | None
    schema: int = CALIBRATION_SCHEMA


def calibration_texts(options: Quantisation) -> list[str]:
    """The texts that are read, in the file's order.

    Raises:
        ModelError: the file cannot be read, or has fewer texts than are asked for.
    """
    assert options.calibration is not None
    documents = read_documents(options.calibration)
    wanted = options.calibration_texts
    if wanted is not None and len(documents) < wanted:
        raise ModelError(f"{options.calibration} has {len(documents)} texts, calibration_texts asks for {wanted}")
    return [one.text for one in documents[: wanted or TEXTS]]


def calibration_ids(options: Quantisation, encode: Callable[[str], Sequence[int]]) -> list[list[int]]:
    """Token ids of each text, cut to `calibration_tokens`; texts without a token are left out."""
    most = options.calibration_tokens or TOKENS
    found = [list(encode(text))[:most] for text in calibration_texts(options)]
    return [ids for ids in found if ids]


def keep_calibration(options: Quantisation, into: Path, texts: int, tokens: int | None) -> None:
    """Write what was read beside the engine."""
    assert options.calibration is not None
    found = Calibration(options.calibration.name, calibration_digest(options.calibration), texts, tokens)
    write_atomic(into / RECORD, encode_pretty(found))


def kept_calibration(prepared: Path) -> Calibration | None:
    """What a prepared engine was calibrated on; None where nothing is known."""
    path = prepared / RECORD
    return read_record(path, Calibration, CALIBRATION_SCHEMA) if path.exists() else None
