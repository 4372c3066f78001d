"""The user's builder command: filled without a shell."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perfgate.case import EngineSpec, KvDtype, Precision
from perfgate.engines.tensorrt_llm_command import command_of
from perfgate.errors import UsageError

SPEC = EngineSpec("e", Path("/models/my model"), "tensorrt_llm", Precision.FP16, max_input_len=700, tp=2)
OUT = Path("/cache/engine")
TAIL = " {output_dir}"


def filled(template: str, spec: EngineSpec = SPEC) -> tuple[str, ...]:
    return command_of(replace(spec, builder_cmd=template), OUT)


def test_every_placeholder_that_is_promised_is_filled() -> None:
    made = filled(
        "build.sh {model_name} {dtype} {quantization_arg} {tp_size} {max_batch_size} {max_input_len} {max_output_len} "
        "{kv_cache_dtype} {use_context_fmha} {remove_input_padding} {use_gpt_attention_plugin} {output_dir}",
        replace(SPEC, precision=Precision.INT8_WO, kv_cache_dtype=KvDtype.INT8, context_fmha=False),
    )

    assert made == (
        *("build.sh", "/models/my model", "auto", "--use_weight_only", "--weight_only_precision", "int8"),
        *("2", "8", "700", "324", "int8", "disable", "enable", "auto", "/cache/engine"),
    )


def test_placeholder_inside_a_word_stays_one_word() -> None:
    assert filled("b --model={model_name}/x --out={output_dir}") == (
        *("b", "--model=/models/my model/x", "--out=/cache/engine"),
    )


def test_argument_without_quantisation_is_no_word_at_all() -> None:
    assert filled("b {quantization_arg} {output_dir}") == ("b", "/cache/engine")


def test_plugin_is_the_users() -> None:
    spec = replace(SPEC, engine_args=(("gpt_attention_plugin", "float16"),))

    assert filled("b {use_gpt_attention_plugin} {output_dir}", spec)[1] == "float16"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("", "builder_cmd is empty"),
        ("b 'x", "cannot be split into words (No closing quotation)"),
        ("b {model} {output_dir}", "the placeholder {model}; there are checkpoint_dir"),
        ("b {max_batchsize} {output_dir}", "did you mean 'max_batch_size'?"),
        ("b {model_name}", "does not say {output_dir}"),
        ("cd x && b {output_dir}", "'&&', which needs a shell"),
        ("cd x; b {output_dir}", "'x;', which needs a shell"),
        ("b {output_dir} > log", "'>', which needs a shell"),
    ],
)
def test_template_that_cannot_be_filled_is_refused(template: str, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        filled(template)

    assert told in str(raised.value)


def test_length_that_the_spec_does_not_say_is_asked_for() -> None:
    with pytest.raises(UsageError, match="set max_input_len"):
        filled("b {max_output_len} {output_dir}", replace(SPEC, max_input_len=None))


WORD = st.text(st.characters(exclude_characters="{}\0", codec="utf-8"), min_size=1, max_size=12)


@given(
    st.lists(WORD.filter(lambda word: word.strip("|&;<>") and not word.endswith(";") and word != "2>&1"), min_size=1)
)
def test_words_reach_the_program_as_they_were_quoted(words: list[str]) -> None:
    assert filled(shlex.join(words) + TAIL) == (*words, str(OUT))


def told(template: str) -> tuple[tuple[str, ...], str]:
    """The words of a command, or why there are none."""
    try:
        return filled(template), ""
    except UsageError as exc:
        return (), str(exc)


@given(st.text(max_size=60))
@example("\\")  # it escapes the blank, which then is part of the word
def test_any_text_is_filled_or_refused_with_a_reason(text: str) -> None:
    words, refusal = told(text + TAIL)

    assert refusal.startswith("builder_cmd ") or words[-1].endswith(str(OUT))
