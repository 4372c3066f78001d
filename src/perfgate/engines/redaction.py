"""Keeping secrets out of what is recorded and shown: names that hold one, and the values seen there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MASK = "***"
_SECRET = re.compile(
    r"secret|passw|passphrase|credential|cookie|authorization|api_?key"
    r"|(?:^|_)(?:key|keys|token|auth|pat)$"
)
_USER_IN_URL = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_LEAST = 6  # characters of a value that is masked wherever it appears: shorter ones are words of their own

_MATTERING = re.compile(  # environment variables that change an engine's speed or bits
    r"(?:CUDA|NCCL|NVIDIA|VLLM|TLLM|TRTLLM|TRT|SGLANG|SGL|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|FLASHINFER|OMP|MKL|KMP"
    r"|UCX|OMPI|HF|TRANSFORMERS|TOKENIZERS|ROCM|HIP|HSA|GLIBC|MALLOC|PYTHON)_\w+"
    r"|LD_PRELOAD|LD_LIBRARY_PATH|PYTHONHASHSEED|PYTHONPATH|OMP_NUM_THREADS"
)


def is_secret(name: str) -> bool:
    """Whether what stands under a name (a variable, an option, a key) is not to be written down."""
    return bool(_SECRET.search(name.lower().lstrip("-").replace("-", "_").replace(".", "_")))


def mattering(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that matter to an engine, without any that holds a secret."""
    return {
        name: _USER_IN_URL.sub(MASK, value)
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
            out.append(f"{name}={MASK}" if is_secret(name) and sign else _USER_IN_URL.sub(MASK, word))
        else:
            out.append(MASK if is_hidden else _USER_IN_URL.sub(MASK, word))
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
            return _USER_IN_URL.sub(MASK, value)
        case _:
            return value


def secrets_in(argv: Sequence[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    """The secret values of a command line and of an environment, the longest first."""
    hidden = {_value(word) for word, shown in zip(argv, masked_argv(argv), strict=True) if word != shown}
    values = hidden | {value for name, value in variables.items() if is_secret(name)}
    return tuple(sorted((value for value in values if len(value) >= _LEAST), key=len, reverse=True))


def _value(word: str) -> str:
    return word.partition("=")[2] if word.startswith("-") else word


def without(text: str, secrets: Iterable[str]) -> str:
    """A text in which secret values are masked, as a log's tail before it is shown."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return _USER_IN_URL.sub(MASK, text)
