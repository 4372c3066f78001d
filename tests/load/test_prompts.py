from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.errors import ModelError, UsageError
from perfgate.load.lengths import Fixed, Uniform
from perfgate.load.prompts import SharedPrefix, Wish, asks, asks_of_trace, body
from perfgate.load.target import Route
from perfgate.load.trace import TraceEntry
from perfgate.load.vocabulary import Vocabulary, read_tokenizer, steady_ids, vocabulary_of

VOCABULARY = Vocabulary(1000, frozenset({0, 1, 2, 999}))
WISH = Wish("m", VOCABULARY)
SEEDS = st.integers(0, 2**32)


class PairTokenizer:
    """Two letters are a token; a letter from a to j that follows itself is dropped, so lengths change in reading."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(f"{chr(97 + number // 26 % 26)}{chr(97 + number % 26)}" for number in ids)

    def encode(self, text: str) -> list[int]:
        kept = text.replace("aa", "a").replace("bb", "b")
        letters = [ord(letter) - 97 for letter in kept + "z" * (len(kept) % 2)]
        return [first * 26 + second for first, second in zip(letters[::2], letters[1::2], strict=True)]


class Wordless:
    """A tokenizer that reads every text as three tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))

    def encode(self, text: str) -> list[int]:  # noqa: ARG002 - as a tokenizer has it
        return [7, 8, 9]


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 30), SEEDS)
def test_ids_have_the_drawn_lengths_and_no_reserved_id(count: int, low: int, more: int, seed: int) -> None:
    made = asks(replace(WISH, seed=seed), count, Uniform(low, low + more), Fixed(5))

    assert len(made) == count
    for ask in made:
        assert ask.input_tokens == len(ask.body["prompt"])
        assert low <= ask.input_tokens <= low + more
        assert all(2 < token < 999 for token in ask.body["prompt"])
    assert made == asks(replace(WISH, seed=seed), count, Uniform(low, low + more), Fixed(5))


def test_ids_reach_both_ends_of_the_vocabulary() -> None:
    made = asks(replace(WISH, vocabulary=Vocabulary(8, frozenset({3}))), 10, Fixed(50), Fixed(1))

    assert {token for ask in made for token in ask.body["prompt"]} == {0, 1, 2, 4, 5, 6, 7}


def test_another_seed_gives_other_prompts() -> None:
    made = [asks(replace(WISH, seed=seed), 3, Fixed(20), Fixed(1)) for seed in (1, 2)]

    assert made[0] != made[1]


def test_output_lengths_do_not_move_the_prompts() -> None:
    one = asks(WISH, 5, Uniform(5, 9), Fixed(3))
    other = asks(WISH, 5, Uniform(5, 9), Uniform(1, 100))

    assert [ask.body["prompt"] for ask in one] == [ask.body["prompt"] for ask in other]


def test_a_body_of_completions_is_greedy_and_ignores_eos() -> None:
    (ask,) = asks(WISH, 1, Fixed(4), Fixed(16))

    assert ask.body == {
        "model": "m",
        "prompt": ask.body["prompt"],
        "max_tokens": 16,
        "temperature": 0.0,
        "ignore_eos": True,
    }
    assert json.loads(json.dumps(ask.body)) == ask.body
    assert ask.output_tokens == 16


def test_ignore_eos_is_left_out_where_it_is_not_wanted() -> None:
    assert "ignore_eos" not in body(replace(WISH, ignore_eos=False), "hello", 4)


def test_further_keys_go_over_ours() -> None:
    made = body(replace(WISH, extra={"temperature": 0.7, "seed": 3}), "hello", 4)

    assert (made["temperature"], made["seed"]) == (0.7, 3)


def test_chat_does_not_take_ids() -> None:
    with pytest.raises(UsageError, match="/v1/chat/completions takes text, not token ids"):
        asks(replace(WISH, route=Route.CHAT), 1, Fixed(4), Fixed(4))


def test_chat_takes_text_as_one_message_of_the_user() -> None:
    (ask,) = asks(replace(WISH, route=Route.CHAT, tokenizer=PairTokenizer()), 1, Fixed(4), Fixed(4))

    assert [message["role"] for message in ask.body["messages"]] == ["user"]
    assert "prompt" not in ask.body


def test_completions_do_not_take_messages() -> None:
    with pytest.raises(UsageError, match="takes a prompt, not messages"):
        body(WISH, [{"role": "user", "content": "a"}], 4)


@given(st.integers(1, 60), SEEDS)
def test_texts_have_as_many_tokens_as_wanted_where_that_can_be(tokens: int, seed: int) -> None:
    wish = replace(WISH, vocabulary=Vocabulary(676), tokenizer=PairTokenizer(), seed=seed)

    (ask,) = asks(wish, 1, Fixed(tokens), Fixed(1))

    assert ask.input_tokens == len(PairTokenizer().encode(ask.body["prompt"]))
    assert abs(ask.input_tokens - tokens) <= 1


def test_texts_are_made_of_ids_that_are_read_as_themselves() -> None:
    found = steady_ids(Vocabulary(676), PairTokenizer())

    assert len(found) == 674  # all but "aa" and "bb"
    assert not {0, 27} & set(found.tolist())


def test_texts_of_the_shipped_tokenizer_have_exactly_the_wanted_lengths() -> None:
    pytest.importorskip("tokenizers")
    model = Path(__file__).parents[2] / "fixtures/models/tiny-llama"
    tokenizer = read_tokenizer(model)
    wish = Wish("m", vocabulary_of(model), tokenizer=tokenizer, prefix=SharedPrefix(2, 16))

    made = asks(wish, 20, Uniform(20, 300), Fixed(1))

    plain = asks(replace(wish, tokenizer=None), 20, Uniform(20, 300), Fixed(1))
    assert [ask.input_tokens for ask in made] == [ask.input_tokens for ask in plain]
    assert [len(tokenizer.encode(ask.body["prompt"])) for ask in made] == [ask.input_tokens for ask in made]


def test_a_text_that_cannot_be_right_is_told_as_it_is() -> None:
    (ask,) = asks(replace(WISH, tokenizer=Wordless()), 1, Fixed(50), Fixed(1))

    assert ask.input_tokens == 3


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 19), st.floats(0, 1), SEEDS)
def test_the_wanted_share_of_prompts_begins_with_one_of_the_prefixes(
    count: int, groups: int, tokens: int, share: float, seed: int
) -> None:
    plain = replace(WISH, vocabulary=Vocabulary(10**6), seed=seed)
    wish = replace(plain, prefix=SharedPrefix(groups, tokens, share))

    made = asks(wish, count, Uniform(20, 30), Fixed(1))

    without = asks(plain, count, Uniform(20, 30), Fixed(1))
    changed = [ask for ask, before in zip(made, without, strict=True) if ask.body["prompt"] != before.body["prompt"]]
    beginnings = [tuple(ask.body["prompt"][:tokens]) for ask in changed]
    used = {one: beginnings.count(one) for one in beginnings}
    assert len(changed) == round(share * count)
    assert len(used) == min(groups, len(changed))
    assert not used or max(used.values()) - min(used.values()) <= 1
    for ask, before in zip(made, without, strict=True):
        assert ask.input_tokens == before.input_tokens
        assert ask.body["prompt"][tokens:] == before.body["prompt"][tokens:]


@pytest.mark.parametrize(
    "prefix", [SharedPrefix(0, 4), SharedPrefix(1, 0), SharedPrefix(1, 4, 1.5), SharedPrefix(1, 4, -0.1)]
)
def test_a_prefix_that_is_none_is_refused(prefix: SharedPrefix) -> None:
    with pytest.raises(UsageError, match="expected groups and tokens"):
        asks(replace(WISH, prefix=prefix), 1, Fixed(10), Fixed(1))


def test_a_prefix_as_long_as_a_prompt_is_refused() -> None:
    with pytest.raises(UsageError, match="longer than the prefix"):
        asks(replace(WISH, prefix=SharedPrefix(1, 10)), 1, Uniform(10, 20), Fixed(1))


def test_a_vocabulary_without_ids_is_refused() -> None:
    with pytest.raises(UsageError, match="has none to draw"):
        asks(replace(WISH, vocabulary=Vocabulary(2, frozenset({0, 1}))), 1, Fixed(1), Fixed(1))


# ------------------------------------------------------------------ traces


def test_equal_blocks_of_a_trace_are_equal_tokens() -> None:
    entries = [TraceEntry(0.0, 20, 4, (5, 6, 7)), TraceEntry(1.5, 17, 4, (5, 6, 8))]

    one, other = asks_of_trace(WISH, entries, block=8)

    assert (one.input_tokens, other.input_tokens) == (20, 17)
    assert one.body["prompt"][:16] == other.body["prompt"][:16]
    assert one.body["prompt"][16] != other.body["prompt"][16]
    assert [one.due_s, other.due_s] == [0.0, 1.5]


def test_prompts_and_messages_of_a_trace_are_sent_as_they_are() -> None:
    messages: tuple[dict[str, Any], ...] = ({"role": "user", "content": "hello"},)

    (prompted,) = asks_of_trace(WISH, [TraceEntry(0.0, 2, 4, prompt="one two")], 8)
    (chatted,) = asks_of_trace(replace(WISH, route=Route.CHAT), [TraceEntry(0.0, 2, 4, messages=messages)], 8)

    assert prompted.body["prompt"] == "one two"
    assert chatted.body["messages"] == list(messages)
    assert chatted.input_tokens == 2


def test_entries_without_content_are_random_ids_of_their_length() -> None:
    made = asks_of_trace(WISH, [TraceEntry(0.0, 3, 4), TraceEntry(0.0, 5, 4)], 8)

    assert [len(ask.body["prompt"]) for ask in made] == [3, 5]
    assert asks_of_trace(WISH, [], 8) == ()


# ------------------------------------------------------------------ vocabularies


def checkpoint(folder: Path, config: object, tokenizer: object) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def test_special_tokens_of_a_checkpoint_are_reserved(tmp_path: Path) -> None:
    tokens = [{"id": 3, "special": True}, {"id": 4, "special": False}, {"id": 70, "special": True}]
    config = {"vocab_size": 64, "bos_token_id": 1, "eos_token_id": [2, 60], "pad_token_id": None}

    found = vocabulary_of(checkpoint(tmp_path, config, {"added_tokens": tokens}))

    assert found == Vocabulary(64, frozenset({1, 2, 3, 60}))


def test_a_nested_configuration_tells_its_text_model(tmp_path: Path) -> None:
    assert vocabulary_of(checkpoint(tmp_path, {"text_config": {"vocab_size": 8}}, {})).size == 8


def test_the_shipped_model_has_a_vocabulary() -> None:
    found = vocabulary_of(Path(__file__).parents[2] / "fixtures/models/tiny-llama")

    assert found.size > len(found.reserved)
    assert np.all(found.ids() < found.size)


@pytest.mark.parametrize("config", [{}, [], {"vocab_size": "many"}, {"vocab_size": None}])
def test_a_checkpoint_that_does_not_tell_is_refused(tmp_path: Path, config: object) -> None:
    with pytest.raises(ModelError, match="does not tell the vocabulary"):
        vocabulary_of(checkpoint(tmp_path, config, {}))


def test_a_checkpoint_without_its_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        vocabulary_of(tmp_path)
