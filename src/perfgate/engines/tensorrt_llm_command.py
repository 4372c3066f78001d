"""The user's own builder command: a template of words and placeholders, never given to a shell."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from perfgate.case import EngineSpec, KvDtype, Precision
from perfgate.engines.tensorrt_llm_checkpoint import DTYPES
from perfgate.errors import UsageError
from perfgate.schema import nearest

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_SHELL_WORDS = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1"})
_QUANTISATION = {  # what convert_checkpoint.py takes for a precision
    Precision.FP8: ("--use_fp8",),
    Precision.INT8_WO: ("--use_weight_only", "--weight_only_precision", "int8"),
    Precision.INT4_WO: ("--use_weight_only", "--weight_only_precision", "int4"),
    Precision.INT8_SQ: ("--smoothquant", "0.5", "--per_token", "--per_channel"),
    Precision.INT4_AWQ: ("--use_weight_only", "--weight_only_precision", "int4_awq"),
    Precision.INT4_GPTQ: ("--use_weight_only", "--weight_only_precision", "int4_gptq", "--per_group"),
}
_SWITCH = {True: "enable", False: "disable", None: "enable"}  # None: the default of trtllm-build


def check_template(spec: EngineSpec) -> None:
    """See that the template can be filled.

    Raises:
        UsageError: see `command_of`.
    """
    command_of(spec, Path("engine"))


def command_of(spec: EngineSpec, output: Path) -> tuple[str, ...]:
    """The argument list of the spec's builder_cmd; the engine is to lie in `output` afterwards.

    A word that is one placeholder alone may become several words, or none ({quantization_arg}).

    Raises:
        UsageError: quotes do not match, a placeholder is unknown or has no value, or a shell would be needed.
    """
    words = _split(spec.builder_cmd or "")
    values = _values(spec, output)
    out: list[str] = []
    for word in words:
        whole = _PLACEHOLDER.fullmatch(word)
        out += _value(whole[1], values) if whole else [_filled(word, values)]
    return tuple(out)


def _split(template: str) -> list[str]:
    try:
        words = shlex.split(template)
    except ValueError as exc:
        raise UsageError(f"builder_cmd cannot be split into words ({exc}): see to its quotes") from exc
    if not words:
        raise UsageError("builder_cmd is empty: name a program and its arguments")
    for word in words:
        if word in _SHELL_WORDS or word.endswith(";"):
            raise UsageError(f"builder_cmd has '{word}', which needs a shell: put the steps into a script and name it")
    if not any("{output_dir}" in word for word in words):
        raise UsageError("builder_cmd does not say {output_dir}: the engine must be written there")
    return words


def _values(spec: EngineSpec, output: Path) -> dict[str, tuple[str, ...] | None]:
    """Words of every placeholder; None where the spec does not say it."""
    args = dict(spec.engine_args)
    input_len = spec.max_input_len
    numbers = {
        "tp_size": spec.tp,
        "pp_size": spec.pp,
        "workers": spec.tp * spec.pp,
        "max_batch_size": spec.max_batch_size,
        "max_num_tokens": spec.max_num_tokens,
        "max_seq_len": spec.max_seq_len,
        "max_input_len": input_len,
        "max_output_len": None if input_len is None else spec.max_seq_len - input_len,
    }
    kv = spec.kv_cache_dtype
    return {
        "model_name": (str(spec.model),),
        "checkpoint_dir": (str(spec.model),),
        "output_dir": (str(output),),
        "dtype": (DTYPES.get(spec.precision, "auto"),),
        "quantization_arg": _QUANTISATION.get(spec.precision, ()),
        "kv_cache_dtype": (kv.value if kv in (KvDtype.AUTO, KvDtype.FP8, KvDtype.INT8) else "auto",),
        "use_context_fmha": (_SWITCH[spec.context_fmha],),
        "remove_input_padding": (_SWITCH[spec.remove_input_padding],),
        "use_gpt_attention_plugin": (str(args.get("gpt_attention_plugin", "auto")),),
        **{name: None if value is None else (str(value),) for name, value in numbers.items()},
    }


def _value(name: str, values: dict[str, tuple[str, ...] | None]) -> tuple[str, ...]:
    if name not in values:
        known = sorted(values)
        raise UsageError(
            f"builder_cmd has the placeholder {{{name}}}; there are {', '.join(known)}{nearest(name, known)}"
        )
    words = values[name]
    if words is None:
        raise UsageError(f"builder_cmd has {{{name}}}, and the spec does not say it: set max_input_len")
    return words


def _filled(word: str, values: dict[str, tuple[str, ...] | None]) -> str:
    return _PLACEHOLDER.sub(lambda found: " ".join(_value(found[1], values)), word)
