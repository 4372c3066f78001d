"""Keeping secrets out of what is recorded and shown: names that hold one, and the values seen there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

MASK = "***"
_SECRET = re.compile(
    r"secret|passw|passphrase|credential|cookie|authorization|api_?key"
    r"|(?:^|_)(?:key|keys|token|auth|pat)$"
)
_USER_IN_URL = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_PASSWORD_IN_URL = re.compile(r"(?<=://)[^/\s@:]*:([^/\s@]+)(?=@)")
_IN_QUERY = re.compile(r"(?<=[?&])([\w.-]+)=([^&#\s'\"]+)")
_HEADER = re.compile(r"(?i)(\b(?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?)(?:(?:bearer|basic|token)\s+)?[^\s'\",]+")
_BEARER = re.compile(r"(?i)(\bbearer\s+)[\w.~+/=-]{8,}")
_SHAPES = re.compile(r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|AKIA[0-9A-Z]{16})")
_PREFIXES = ("hf_", "sk-", *(f"gh{one}_" for one in "pousr"), "AKIA")
_LEAST = 6  # characters of a value that is masked wherever it appears: shorter ones are words of their own

_MATTERING = re.compile(  # environment variables that change an engine's speed or bits
    r"(?:CUDA|NCCL|NVIDIA|VLLM|TLLM|TRTLLM|TRT|SGLANG|SGL|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|FLASHINFER|OMP|MKL|KMP"
    r"|UCX|OMPI|HF|TRANSFORMERS|TOKENIZERS|ROCM|HIP|HSA|GLIBC|MALLOC|PYTHON)_\w+"
    r"|LD_PRELOAD|LD_LIBRARY_PATH|PYTHONHASHSEED|PYTHONPATH|OMP_NUM_THREADS"
)


def is_secret(name: str) -> bool:
    """Whether what stands under a name (a variable, an option, a key) is not to be written down."""
    return bool(_SECRET.search(name.lower().lstrip("-").replace("-", "_").replace(".", "_")))


def without_forms(text: str) -> str:
    """A text in which everything is masked that its form gives away: users and queries of URLs, headers, tokens."""
    text = _IN_QUERY.sub(lambda found: f"{found[1]}={MASK}" if is_secret(found[1]) else found[0], text)
    text = _USER_IN_URL.sub(MASK, text)
    words = text.lower()  # to look for a word first is far quicker, and large logs hold none of these
    if "authorization" in words:
        text = _HEADER.sub(rf"\1{MASK}", text)
    if "bearer" in words:
        text = _BEARER.sub(rf"\1{MASK}", text)
    return _SHAPES.sub(MASK, text) if any(one in text for one in _PREFIXES) else text


def mattering(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that matter to an engine, without any that holds a secret."""
    return {
        name: without_forms(value)
        for name, value in sorted(variables.items())
        if _MATTERING.fullmatch(name) and not is_secret(name)
    }


def masked_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """A command line with the values of secret options masked: `--api-key X Y` and `--api-key=X` alike."""
    out, is_hidden = [], False
    for word in argv:
        name, sign, _ = word.partition("=")
        if word.startswith("-"):
            is_hidden = is_secret(name) and not sign
            out.append(f"{name}={MASK}" if is_secret(name) and sign else without_forms(word))
        else:
            out.append(MASK if is_hidden else without_forms(word))
    return tuple(out)


def masked(value: Any, name: str = "") -> Any:
    """Plain JSON data with what stands under secret names masked, at any depth."""
    match value:
        case None | bool():
            return value
        case _ if is_secret(name) and not isinstance(value, int):
            return MASK
        case dict():
            return {key: masked(item, str(key)) for key, item in value.items()}
        case list() | tuple():
            return [masked(item) for item in value]
        case str():
            return without_forms(value)
        case _:
            return value


def secrets_in(argv: Sequence[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    """The secret values of a command line and of an environment, the longest first.

    They are values as a whole, each line of a variable's, and passwords and keys in URLs.
    """
    hidden = {_value(word) for word, shown in zip(argv, masked_argv(argv), strict=True) if word != shown}
    kept = {value for name, value in variables.items() if is_secret(name)}
    lines = {line.strip() for value in kept for line in value.splitlines()}  # logs are shown line by line
    parts = {one for value in (*argv, *variables.values()) for one in _in_urls(value)}
    found = hidden | kept | lines | parts
    return tuple(sorted((value for value in found if len(value) >= _LEAST), key=len, reverse=True))


def _value(word: str) -> str:
    return word.partition("=")[2] if word.startswith("-") else word


def _in_urls(value: str) -> Iterator[str]:
    """The passwords and keys of the URLs in a value, which a client may tell without the rest of them."""
    if "://" in value:
        found = [*_PASSWORD_IN_URL.findall(value), *(one for name, one in _IN_QUERY.findall(value) if is_secret(name))]
        for one in found:
            yield from (one, unquote(one))


def without(text: str, secrets: Iterable[str]) -> str:
    """A text in which secret values are masked, as a log's tail before it is shown."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return without_forms(text)


def told(text: str) -> str:
    """What a process said, without the secrets of our environment: as it may be kept and shown."""
    return without(text, secrets_in((), os.environ))
