from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.engines.redaction import is_secret, masked, masked_argv, masked_url, mattering, secrets_in, without


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "--api-key", "--hf-token", "apiKey", "OPENAI_API_KEY", "password"),
        *("X-Authorization", "VLLM_API_KEY", "cookie", "credentials", "ssl.key"),
        *("DB_PASS", "--pass", "DB_PASS_2", "MYSQL_PWD", "ACCESSKEY", "AWS_ACCESS_KEY_ID", "PRIVATEKEY", "privateKey"),
        *("HF_TOKENS", "GITHUB_TOKEN_2", "API_TOKENS_3", "access_tokens", "SSH_KEY_2"),
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("max_num_tokens", "tokenizer", "TOKENIZERS_PARALLELISM", "eos_token_id", "--max-num-batched-tokens"),
        *("monkey", "keyboard", "BYPASS", "COMPASS", "PASSES", "TOKENS_PER_S", "MAX_TOKENS", "OUTPUT_TOKENS"),
        *("TOKENIZER", "tokens", "new_tokens", "max_new_tokens", "num_speculative_tokens", "skip_special_tokens"),
        *("output_tokens_per_s", "token_ids", "forward_pass", "may_pass", "PWD", "OLDPWD", "--pass-config"),
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
        ("X-Api-Key: abcdef", "X-Api-Key: ***"),
        ("{'x-goog-api-key': 'abcdef'}, api-key: ghi", "{'x-goog-api-key': '***'}, api-key: ***"),
        ("argument --api-key: expected one argument", "argument --api-key: expected one argument"),
        ("http://h/b?sv=1&sig=ab%2Bc&se=2", "http://h/b?sv=1&sig=***&se=2"),
        (
            "http://h/b?X-Amz-Credential=AB/us&X-Amz-Date=1&X-Amz-Signature=cd&signature=ef&signal=g",
            "http://h/b?X-Amz-Credential=***&X-Amz-Date=1&X-Amz-Signature=***&signature=***&signal=g",
        ),
        ("github_pat_11ABCDEFG0abcdefghij_klm is bad", "*** is bad"),
        ("nvapi-abcdefghijklmnop-12 glpat-abcdefghijklmnop1234", "*** ***"),
        ("xoxb-123456789012-abc xoxp-123456789012-abc", "*** ***"),
        ("ASIAABCDEFGHIJKLMNOP AKIAABCDEFGHIJKLMNOP hvs.CAESIAbcdefghijkl", "*** *** ***"),
        ("hvs.x, foxbox-1, EURASIA, nvapi-key", "hvs.x, foxbox-1, EURASIA, nvapi-key"),
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


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:pw@h:1/v1?api_key=abc", "http://***@h:1/v1?***"),
        ("http://user:p/w?@h", "http://***@h"),
        ("user:pw@h", "***@h"),
        ("http://h#abc", "http://h#***"),
        ("ftp://h/v1", "ftp://h/v1"),
        ("localhost:8000", "localhost:8000"),
    ],
)
def test_of_a_url_that_is_refused_only_the_place_is_shown(url: str, shown: str) -> None:
    assert masked_url(url) == shown
