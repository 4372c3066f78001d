"""Servers that speak the OpenAI routes: started, awaited, described and ended, or attached to where they run."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from perfgate.engines.kept import LOOPBACK, Kept, Launch, Patience, Routes
from perfgate.engines.redaction import masked, masked_argv, mattering, without
from perfgate.errors import EngineError, UsageError

_ROUTES, _PATIENCE = Routes(), Patience()
_SHORT = Patience(ready_s=30.0)  # for a server that runs already
_MAX_ANSWER = 4_000_000  # bytes of one answer about the server
_REQUEST_S = 5.0  # for an answer about health: one that takes longer is not ready


@dataclass(frozen=True, slots=True)
class Progress:
    """How the wait for a server stands."""

    elapsed_s: float
    last_line: str  # of its log; empty where there is none


Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a server, without secrets.

    model: the name by which requests ask for it, None where nothing tells; models: all that /v1/models lists;
    answers: route -> JSON; ready_s: seconds to readiness, None where it ran already; returns_token_ids: it lists the
    ids of each event's tokens where asked, so that they are counted also where they show as no text.
    """

    url: str
    version: str | None
    model: str | None
    models: tuple[str, ...]
    answers: Mapping[str, Any]
    argv: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    ready_s: float | None = None
    notes: tuple[str, ...] = ()
    returns_token_ids: bool = False


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready. token_env: the variable that holds the key which requests need."""

    facts: Facts
    _kept: Kept | None = None
    token_env: str | None = None

    @property
    def url(self) -> str:
        return self.facts.url

    @property
    def pid(self) -> int | None:
        """Its main process, where we started it."""
        return self._kept.pid if self._kept else None

    def check(self) -> None:
        """See that it still runs; one that we attached to is asked nothing.

        Raises:
            EngineError: it has ended, with the end of its log.
        """
        if self._kept and self._kept.has_ended:
            raise self._kept.error("the server ended while it was in use")


@contextmanager
def serve(
    launch: Launch,
    log: Path,
    patience: Patience = _PATIENCE,
    tell: Tell = lambda _: None,
    held: tuple[int, ...] = (),
) -> Iterator[Server]:
    """Start a server and wait until it is ready; leaving ends it and all that it started.

    held: descriptors that stay open as long as anything of it runs.

    Raises:
        UsageError: the program is not found, or the port is taken.
        EngineError: the server ended or was not ready in time (with the end of its log), or cannot be ended.
    """
    kept = Kept(launch, log, patience, held)
    try:
        url = f"http://{LOOPBACK}:{launch.port}"
        _await_ready(url, launch.routes, patience, tell, kept, {})
        yield Server(_facts(url, launch, time.monotonic() - kept.begin, kept.secrets), kept)
    finally:
        kept.stop()


def attach(
    url: str,
    routes: Routes = _ROUTES,
    patience: Patience = _SHORT,
    headers: Mapping[str, str] | None = None,
) -> Server:
    """A server that runs already, at http://host:port; it is left as it is. Headers are sent and never recorded.

    Raises:
        UsageError: the URL is none of a server.
        EngineError: it is not ready in time.
    """
    base = _base(url)
    _await_ready(base, routes, patience, lambda _: None, None, headers or {})
    return Server(_described(base, routes, headers or {}))


def _base(url: str) -> str:
    parts = urlsplit(url)
    try:
        is_right = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or parts.username or parts.query or parts.fragment:
        shown = without(url, ())[:200]
        raise UsageError(f"found the URL '{shown}', expected one like http://127.0.0.1:8000 (keys go into headers)")
    return url.rstrip("/").removesuffix("/v1")


# ------------------------------------------------------------------ readiness


def _await_ready(
    url: str,
    routes: Routes,
    patience: Patience,
    tell: Tell,
    kept: Kept | None,
    headers: Mapping[str, str],
) -> None:
    begin = told = time.monotonic()
    found = "no answer"
    while True:
        if kept and kept.has_ended:
            raise kept.ended()
        is_ready, found = _health(url, routes, headers)
        if is_ready and not (kept and kept.has_ended):  # else another server answers at its port
            return
        now = time.monotonic()
        if now - begin > patience.ready_s:
            what = f"the server at {url} was not ready within {patience.ready_s:g} s: {found}"
            raise kept.error(what) if kept else EngineError(what)
        if now - told >= patience.progress_s:
            told = now
            tell(Progress(now - begin, "".join(kept.tail(1)) if kept else ""))
        time.sleep(patience.poll_s)


def _health(url: str, routes: Routes, headers: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the first health route that the server has answers 200, and what was found in words."""
    found = "it has no route for health"
    for route in routes.health:
        try:
            status, _ = _get(url, route, headers)
        except (OSError, http.client.HTTPException) as exc:
            return False, f"GET {route} failed ({exc})"
        found = f"GET {route} answered {status}"
        if status not in {404, 405, 501}:
            return status == http.HTTPStatus.OK, found
    return False, found


def _get(url: str, route: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """One request on a connection of its own, past any proxy of the environment: status and body, bounded."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_REQUEST_S)
    try:
        connection.request("GET", parts.path + route, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_ANSWER + 1)
    finally:
        connection.close()


# ------------------------------------------------------------------ facts


def _facts(url: str, launch: Launch, ready_s: float, secrets: tuple[str, ...]) -> Facts:
    told = _described(url, launch.routes, {})
    return Facts(
        url,
        told.version,
        launch.model or told.model,
        told.models,
        told.answers,
        tuple(without(word, secrets) for word in masked_argv(launch.argv)),
        {path.name: without(text, secrets) for path, text in launch.files.items()},
        mattering(launch.environment),
        ready_s,
        launch.notes,
        launch.returns_token_ids,
    )


def _described(url: str, routes: Routes, headers: Mapping[str, str]) -> Facts:
    answers = {route: answer for route in routes.facts if (answer := _json(url, route, headers)) is not None}
    versions = [answer["version"] for answer in answers.values() if isinstance(answer, dict) and "version" in answer]
    version = next((found for found in versions if isinstance(found, str)), None)
    models = _models(answers.get("/v1/models"))
    return Facts(url, version, next(iter(models), None), models, answers)


def _json(url: str, route: str, headers: Mapping[str, str]) -> Any:
    """The answer as plain data without secrets, or None where the server has no such route or no JSON."""
    try:
        status, body = _get(url, route, headers)
        return masked(json.loads(body)) if status == http.HTTPStatus.OK and len(body) <= _MAX_ANSWER else None
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return None


def _models(answer: Any) -> tuple[str, ...]:
    """The ids of {"data": [{"id": ...}]}."""
    listed = answer.get("data") if isinstance(answer, dict) else None
    entries = listed if isinstance(listed, list) else []
    return tuple(entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str))
