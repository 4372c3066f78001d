"""Texts that workloads use: JSON Lines with an id and a text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from perfgate.engines.base import Engine
from perfgate.errors import ModelError, RecordError
from perfgate.plain_file import read_up_to
from perfgate.record import decode

MAX_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its name."""

    id: str
    text: str


def read_documents(path: Path) -> list[Document]:
    """Every document of a JSON Lines file, in order.

    Raises:
        ModelError: missing, empty, damaged, too large, or an id stands twice.
    """
    try:
        data = read_up_to(path, MAX_BYTES)
    except OSError as exc:
        raise ModelError(f"the text {path} cannot be read: {exc.strerror}") from exc
    if len(data) > MAX_BYTES:
        raise ModelError(f"the text {path} is larger than {MAX_BYTES} bytes")
    try:
        documents = [
            decode(line, Document, f"{path}:{number}")
            for number, line in enumerate(data.splitlines(), 1)
            if line.strip()
        ]
    except RecordError as exc:
        raise ModelError(f'{exc}; each line is {{"id": ..., "text": ...}}') from exc
    if not documents or len({document.id for document in documents}) < len(documents):
        raise ModelError(f"the text {path} is empty or has an id twice")
    return documents


def prompts(path: Path, engine: Engine, length: int) -> list[tuple[int, ...]]:
    """Prompts of exactly `length` tokens, one per document.

    Raises:
        ModelError: a document is too short.
    """
    out = []
    for document in read_documents(path):
        tokens = engine.encode(document.text)[:length]
        if len(tokens) < length:
            raise ModelError(
                f"{path}: document '{document.id}' has {len(tokens)} tokens, prompts of {length} are wanted"
            )
        out.append(tuple(tokens))
    return out
