"""Short ways to read results in tests."""

from __future__ import annotations

import json

from perfgate.importing.formats import read_results
from perfgate.importing.result import Result
from perfgate.importing.source import Source

MODIFIED = "2026-01-20T10:00:00+00:00"


def source(content: object, name: str = "a.json") -> Source:
    """A file as if it were read."""
    data = (
        content
        if isinstance(content, bytes)
        else (content if isinstance(content, str) else json.dumps(content)).encode()
    )
    return Source(name, data, MODIFIED)


def results(content: object, requests: int | None = None) -> list[Result]:
    return [result for _, found in read_results([source(content)], requests) for result in found]


def one(content: object, requests: int | None = None) -> Result:
    (result,) = results(content, requests)
    return result
