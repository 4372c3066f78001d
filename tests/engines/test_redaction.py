from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.engines.redaction import is_secret, masked, masked_argv, mattering, secrets_in, without


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "--api-key", "--hf-token", "apiKey", "OPENAI_API_KEY", "password"),
        *("X-Authorization", "VLLM_API_KEY", "cookie", "credentials", "ssl.key"),
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("max_num_tokens", "tokenizer", "TOKENIZERS_PARALLELISM", "eos_token_id", "--max-num-batched-tokens"),
        *("monkey", "keyboard"),
    ],
)
def test_names_of_no_secret_are_left(name: str) -> None:
    assert not is_secret(name)


def test_secret_options_are_masked_in_every_form() -> None:
    argv = [
        "serve",
        "m",
        "--api-key",
        "one",
        "two",
        "--port",
        "1",
        "--hf-token=three",
        "--url=http://u:four@h/",
        "http://u:five@h",
    ]

    assert masked_argv(argv) == (
        *("serve", "m", "--api-key", "***", "***", "--port", "1", "--hf-token=***"),
        *("--url=http://***@h/", "http://***@h"),
    )


def test_secrets_are_masked_at_any_depth() -> None:
    told = {
        "a": [{"api_key": "x", "hf_token": {"b": 1}, "eos_token": "</s>"}],
        "max_num_tokens": 5,
        "key": None,
        "n_key": 7,
    }

    assert masked(told) == {
        "a": [{"api_key": "***", "hf_token": "***", "eos_token": "***"}],
        "max_num_tokens": 5,
        "key": None,
        "n_key": 7,
    }


def test_only_variables_that_matter_are_kept() -> None:
    variables = {
        "CUDA_VISIBLE_DEVICES": "0",
        "HF_TOKEN": "x",
        "HOME": "/root",
        "NCCL_ALGO": "Ring",
        "VLLM_API_KEY": "x",
    }

    assert mattering(variables) == {"CUDA_VISIBLE_DEVICES": "0", "NCCL_ALGO": "Ring"}


@given(st.text("abcdef=/+-", min_size=6, max_size=20))
def test_a_secret_of_the_command_line_never_stays_in_a_text(secret: str) -> None:
    key = f"k{secret}"
    for argv in ([f"--api-key={key}"], ["--api-key", key]):
        assert key not in without(f"before {key} after", secrets_in(argv, {}))


def test_short_values_are_not_masked_everywhere() -> None:
    assert secrets_in(["--api-key", "a"], {"HF_TOKEN": "yes"}) == ()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://me:pa55@h/v1?model=m&api_key=abc123&n=1", "GET https://***@h/v1?model=m&api_key=***&n=1"),
        ("Authorization: Bearer abcdef123456", "Authorization: ***"),
        ("{'Authorization': 'Basic bWU6cGE1NQ=='}", "{'Authorization': '***'}"),
        ("the header was 'Bearer abcdef123456'", "the header was 'Bearer ***'"),
        ("token hf_abcdefghijklmnop1234 is not valid", "token *** is not valid"),
        ("Incorrect API key provided: sk-proj-abcdefghijklmnop", "Incorrect API key provided: ***"),
        ("eos_token=2, ?max_tokens=16&seed=1", "eos_token=2, ?max_tokens=16&seed=1"),
    ],
)
def test_secrets_are_masked_by_their_form(text: str, shown: str) -> None:
    assert without(text, ()) == shown


@pytest.mark.parametrize(
    ("variable", "parts"),
    [
        ("postgres://u:pa55word@h/db", {"pa55word"}),
        ("postgres://u:pa%2055word@h/db", {"pa%2055word", "pa 55word"}),
        ("https://h/m?n=123456&api_key=abc123def", {"abc123def"}),
        ("https://h/m?max_tokens=123456", set()),
        ("https://someone@h/m", set()),
    ],
)
def test_passwords_and_keys_in_urls_of_the_environment_are_secrets(variable: str, parts: set[str]) -> None:
    assert set(secrets_in((), {"PLACE": variable})) == parts


def test_each_line_of_a_variable_that_is_a_secret_is_one() -> None:
    assert secrets_in((), {"SSH_KEY": "first line\n  second line\n"})[1:] == ("second line", "first line")
