"""Keeping secrets out of what is recorded and shown: names that hold one, and the values seen there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

MASK = "***"
_SECRET = re.compile(
    r"secret|passw|passphrase|credential|cookie|authorization|api_?key|access_?key|private_?key"
    r"|(?:^|_)(?:key|keys|token|auth|pat|pass)(?:_?\d+)?$"
    r"|_pwd(?:_?\d+)?$"  # PWD itself is the folder that we are in
    r"|(?:^|_)(?:hf|hub|hugging_?face|github|gh|gitlab|git|access|auth|api|bearer|refresh|session|user|bot|slack|npm|pypi"
    r"|ngc|wandb|aws|azure|vault|ci|deploy|service|client)_tokens(?:_?\d+)?$"  # other tokens are counted, not kept
)
_HARMLESS = re.compile(
    r"(?:^|_)(?:may|to|no|forward|backward|first|second|single|one|two|multi|pre|post|fusion|graph)_pass(?:_?\d+)?$"
)
_SIGNATURE = re.compile(r"(?:^|_)sig(?:nature)?$")  # of a URL that opens something by itself
_USER_IN_URL = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_BEFORE_PLACE = re.compile(r"^([^:/?#@]*://)?.*@", re.DOTALL)
_AFTER_PLACE = re.compile(r"(?<=[?#]).+", re.DOTALL)
_PASSWORD_IN_URL = re.compile(r"(?<=://)[^/\s@:]*:([^/\s@]+)(?=@)")
_IN_QUERY = re.compile(r"(?<=[?&])([\w.-]+)=([^&#\s'\"]+)")
_HEADER = re.compile(r"(?i)(\b(?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?)(?:(?:bearer|basic|token)\s+)?[^\s'\",]+")
_KEY_HEADER = re.compile(r"(?i)(?<![\w-])((?:x-(?:\w+-)*)?api-key['\"]?\s*[:=]\s*['\"]?)[^\s'\",]+")
_BEARER = re.compile(r"(?i)(\bbearer\s+)[\w.~+/=-]{8,}")
_SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|(?:sk|nvapi|glpat)-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}"
    r"|github_pat_[A-Za-z0-9_]{16,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|A[KS]IA[0-9A-Z]{16}|hvs\.[A-Za-z0-9_-]{16,})"
)
_PREFIXES = (
    "hf_", "sk-", "nvapi-", "glpat-", "github_pat_", "xox", "AKIA", "ASIA", "hvs.",
    *(f"gh{one}_" for one in "pousr"),
)  # fmt: skip
_LEAST = 6  # characters of a value that is masked wherever it appears: shorter ones are words of their own

_MATTERING = re.compile(  # environment variables that change an engine's speed or bits
    r"(?:CUDA|NCCL|NVIDIA|VLLM|TLLM|TRTLLM|TRT|SGLANG|SGL|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|FLASHINFER|OMP|MKL|KMP"
    r"|UCX|OMPI|HF|TRANSFORMERS|TOKENIZERS|ROCM|HIP|HSA|GLIBC|MALLOC|PYTHON)_\w+"
    r"|LD_PRELOAD|LD_LIBRARY_PATH|PYTHONHASHSEED|PYTHONPATH|OMP_NUM_THREADS"
)


def is_secret(name: str) -> bool:
    """Whether what stands under a name (a variable, an option, a key) is not to be written down."""
    plain = _plain(name)
    return bool(_SECRET.search(plain)) and not _HARMLESS.search(plain)


def _plain(name: str) -> str:
    return name.lower().lstrip("-").replace("-", "_").replace(".", "_")


def _opens(parameter: str) -> bool:
    """Whether what stands under this name in a URL lets whoever has it in."""
    return is_secret(parameter) or bool(_SIGNATURE.search(_plain(parameter)))


def masked_url(url: str) -> str:
    """A URL that is refused, without its user, query and fragment: also one that is too odd to be parsed."""
    return without_forms(_AFTER_PLACE.sub(MASK, _BEFORE_PLACE.sub(rf"\1{MASK}@", url)))


def without_forms(text: str) -> str:
    """A text in which everything is masked that its form gives away: users and queries of URLs, headers, tokens."""
    text = _IN_QUERY.sub(lambda found: f"{found[1]}={MASK}" if _opens(found[1]) else found[0], text)
    text = _USER_IN_URL.sub(MASK, text)
    words = text.lower()  # to look for a word first is far quicker, and large logs hold none of these
    if "authorization" in words:
        text = _HEADER.sub(rf"\1{MASK}", text)
    if "api-key" in words:
        text = _KEY_HEADER.sub(rf"\1{MASK}", text)
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
        found = [*_PASSWORD_IN_URL.findall(value), *(one for name, one in _IN_QUERY.findall(value) if _opens(name))]
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
