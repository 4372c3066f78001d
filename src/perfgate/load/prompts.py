"""What is sent: prompts of wanted lengths, as token ids or text, in bodies of the OpenAI routes.

Everything follows from a seed; lengths, contents and prefixes have streams of their own, so that
changing one leaves the others as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from perfgate.errors import UsageError
from perfgate.load.ask import Ask
from perfgate.load.lengths import Lengths
from perfgate.load.target import Route
from perfgate.load.trace import TraceEntry
from perfgate.load.vocabulary import Ids, Tokenizer, Vocabulary, steady_ids

_ATTEMPTS = 10  # at a text of exactly the wanted number of tokens


class _Stream(IntEnum):
    """What randomness is for; the numbers are part of what a seed means."""

    INPUT_LENGTHS = 0
    OUTPUT_LENGTHS = 1
    CONTENTS = 2
    PREFIXES = 3
    SHARING = 4
    BLOCKS = 5


def _random(seed: int, stream: _Stream, *more: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream, *more])


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """Prompts that begin alike: `share` of them with one of `groups` prefixes of `tokens` tokens, taken in turn.

    A prompt's length stays as drawn; the prefix is its beginning.
    """

    groups: int
    tokens: int
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What requests look like. extra: further keys of every body, over ours (temperature, stop...)."""

    model: str
    vocabulary: Vocabulary
    route: Route = Route.COMPLETIONS
    tokenizer: Tokenizer | None = None  # with it prompts are texts; without they are token ids
    prefix: SharedPrefix | None = None
    ignore_eos: bool = True
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


def asks(wish: Wish, count: int, input_lengths: Lengths, output_lengths: Lengths) -> tuple[Ask, ...]:
    """`count` requests; where a text of exactly the drawn length is not found, the nearest one is told as it is.

    Raises:
        UsageError: token ids for the chat route, a prefix as long as a prompt, or no ids to draw from.
    """
    _refuse(wish, input_lengths)
    wanted = input_lengths.draw(count, _random(wish.seed, _Stream.INPUT_LENGTHS))
    outputs = output_lengths.draw(count, _random(wish.seed, _Stream.OUTPUT_LENGTHS))
    prompts = _with_prefixes(wish, _contents(wish, wanted))
    return tuple(_ask(wish, ids, int(tokens)) for ids, tokens in zip(prompts, outputs, strict=True))


def asks_of_trace(wish: Wish, entries: Sequence[TraceEntry], block: int) -> tuple[Ask, ...]:
    """A request for each entry of a trace, due as it says.

    A prompt or messages of the trace are sent as they are. Where it has hash ids, blocks of `block`
    tokens with the same id are the same tokens, so that a prefix cache meets what the trace saw.

    Raises:
        UsageError: token ids or a prompt for the chat route, messages for the other, or no ids to draw from.
    """
    lengths = np.array([entry.input_tokens for entry in entries], dtype=np.int64)
    return tuple(_traced(wish, entry, ids, block) for entry, ids in zip(entries, _contents(wish, lengths), strict=True))


def _refuse(wish: Wish, lengths: Lengths) -> None:
    prefix = wish.prefix
    if prefix and not (prefix.groups >= 1 and prefix.tokens >= 1 and 0 <= prefix.share <= 1):
        raise UsageError(f"found {prefix}, expected groups and tokens of 1 or more and a share from 0 to 1")
    if prefix and lengths.least <= prefix.tokens:
        raise UsageError(
            f"prompts of {lengths.least} tokens cannot begin with a prefix of {prefix.tokens} and go on: "
            "let them be longer than the prefix"
        )


# ------------------------------------------------------------------ token ids


def _drawable(wish: Wish) -> Ids:
    return steady_ids(wish.vocabulary, wish.tokenizer) if wish.tokenizer else wish.vocabulary.ids()


def _contents(wish: Wish, lengths: Ids) -> list[Ids]:
    """Random ids for every prompt: drawn at once, then cut."""
    drawn = _random(wish.seed, _Stream.CONTENTS).choice(_drawable(wish), int(lengths.sum()))
    return np.split(drawn, np.cumsum(lengths)[:-1]) if len(lengths) else []


def _with_prefixes(wish: Wish, prompts: Sequence[Ids]) -> list[Ids]:
    """The same prompts, of which the wanted share begins with the groups' prefixes, in turn."""
    if wish.prefix is None:
        return list(prompts)
    groups, tokens = wish.prefix.groups, wish.prefix.tokens
    prefixes = _random(wish.seed, _Stream.PREFIXES).choice(_drawable(wish), (groups, tokens))
    order = _random(wish.seed, _Stream.SHARING).permutation(len(prompts))
    out = list(prompts)
    for turn, number in enumerate(sorted(order[: round(wish.prefix.share * len(prompts))].tolist())):
        out[number] = np.concatenate([prefixes[turn % groups], out[number][tokens:]])
    return out


def _of_blocks(wish: Wish, entry: TraceEntry, block: int) -> Ids:
    allowed = _drawable(wish)
    blocks = [_random(wish.seed, _Stream.BLOCKS, number).choice(allowed, block) for number in entry.hash_ids]
    return np.concatenate(blocks)[: entry.input_tokens]


# ------------------------------------------------------------------ requests


def _ask(wish: Wish, ids: Ids, output_tokens: int, due_s: float | None = None) -> Ask:
    if wish.tokenizer is None:
        prompt: str | list[int] = ids.tolist()
        return Ask(body(wish, prompt, output_tokens), len(ids), output_tokens, due_s)
    text, tokens = text_of(ids, wish)
    return Ask(body(wish, text, output_tokens), tokens, output_tokens, due_s)


def _traced(wish: Wish, entry: TraceEntry, ids: Ids, block: int) -> Ask:
    own = entry.messages or entry.prompt
    if own is not None:
        return Ask(body(wish, own, entry.output_tokens), entry.input_tokens, entry.output_tokens, entry.due_s)
    return _ask(wish, _of_blocks(wish, entry, block) if entry.hash_ids else ids, entry.output_tokens, entry.due_s)


def body(wish: Wish, prompt: Prompt, output_tokens: int) -> dict[str, Any]:
    """The JSON body of a request, without stream options: greedy, `output_tokens` at most.

    Raises:
        UsageError: the route does not take this kind of prompt.
    """
    common = {"model": wish.model, **_content(wish.route, prompt), "max_tokens": output_tokens, "temperature": 0.0}
    return {**common, **({"ignore_eos": True} if wish.ignore_eos else {}), **wish.extra}


Prompt = str | list[int] | Sequence[Mapping[str, Any]]  # a text, token ids, or the messages of a chat


def _content(route: Route, prompt: Prompt) -> dict[str, Any]:
    is_messages = not isinstance(prompt, str) and all(isinstance(part, Mapping) for part in prompt)
    match route:
        case Route.COMPLETIONS if is_messages:
            raise UsageError(f"{route.value} takes a prompt, not messages: send them to {Route.CHAT.value}")
        case Route.COMPLETIONS:
            return {"prompt": prompt}
        case Route.CHAT if isinstance(prompt, str):
            return {"messages": [{"role": "user", "content": prompt}]}
        case Route.CHAT if is_messages:
            return {"messages": list(prompt)}
        case _:
            raise UsageError(
                f"{route.value} takes text, not token ids: name a tokenizer, or send ids to {Route.COMPLETIONS.value}"
            )


# ------------------------------------------------------------------ texts


def text_of(ids: Ids, wish: Wish) -> tuple[str, int]:
    """A text of as many tokens as `ids` has, and how many it has when it is read again.

    Decoding ids and encoding the text seldom gives the same ids, so it is cut or lengthened until
    the number is right; where it never is, the nearest text found is returned.
    """
    assert wish.tokenizer is not None
    best = ("", 0)
    spare = _random(wish.seed, _Stream.CONTENTS, *ids[:4].tolist())
    for _ in range(_ATTEMPTS):
        text = wish.tokenizer.decode(ids.tolist())
        found = np.array(wish.tokenizer.encode(text), dtype=np.int64)
        if abs(len(found) - len(ids)) < abs(best[1] - len(ids)):
            best = (text, len(found))
        if len(found) == len(ids):
            break
        more = spare.choice(_drawable(wish), max(0, len(ids) - len(found)))
        ids = np.concatenate([found[: len(ids)], more])
    return best
