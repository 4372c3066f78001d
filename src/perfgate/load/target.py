"""The server that is measured: where it is, how it is asked, and how long it may take."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from perfgate import __version__
from perfgate.engines.redaction import masked_url
from perfgate.errors import UsageError
from perfgate.load.bounds import Bounds

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a header's name, RFC 9110, section 5.6.2
_PORTS = {"http": 80, "https": 443}
_OWN = ("host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding")


class Route(StrEnum):
    """The two routes of OpenAI-compatible servers that generate text."""

    COMPLETIONS = "/v1/completions"
    CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a request may take before it counts as failed; all are on, so a hung server costs minutes.

    first_token_s counts from send; idle_s from the last bytes, once a token came; total_s from send.
    run_s: the whole load; give_up_after: so many requests in a row that met a deadline or no server end the run.
    """

    connect_s: float = 10.0
    first_token_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 900.0
    run_s: float = 7200.0
    give_up_after: int = 32

    def __post_init__(self) -> None:
        for name in ("connect_s", "first_token_s", "idle_s", "total_s", "run_s", "give_up_after"):
            if not getattr(self, name) > 0:
                raise UsageError(f"timeouts.{name}: found {getattr(self, name)}, expected more than 0; leave it out")


@dataclass(frozen=True, slots=True)
class Address:
    """Where connections go: `host` and `port` of the server, and `path` of the route on it."""

    host: str
    port: int
    path: str
    is_tls: bool

    @property
    def authority(self) -> str:
        """Host and port as a Host header or a CONNECT line has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """An OpenAI-compatible server and the way to ask it.

    url: 'http://host:port', with or without a path before the route; a closing '/v1' is not doubled.
    headers: sent with each request, and kept in records: nothing secret belongs here.
    token_env: the name of an environment variable that holds a bearer token; only the name is recorded.
    proxy: 'http://host:port' of a proxy that CONNECT tunnels go through. ca_file: certificates to trust (PEM).
    """

    url: str
    route: Route = Route.COMPLETIONS
    stream: bool = True
    include_usage: bool = True
    continuous_usage: bool = True
    return_token_ids: bool = False  # vLLM: ids of the tokens of each event
    headers: Mapping[str, str] = field(default_factory=dict)
    token_env: str | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    proxy: str | None = None
    ca_file: str | None = None
    bounds: Bounds = field(default_factory=Bounds)
    most_event_bytes: int = 16 << 20

    @property
    def address(self) -> Address:
        """Where the route is.

        Raises:
            UsageError: the URL is none, or its scheme is not http or https.
        """
        scheme, host, port, path = _split(self.url, "url")
        prefix = path.rstrip("/").removesuffix("/v1")
        return Address(host, port, prefix + self.route, scheme == "https")

    @property
    def proxy_address(self) -> tuple[str, int] | None:
        """Host and port of the proxy.

        Raises:
            UsageError: it is no http:// URL.
        """
        if self.proxy is None:
            return None
        scheme, host, port, _ = _split(self.proxy, "proxy")
        if scheme != "http":
            raise UsageError(f"proxy: found {scheme}://, expected http://host:port; tunnels start in plain HTTP")
        return host, port

    def body(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """An ask's body with what this target adds: streaming, usage and token ids."""
        body = {**asked, "stream": self.stream}
        if self.stream and (self.include_usage or self.continuous_usage):
            body["stream_options"] = {"include_usage": True} | (
                {"continuous_usage_stats": True} if self.continuous_usage else {}
            )
        return body | ({"return_token_ids": True} if self.return_token_ids else {})

    def request_head(self, variables: Mapping[str, str] = os.environ) -> bytes:
        """The request's head up to the length of its body; holds the secret: never log or record it.

        Raises:
            UsageError: a header that cannot be sent, or a token variable that is not set.
        """
        accept = "text/event-stream" if self.stream else "application/json"
        lines = {"Host": self.address.authority, "User-Agent": f"perfgate/{__version__}", "Accept": accept}
        lines |= {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        lines |= {name: _header(name, value) for name, value in self.headers.items()}
        if self.token_env is not None:
            lines["Authorization"] = f"Bearer {_secret(self.token_env, variables)}"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {self.address.path} HTTP/1.1\r\n{head}Content-Length: ".encode("latin-1")


def _split(url: str, where: str) -> tuple[str, str, int, str]:
    wanted = f"{where}: found {masked_url(url)!r}, expected http://host:port or https://host:port"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise UsageError(wanted if "@" in url else f"{wanted} ({exc})") from exc  # a password may be taken for a port
    if parts.scheme not in _PORTS or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError(wanted)
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(f"{wanted}, without user, query or fragment; a token goes into an environment variable")
    return parts.scheme, host, port or _PORTS[parts.scheme], parts.path


def _header(name: str, value: str) -> str:
    if not _TOKEN.fullmatch(name) or not value.isascii() or not value.isprintable():
        raise UsageError(f"headers: {name!r} cannot be sent, expected a header's name and printable ASCII; change it")
    if name.lower() in _OWN:
        raise UsageError(f"headers: {name!r} is set by the client itself; remove it")
    if name.lower() == "authorization":
        raise UsageError("headers: found Authorization, which records would keep; name a variable in token_env instead")
    return value


def _secret(name: str, variables: Mapping[str, str]) -> str:
    value = variables.get(name, "")
    if not value:
        raise UsageError(f"token_env: the environment variable {name} is not set; export it or leave token_env out")
    if not value.isascii() or not value.isprintable():
        raise UsageError(f"token_env: the value of {name} is not printable ASCII; export the token without a newline")
    return value
