"""Prompts and held-out documents for a new suite: perfgate's own, or made of texts that the user names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

from perfgate.errors import UsageError
from perfgate.workloads.texts import read_documents

GENERATION, HELD_OUT = "prompts/generation.jsonl", "prompts/held-out.jsonl"
PIECE = 2400  # characters: some 500 tokens, more than a starting suite's prompts have
LEAST = 8  # documents on either side
MOST = 64
_SUFFIXES = (".txt", ".md", ".jsonl")


def data(name: str) -> bytes:
    """A file of perfgate's starting kit."""
    return resources.files("perfgate").joinpath("starter", name).read_bytes()


def own_texts() -> Mapping[str, bytes]:
    """The texts that come with perfgate, and what they are."""
    return {
        GENERATION: data(GENERATION),
        HELD_OUT: data(HELD_OUT),
        "prompts/README.md": data("prompts.md"),
        "prompts/LICENSE-PSF.txt": data("LICENSE-PSF.txt"),
    }


def texts_of(sources: Sequence[Path]) -> Mapping[str, bytes]:
    """Texts of the user's, cut into pieces: every other piece a prompt, the rest held out.

    Raises:
        UsageError: nothing to read, or too little of it.
    """
    pieces = [piece for path in _files(sources) for piece in _pieces(path)][: 2 * MOST]
    if len(pieces) < 2 * LEAST:
        raise UsageError(
            f"--texts: found {len(pieces)} pieces of {PIECE} characters in {', '.join(map(str, sources))}, expected "
            f"{2 * LEAST} or more: name more text (.txt, .md, .jsonl)"
        )
    told = f"# Prompts\n\nMade by `perfgate init` of {', '.join(path.name for path in sources)}.\n"
    return {
        GENERATION: _lines(pieces[::2]),
        HELD_OUT: _lines(pieces[1::2]),
        "prompts/README.md": told.encode(),
    }


def _files(sources: Sequence[Path]) -> Iterator[Path]:
    for source in sources:
        if not source.exists():
            raise UsageError(f"--texts: {source} is not there")
        found = sorted(source.rglob("*")) if source.is_dir() else [source]
        yield from (path for path in found if path.is_file() and path.suffix in _SUFFIXES)


def _pieces(path: Path) -> Iterator[tuple[str, str]]:
    if path.suffix == ".jsonl":
        texts = [(f"{path.name}:{one.id}", one.text) for one in read_documents(path)]
    else:
        texts = [(path.name, path.read_text(encoding="utf-8", errors="replace"))]
    for name, text in texts:
        starts = range(0, len(text) - PIECE + 1, PIECE)
        yield from ((f"{name}:{start}", text[start : start + PIECE]) for start in starts)


def _lines(pieces: Sequence[tuple[str, str]]) -> bytes:
    named = [{"id": f"{number}:{name}", "text": text} for number, (name, text) in enumerate(pieces)]
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in named).encode()
