"""Calibration texts for ModelOpt, as quantize.py and the LLM API take them, and what of a spec's options they have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perfgate.case import EngineSpec, Precision
from perfgate.engines.calibration_texts import TEXTS, calibration_texts, keep_calibration
from perfgate.record import write_atomic

_FOLDER, _TOKENS = "calibration", 512  # of each text, what both tools read where they are not told
_TEXT_OPTIONS = frozenset({"calibration", "calibration_texts", "calibration_tokens"})
AWQ_GROUP = 128
TAKEN = {
    Precision.FP8: _TEXT_OPTIONS,
    Precision.INT8_SQ: _TEXT_OPTIONS,
    Precision.INT4_AWQ: _TEXT_OPTIONS | {"group_size"},
}


def calibration_flags(spec: EngineSpec, folder: Path) -> tuple[str, ...]:
    """Flags of quantize.py for the texts in the folder (`calibration_data`) and the size of AWQ's groups."""
    options = spec.quantisation
    if options is None:
        return ()
    group = () if options.group_size is None else ("--awq_block_size", str(options.group_size))
    if options.calibration is None:
        return group
    tokens = str(options.calibration_tokens or _TOKENS)
    data = ("--calib_dataset", str(folder / _FOLDER), "--calib_size", str(options.calibration_texts or TEXTS))
    return (*group, *data, "--calib_max_seq_length", tokens)


def calibration_fields(spec: EngineSpec, folder: Path) -> dict[str, str | int]:
    """The same as fields of CalibConfig; its batches are of one text each."""
    options = spec.quantisation
    if options is None or options.calibration is None:
        return {}
    return {
        "calib_dataset": str(folder / _FOLDER),
        "calib_batches": options.calibration_texts or TEXTS,
        "calib_batch_size": 1,
        "calib_max_seq_length": options.calibration_tokens or _TOKENS,
    }


@contextmanager
def calibration_data(spec: EngineSpec, into: Path) -> Iterator[None]:
    """The texts as a local dataset (split train, column text) while a tool reads them; the record of them stays.

    How many tokens it takes of them it does not tell.
    """
    options = spec.quantisation
    if options is None or options.calibration is None:
        yield
        return
    texts = calibration_texts(options)
    folder = into / _FOLDER
    folder.mkdir()
    lines = [json.dumps({"text": text}) + "\n" for text in texts]
    write_atomic(folder / "train.jsonl", "".join(lines).encode())
    try:
        yield
    finally:
        shutil.rmtree(folder)
    keep_calibration(options, into, len(texts), None)
