"""The vocabulary that prompts are drawn from, and the tokenizer of a checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from perfgate.errors import ModelError, UsageError
from perfgate.foreign_json import read_json, whole_number

Ids = NDArray[np.int64]  # token ids: [tokens]
_MOST_IDS = 1 << 24  # the largest vocabularies have some 260,000


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Token ids that prompts may hold: those from 0 to size - 1 but the reserved ones (BOS, EOS, padding...)."""

    size: int
    reserved: frozenset[int] = frozenset()

    def ids(self) -> Ids:
        """The ids that may be drawn, ascending.

        Raises:
            UsageError: none is left.
        """
        return _allowed(self)


@functools.lru_cache(maxsize=4)
def _allowed(vocabulary: Vocabulary) -> Ids:
    allowed = np.setdiff1d(np.arange(vocabulary.size, dtype=np.int64), np.array(sorted(vocabulary.reserved), np.int64))
    if not len(allowed):
        raise UsageError(
            f"a vocabulary of {vocabulary.size} ids with {len(vocabulary.reserved)} reserved has none to draw"
        )
    allowed.setflags(write=False)  # it is shared by all who ask
    return allowed


def vocabulary_of(checkpoint: Path) -> Vocabulary:
    """The vocabulary of a checkpoint: config.json's size, without its special tokens (tokenizer.json).

    Raises:
        ModelError: one of the files is missing or does not say.
    """
    try:
        config = read_json(checkpoint / "config.json")
        tokens = read_json(checkpoint / "tokenizer.json").get("added_tokens", [])
        size = _size(config.get("text_config", config)["vocab_size"])
        special = {token["id"] for token in tokens if token.get("special")} | _named_ids(config)
        return Vocabulary(size, frozenset(token for token in special if 0 <= token < size))
    except OSError as exc:
        raise ModelError(f"the checkpoint file {exc.filename} cannot be read: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(f"{checkpoint}: config.json or tokenizer.json does not tell the vocabulary: {exc!r}") from exc


def _size(value: object) -> int:
    size = whole_number(value)
    if size is None or not 0 < size <= _MOST_IDS:
        raise ValueError(f"vocab_size {str(value)[:40]}")
    return size


def _named_ids(config: Mapping[str, Any]) -> set[int]:
    """bos_token_id, eos_token_id and pad_token_id: each an id, a list of them, or null."""
    named = [config.get(f"{name}_token_id") for name in ("bos", "eos", "pad")]
    return {token for one in named for token in (one if isinstance(one, list) else [one]) if isinstance(token, int)}


class Tokenizer(Protocol):
    """A tokenizer as text prompts need it, without special tokens."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def __hash__(self) -> int: ...


def read_tokenizer(checkpoint: Path) -> Tokenizer:
    """The tokenizer of a checkpoint, by the package `tokenizers`.

    Raises:
        UsageError: the package is not installed.
        ModelError: tokenizer.json is missing or damaged.
    """
    try:
        import tokenizers
    except ImportError as exc:
        raise UsageError("text prompts need the package tokenizers: pip install tokenizers") from exc
    try:
        return _FastTokenizer(tokenizers.Tokenizer.from_file(str(checkpoint / "tokenizer.json")))
    except Exception as exc:  # the library raises bare Exception
        raise ModelError(f"{checkpoint / 'tokenizer.json'} cannot be read as a tokenizer: {exc}") from exc


_TRIED = 4096  # ids that are tried one by one: some 50 ms
_FEWEST = 16  # of which so many must be left to draw from


@functools.lru_cache(maxsize=4)
def steady_ids(vocabulary: Vocabulary, tokenizer: Tokenizer) -> Ids:
    """Ids whose text is read as the same id again, of some spread evenly over the vocabulary; all, where few are.

    Texts of others change in length when they are read: half characters become the three bytes of U+FFFD.
    """
    allowed = vocabulary.ids()
    tried = allowed[np.unique(np.linspace(0, len(allowed) - 1, _TRIED).astype(np.int64))]
    steady = [token for token in tried.tolist() if list(tokenizer.encode(tokenizer.decode([token]))) == [token]]
    return np.array(steady, dtype=np.int64) if len(steady) >= _FEWEST else allowed


@dataclass(frozen=True, slots=True, eq=False)  # its hash is its identity
class _FastTokenizer:
    inner: Any

    def encode(self, text: str) -> list[int]:
        return list(self.inner.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.inner.decode(list(ids), skip_special_tokens=False))
