from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from perfgate.engines.base import EngineStats, Request, TokenEvent
from perfgate.errors import ModelError
from perfgate.workloads import texts
from perfgate.workloads.texts import Document, prompts, read_documents

TWO = [Document("a", "first text"), Document("b", "second text")]


class Words:
    """An engine of which only the tokenizer is used: a token per word, its length."""

    def encode(self, text: str) -> list[int]:
        return [len(word) for word in text.split()]

    def generate(self, requests: Sequence[Request], concurrency: int) -> Iterator[TokenEvent]:
        raise NotImplementedError

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float64]:
        raise NotImplementedError

    def stats(self) -> EngineStats:
        raise NotImplementedError


def test_documents_are_read_in_order(tmp_path: Path) -> None:
    path = _file(tmp_path, b'{"id": "a", "text": "first text"}\n{"id": "b", "text": "second text"}\n')

    assert read_documents(path) == TWO


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n  \n", b"\r\n"])
def test_line_ends_and_empty_lines_do_not_matter(tmp_path: Path, end: bytes) -> None:
    path = _file(tmp_path, b'\n{"id": "a", "text": "first text"}\r\n\n{"text": "second text", "id": "b"}' + end)

    assert read_documents(path) == TWO


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=8), st.text(max_size=30), min_size=1, max_size=4), st.booleans())
def test_any_text_survives_its_file(tmp_path: Path, documents: dict[str, str], escaped: bool) -> None:  # noqa: FBT001
    lines = [json.dumps({"id": key, "text": text}, ensure_ascii=escaped) for key, text in documents.items()]
    path = _file(tmp_path, "\n".join(lines).encode())

    assert read_documents(path) == [Document(key, text) for key, text in documents.items()]


def test_the_shipped_texts_are_read() -> None:
    folder = Path(__file__).parents[2] / "fixtures" / "prompts"

    assert min(len(read_documents(folder / name)) for name in ("generation.jsonl", "held-out.jsonl")) > 1


def test_a_missing_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the text .*absent\.jsonl cannot be read: No such file"):
        read_documents(tmp_path / "absent.jsonl")


def test_a_folder_is_not_a_text(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        read_documents(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"   \n"])
def test_an_empty_text_is_an_error(tmp_path: Path, data: bytes) -> None:
    path = _file(tmp_path, data)

    with pytest.raises(ModelError, match=r"texts\.jsonl is empty"):
        read_documents(path)


def test_an_id_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    path = _file(tmp_path, b'{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n')

    with pytest.raises(ModelError, match=r"texts\.jsonl .* has an id twice"):
        read_documents(path)


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[]",
        b"null",
        b'"text"',
        b'{"id": "b"}',
        b'{"text": "y"}',
        b'{"id": 2, "text": "y"}',
        b'{"id": "b", "text": null}',
        b'{"id": "b", "text": "y"',
        b'{"id": "b", "text": "caf\xe9"}',
        b"[" * 100_000,
    ],
    ids=lambda line: repr(line[:24]),
)
def test_a_damaged_line_is_an_error_that_names_it_and_shows_what_is_right(tmp_path: Path, line: bytes) -> None:
    path = _file(tmp_path, b'{"id": "a", "text": "x"}\n' + line + b"\n")

    with pytest.raises(ModelError, match=r'texts\.jsonl:2 is damaged.*each line is \{"id": \.\.\., "text": \.\.\.\}'):
        read_documents(path)


def test_a_text_that_is_too_large_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(tmp_path, b'{"id": "a", "text": "x"}\n')
    monkeypatch.setattr(texts, "MAX_BYTES", 24)

    with pytest.raises(ModelError, match=r"texts\.jsonl is larger than 24 bytes"):
        read_documents(path)


def test_a_text_of_the_largest_size_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(tmp_path, b'{"id": "a", "text": "x"}\n')
    monkeypatch.setattr(texts, "MAX_BYTES", 25)

    assert read_documents(path) == [Document("a", "x")]


def test_prompts_are_the_first_tokens_of_each_document(tmp_path: Path) -> None:
    path = _file(tmp_path, b'{"id": "a", "text": "one three fives"}\n{"id": "b", "text": "to be"}\n')

    assert prompts(path, Words(), 2) == [(3, 5), (2, 2)]


def test_a_document_shorter_than_a_prompt_is_an_error_that_names_both_lengths(tmp_path: Path) -> None:
    path = _file(tmp_path, b'{"id": "a", "text": "one two three"}\n{"id": "b", "text": "to be"}\n')

    with pytest.raises(ModelError, match=r"document 'b' has 2 tokens, prompts of 3 are wanted"):
        prompts(path, Words(), 3)


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "texts.jsonl"
    path.write_bytes(data)
    return path
