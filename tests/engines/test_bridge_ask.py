"""What requests to a served engine may ask."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.engines.bridge_ask import Completion, Limits, RefusalError, completion
from perfgate.load.prompts import Wish, body
from perfgate.load.target import Route, Target
from perfgate.load.vocabulary import Vocabulary

LIMITS = Limits("m", most_tokens=100, most_prompt=50, vocabulary=256)
PLAIN = {"model": "m", "prompt": [1, 2, 3], "max_tokens": 4}


def asked(**keys: Any) -> Completion:
    return completion(json.dumps({**PLAIN, **keys}).encode(), LIMITS)


def test_what_our_own_client_sends_is_taken() -> None:
    wish = Wish("m", Vocabulary(256), Route.COMPLETIONS)
    sent = Target("http://127.0.0.1:1").body(body(wish, [1, 2, 3], 4))

    found = completion(json.dumps(sent).encode(), LIMITS)

    assert found == Completion((1, 2, 3), 4, stream=True, include_usage=True, continuous_usage=True)


@pytest.mark.parametrize(
    ("keys", "prompt"),
    [
        ({}, (1, 2, 3)),
        ({"prompt": "a text"}, "a text"),
        ({"prompt": ["a text"]}, "a text"),
        ({"prompt": [[7, 8]]}, (7, 8)),
        ({"ignore_eos": True, "temperature": 0, "n": 1, "echo": False, "stop": None, "seed": 5, "top_p": 1}, (1, 2, 3)),
        ({"min_tokens": 4, "user": "x", "unknown": {"deep": 1}}, (1, 2, 3)),
    ],
)
def test_what_changes_nothing_is_taken(keys: dict[str, Any], prompt: tuple[int, ...] | str) -> None:
    assert asked(**keys).prompt == prompt


@pytest.mark.parametrize(
    ("keys", "status", "words"),
    [
        ({"ignore_eos": False}, 400, "ignore_eos: found false"),
        ({"temperature": 0.7}, 400, "temperature: found 0.7"),
        ({"n": 2}, 400, "n: found 2"),
        ({"echo": True}, 400, "echo: found True"),
        ({"logprobs": 3}, 400, "logprobs is not done here"),
        ({"stop": ["x"]}, 400, "stop is not done here"),
        ({"return_token_ids": True}, 400, "return_token_ids is not done here"),
        ({"max_tokens": 0}, 400, "max_tokens: found 0"),
        ({"max_tokens": "4"}, 400, "Expected `int | null`, got `str`"),
        ({"min_tokens": 5}, 400, "min_tokens: found 5"),
        ({"model": "other"}, 404, "no model 'other' here, only 'm'"),
        ({"prompt": []}, 400, "found no token"),
        ({"prompt": ["a", "b"]}, 400, "one text or one list of token ids"),
        ({"prompt": {}}, 400, "one text or one list of token ids"),
        ({"prompt": [[1], [2]]}, 400, "one text or one list of token ids"),
        ({"prompt": [10**20]}, 400, "expected 0 to 255"),
        ({"prompt": [1, "b"]}, 400, "one text or one list of token ids"),
        ({"prompt": [1, 256]}, 400, "found the token ids 1 to 256, expected 0 to 255"),
        ({"prompt": [-1, 5]}, 400, "found the token ids -1 to 5"),
        ({"prompt": [1] * 49, "max_tokens": 52}, 400, "more than the engine's max_seq_len, 100"),
        ({"prompt": [1] * 51}, 400, "more than the engine's max_num_tokens, 50"),
        ({"prompt": "text", "max_tokens": 101}, 400, "max_seq_len is 100"),
        ({"stream_options": {"include_usage": True}}, 400, "only together with stream: true"),
    ],
)
def test_what_is_not_done_is_refused_in_words(keys: dict[str, Any], status: int, words: str) -> None:
    with pytest.raises(RefusalError) as caught:
        asked(**keys)

    assert caught.value.status == status
    assert words in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"max_tokens": 4}', b"\xff"])
def test_bodies_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(RefusalError, match="not a request of /v1/completions"):
        completion(data, LIMITS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda of: st.lists(of, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from([*PLAIN, "stream", "n", "temperature", "stop", "stream_options", "best_of"]), JSON)
)
def test_any_json_is_taken_within_the_limits_or_refused(keys: dict[str, Any]) -> None:
    with suppress(RefusalError):
        assert 1 <= asked(**keys).max_tokens <= 100
