from __future__ import annotations

from typing import Any

import pytest

from perfgate.errors import UsageError
from perfgate.load.target import Address, Route, Target, Timeouts
from perfgate.record import encode


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://a:8000", Address("a", 8000, "/v1/completions", is_tls=False)),
        ("http://a:8000/", Address("a", 8000, "/v1/completions", is_tls=False)),
        ("http://a/v1", Address("a", 80, "/v1/completions", is_tls=False)),
        ("http://a/proxy/v1/", Address("a", 80, "/proxy/v1/completions", is_tls=False)),
        ("https://a", Address("a", 443, "/v1/completions", is_tls=True)),
        ("http://[::1]:9", Address("::1", 9, "/v1/completions", is_tls=False)),
    ],
)
def test_a_url_says_where_the_route_is(url: str, address: Address) -> None:
    assert Target(url).address == address


@pytest.mark.parametrize(
    "url",
    ["", "a:8000", "ftp://a", "http://", "http://a:x", "http://u:p@a", "http://a?x=1", "http://a b", "http://a:99999"],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="url: found"):
        _ = Target(url).address


@pytest.mark.parametrize(
    "url", ["http://user:hush@h:8000?api_key=hush", "http://user:hu/hush@h", "http://h/v1?hush#hush", "user:hush@h"]
)
def test_of_a_url_with_a_secret_the_refusal_shows_the_place_alone(url: str) -> None:
    with pytest.raises(UsageError, match=r"url: found .*h\b") as refused:
        _ = Target(url).address

    assert "hush" not in str(refused.value)
    assert "/hu" not in str(refused.value)


def test_an_address_with_colons_is_bracketed_in_the_host_header() -> None:
    assert b"Host: [::1]:9\r\n" in Target("http://[::1]:9").request_head({})


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"X": "a\r\nY: b"}, "cannot be sent"),
        ({"X Y": "a"}, "cannot be sent"),
        ({"X": "é"}, "cannot be sent"),
        ({"Host": "b"}, "set by the client"),
        ({"authorization": "Bearer x"}, "token_env"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(headers: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Target("http://a", headers=headers).request_head({})


@pytest.mark.parametrize("value", ["", "a\nb"])
def test_a_token_that_is_not_there_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="THE_TOKEN"):
        Target("http://a", token_env="THE_TOKEN").request_head({"THE_TOKEN": value})  # noqa: S106 - a variable's name


def test_the_token_is_sent_and_not_recorded() -> None:
    target = Target("http://a", token_env="THE_TOKEN")  # noqa: S106 - a variable's name

    assert b"Authorization: Bearer s3cret\r\n" in target.request_head({"THE_TOKEN": "s3cret"})
    assert b"s3cret" not in encode(target)


@pytest.mark.parametrize(
    ("wishes", "added"),
    [
        ({}, {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
        ({"continuous_usage": False}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"continuous_usage": False, "include_usage": False}, {"stream": True}),
        ({"stream": False}, {"stream": False}),
        ({"stream": False, "return_token_ids": True}, {"stream": False, "return_token_ids": True}),
    ],
)
def test_a_body_gets_what_was_wished_for(wishes: dict[str, Any], added: dict[str, Any]) -> None:
    assert Target("http://a", Route.CHAT, **wishes).body({"model": "m"}) == {"model": "m"} | added


@pytest.mark.parametrize("name", ["connect_s", "first_token_s", "idle_s", "total_s", "run_s", "give_up_after"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_deadline_cannot_be_turned_off(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        Timeouts(**{name: value})  # type: ignore[arg-type]
