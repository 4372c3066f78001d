"""Bodies of /v1/completions: what a request asks for, or why it is refused."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from perfgate.errors import PerfgateError

_MOST_ID = (1 << 32) - 1
_DEFAULT_TOKENS = 16  # as OpenAI's route has it
_NO_EFFECT = {
    "n": 1,
    "best_of": 1,
    "echo": False,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "repetition_penalty": 1,
}
_MUST_BE_ABSENT = (
    *("logprobs", "prompt_logprobs", "suffix", "stop", "stop_token_ids", "logit_bias", "response_format"),
    *("guided_json", "guided_regex", "guided_choice", "structured_outputs", "return_token_ids", "use_beam_search"),
)


class RefusalError(PerfgateError):
    """A request that is answered with a status and one line instead of tokens."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Limits:
    """What requests may ask. most_prompt: None: only the sum is bounded; vocabulary: how many ids, None: unknown."""

    model: str
    most_tokens: int  # prompt and output together
    most_prompt: int | None = None
    vocabulary: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A request for `max_tokens` tokens, greedy, end of sequence ignored."""

    prompt: tuple[int, ...] | str
    max_tokens: int
    stream: bool
    include_usage: bool
    continuous_usage: bool


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class _Body(msgspec.Struct):
    prompt: msgspec.Raw
    model: str | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: float | None = None
    ignore_eos: bool | None = None


_BODY = msgspec.json.Decoder(_Body)
_PROMPT: msgspec.json.Decoder[str | list[int]] = msgspec.json.Decoder(str | list[int])
_PROMPTS: msgspec.json.Decoder[list[str | list[int]]] = msgspec.json.Decoder(list[str | list[int]])


def completion(body: bytes, limits: Limits) -> Completion:
    """What a body asks for.

    Raises:
        RefusalError: it is no JSON of this route, or asks for what is not done here.
    """
    try:
        asked = _BODY.decode(body)
        rest = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _bad(f"the body is not a request of /v1/completions: {exc}") from exc
    _check_model(asked.model, limits)
    _check_sampling(asked, rest)
    tokens = _DEFAULT_TOKENS if asked.max_tokens is None else asked.max_tokens
    if tokens < 1:
        raise _bad(f"max_tokens: found {tokens}, expected 1 or more")
    if asked.min_tokens is not None and asked.min_tokens > tokens:
        raise _bad(f"min_tokens: found {asked.min_tokens}, expected at most max_tokens, {tokens}")
    prompt = _prompt(asked.prompt, limits)
    if tokens > limits.most_tokens:
        raise _bad(f"max_tokens: found {tokens}, the engine's max_seq_len is {limits.most_tokens}")
    if not isinstance(prompt, str):
        check_length(len(prompt), tokens, limits)
    options = asked.stream_options
    if options and not asked.stream:
        raise _bad("stream_options: set only together with stream: true")
    return Completion(
        prompt,
        tokens,
        stream=bool(asked.stream),
        include_usage=bool(options and options.include_usage),
        continuous_usage=bool(options and options.continuous_usage_stats),
    )


def check_length(prompt: int, tokens: int, limits: Limits) -> None:
    """See that a prompt of so many tokens and its output fit.

    Raises:
        RefusalError: they do not.
    """
    if not prompt:
        raise _bad("prompt: found no token, expected 1 or more")
    if prompt + tokens > limits.most_tokens:
        raise _bad(
            f"{prompt} prompt tokens and max_tokens {tokens} are more than the engine's max_seq_len, "
            f"{limits.most_tokens}"
        )
    if limits.most_prompt is not None and prompt > limits.most_prompt:
        raise _bad(
            f"{prompt} prompt tokens are more than the engine's max_num_tokens, {limits.most_prompt}, "
            "which without chunked_prefill must hold a whole prompt"
        )


def _bad(message: str) -> RefusalError:
    return RefusalError(HTTPStatus.BAD_REQUEST, message)


def _check_model(model: str | None, limits: Limits) -> None:
    if model is not None and model != limits.model:
        raise RefusalError(HTTPStatus.NOT_FOUND, f"there is no model '{model[:80]}' here, only '{limits.model}'")


def _check_sampling(asked: _Body, rest: dict[str, msgspec.Raw]) -> None:
    if asked.temperature:
        raise _bad(f"temperature: found {asked.temperature:g}, these engines are greedy: set 0 or leave it out")
    if asked.ignore_eos is False:
        raise _bad("ignore_eos: found false, these engines generate exactly max_tokens: set true or leave it out")
    for name, harmless in _NO_EFFECT.items():
        found = msgspec.json.decode(rest[name]) if name in rest else None
        if found is not None and found != harmless:
            raise _bad(f"{name}: found {str(found)[:40]}, expected {str(harmless).lower()}: nothing else is done here")
    for name in _MUST_BE_ABSENT:
        if name in rest and msgspec.json.decode(rest[name]) not in (None, False, [], {}):
            raise _bad(f"{name} is not done here: leave it out")


def _prompt(raw: msgspec.Raw, limits: Limits) -> tuple[int, ...] | str:
    found = _one_prompt(raw)
    if isinstance(found, str):
        return found
    most = _MOST_ID if limits.vocabulary is None else limits.vocabulary - 1
    if found and not (min(found) >= 0 and max(found) <= most):
        raise _bad(f"prompt: found the token ids {min(found)} to {max(found)}, expected 0 to {most}")
    return tuple(found)


def _one_prompt(raw: msgspec.Raw) -> str | list[int]:
    try:
        return _PROMPT.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            prompts = _PROMPTS.decode(raw)
            if len(prompts) == 1:
                return prompts[0]
        raise _bad(f"prompt: expected one text or one list of token ids ({exc}); send others on their own") from exc
