"""Building TensorRT engines: by trtllm-build, by quantize.py before it, by the LLM API, or by the user's command."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from packaging.version import Version

from perfgate.case import EngineSpec, Flow, KvDtype, Precision
from perfgate.device import Device
from perfgate.engines.cache import Phases
from perfgate.engines.tensorrt_llm_arguments import BUILDING, build_arguments, llm_arguments, quant_arguments
from perfgate.engines.tensorrt_llm_calibrating import calibration_data, calibration_fields, calibration_flags
from perfgate.engines.tensorrt_llm_checkpoint import DTYPES, Format, check_built, check_converted, format_of
from perfgate.engines.tensorrt_llm_command import command_of
from perfgate.engines.tensorrt_llm_installed import BUILDER, check_flags
from perfgate.engines.tensorrt_llm_log import build_phases, reason
from perfgate.engines.tensorrt_llm_own import Own, own_of
from perfgate.engines.tensorrt_llm_process import opened
from perfgate.engines.tensorrt_llm_table import BUILD, Group
from perfgate.engines.tensorrt_llm_timing import Timing
from perfgate.errors import EngineError, ModelError, UsageError
from perfgate.process import run

ENGINE = "engine"  # the folder of the engine inside a cache entry
LOGS = "tensorrt_llm-logs"  # beside the entries: a log's length would change the size of an engine
_QFORMATS = {
    Precision.FP32: "full_prec",
    Precision.FP16: "full_prec",
    Precision.BF16: "full_prec",
    Precision.FP8: "fp8",
    Precision.INT8_SQ: "int8_sq",
    Precision.INT8_WO: "int8_wo",
    Precision.INT4_WO: "int4_wo",
    Precision.INT4_AWQ: "int4_awq",
}


class Route(StrEnum):
    """How an engine comes to be."""

    COMMAND = "builder_cmd"
    BUILD = BUILDER
    QUANTISE = "quantize.py, trtllm-build"
    API = "LLM API"


def route_of(spec: EngineSpec, own: Own) -> Route:
    """The way that fits the checkpoint and the user's arguments.

    Raises:
        ModelError: the model folder holds a built engine, or nothing that is known.
    """
    if spec.builder_cmd:
        return Route.COMMAND
    match format_of(spec.model):
        case Format.ENGINE:
            raise ModelError(f"{spec.model} is a built engine: name the checkpoint that it was built from")
        case Format.TRTLLM:
            return Route.BUILD
        case Format.HF:
            return Route.QUANTISE if "quantize_script" in own.perfgate else Route.API


def build(spec: EngineSpec, device: Device, version: Version, into: Path, phases: Phases) -> dict[str, str]:
    """Build the engine into `into`/engine; returns how, in words.

    Raises:
        UsageError: a flag or an argument is not in what is installed.
        ModelError: the checkpoint does not fit the spec.
        EngineError: the build failed, or made something else than was asked for.
    """
    own, engine = own_of(spec, Flow.ENGINE, version), into / ENGINE
    route = route_of(spec, own)
    _refuse_unused(route, own)
    if spec.quantisation is not None and route in (Route.COMMAND, Route.BUILD):
        raise UsageError(f"quantisation is of a HuggingFace checkpoint; by {route} nothing is quantised: leave it out")
    timing = Timing(into, device, version, is_used=bool(own.perfgate.get("timing_cache", True)))
    match route:
        case Route.COMMAND:
            _run("builder_cmd", command_of(spec, engine), into, phases)
        case Route.API:
            _by_api(spec, api_arguments(spec, own, version, timing, into), into, phases)
            timing.keep()
        case Route.BUILD:
            check_converted(spec)
            _trtllm_build(spec, own, spec.model, into, timing, phases)
        case Route.QUANTISE:
            _quantise_and_build(spec, own, into, timing, phases)
    check_built(spec, engine, version)
    return {"built by": route.value, "timing cache": "not used" if route is Route.COMMAND else timing.told}


def _refuse_unused(route: Route, own: Own) -> None:
    """Say which arguments the way of building would leave unread."""
    by_api = [name for name in own.llm if name.partition(".")[0] in BUILDING]
    by_command = [name for name in own.build if BUILD[name] is Group.COMMAND]
    unread = {
        Route.API: (by_command, "is a flag of trtllm-build, and a HuggingFace checkpoint goes by the LLM API"),
        Route.BUILD: (by_api, "is of the LLM API's builder, and a converted checkpoint goes by trtllm-build"),
        Route.QUANTISE: (by_api, "is of the LLM API's builder, and quantize_script leads to trtllm-build"),
        Route.COMMAND: ([*by_api, *own.build], "is not read where builder_cmd builds: write it there"),
    }
    names, why = unread[route]
    for name in names:
        if name != "gpt_attention_plugin" or route is not Route.COMMAND:
            raise UsageError(f"engine_args {name} {why}")


# ------------------------------------------------------------------ programs


def build_argv(spec: EngineSpec, own: Own, checkpoint: Path, output: Path) -> tuple[str, ...]:
    """The command line of trtllm-build."""
    words: list[str] = [
        *(BUILDER, "--checkpoint_dir", str(checkpoint), "--output_dir", str(output)),
        *("--max_batch_size", str(spec.max_batch_size), "--max_num_tokens", str(spec.max_num_tokens)),
        *("--max_input_len", str(spec.max_input_len or spec.max_seq_len), "--max_seq_len", str(spec.max_seq_len)),
        *("--kv_cache_type", "paged" if spec.paged_kv else "continuous"),
    ]
    switches = {"context_fmha": spec.context_fmha, "remove_input_padding": spec.remove_input_padding}
    for name, is_on in switches.items():
        if is_on is not None:
            words += [f"--{name}", "enable" if is_on else "disable"]
    given = {"workers": spec.tp * spec.pp, **own.build} if spec.tp * spec.pp > 1 else own.build
    for name, value in given.items():
        words += _flag(name, value)
    return tuple(words)


def _flag(name: str, value: str | float | bool) -> list[str]:  # noqa: FBT001 - a value of YAML
    if not isinstance(value, bool):
        return [f"--{name}", str(value)]
    if BUILD[name] is Group.PLUGIN:
        return [f"--{name}", "enable" if value else "disable"]
    return [f"--{name}"] if value else []


def quantise_argv(spec: EngineSpec, script: str, output: Path) -> tuple[str, ...]:
    """The command line of TensorRT-LLM's examples/quantization/quantize.py (ModelOpt).

    Raises:
        UsageError: it does not make this precision.
    """
    if spec.precision not in _QFORMATS:
        raise UsageError(f"quantize.py makes no {spec.precision}: it has {', '.join(_QFORMATS)}; use builder_cmd")
    kv = spec.kv_cache_dtype
    words = [
        *(sys.executable, script, "--model_dir", str(spec.model), "--output_dir", str(output)),
        *("--dtype", DTYPES.get(spec.precision, "auto"), "--qformat", _QFORMATS[spec.precision]),
        *("--tp_size", str(spec.tp), "--pp_size", str(spec.pp)),
        *(("--kv_cache_dtype", kv.value) if kv in (KvDtype.FP8, KvDtype.INT8) else ()),
        *calibration_flags(spec, output.parent),
    ]
    return tuple(words)


def _quantise_and_build(spec: EngineSpec, own: Own, into: Path, timing: Timing, phases: Phases) -> None:
    """The quantised checkpoint and the copy of its texts are removed afterwards: only the engine is kept."""
    checkpoint = into / "checkpoint"
    argv = quantise_argv(spec, str(own.perfgate["quantize_script"]), checkpoint)
    check_flags(argv[:2], argv[2:])
    with calibration_data(spec, into):
        _run("quantise", argv, into, phases)
    check_converted(replace(spec, model=checkpoint))
    _trtllm_build(spec, own, checkpoint, into, timing, phases)
    shutil.rmtree(checkpoint)


def _trtllm_build(spec: EngineSpec, own: Own, checkpoint: Path, into: Path, timing: Timing, phases: Phases) -> None:
    argv = (*build_argv(spec, own, checkpoint, into / ENGINE), *timing.flags())
    check_flags(argv[:1], argv[1:])
    begin = time.perf_counter()
    log = _execute(BUILDER, argv, into)
    phases.seconds.update(build_phases(log, time.perf_counter() - begin))
    timing.keep()


def _run(name: str, argv: Sequence[str], into: Path, phases: Phases) -> None:
    with phases(name):
        _execute(name, argv, into)


def _execute(name: str, argv: Sequence[str], into: Path) -> str:
    """Run a program with all that it starts to its end; returns its log, kept beside the cache's entries."""
    if not shutil.which(argv[0]):
        raise UsageError(f"{name}: the program '{argv[0]}' is not found: install it, or give its path")
    path = into.parent / LOGS / f"{into.name}-{name}.log"
    try:
        ended = run(name, argv, math.inf, path, os.environ)
    except OSError as exc:
        raise EngineError(f"{name} cannot be started: {exc.strerror} (command: {' '.join(argv)})") from exc
    text, code = path.read_text(errors="replace"), ended.code
    if code != 0:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        raise EngineError(f"{name} {how}: {reason(text)} (command: {' '.join(argv)}; log: {path})")
    return text


# ------------------------------------------------------------------ the LLM API


def api_arguments(spec: EngineSpec, own: Own, version: Version, timing: Timing, into: Path) -> Mapping[str, object]:
    """Arguments of `LLM` that build an engine: those of running it with BuildConfig and QuantConfig."""
    parts = build_arguments(spec, own)
    arguments = llm_arguments(spec, Flow.ENGINE, version)
    own_fields, plugin = arguments.get("build_config", {}), parts["plugin_config"]
    config = {**parts["build_config"], **timing.fields(), **own_fields, "plugin_config": plugin}
    group = spec.quantisation.group_size if spec.quantisation else None
    sized = {} if group is None else {"group_size": group}
    quant = {**arguments.get("quant_config", {}), **quant_arguments(spec), **sized}
    calibrating = {**calibration_fields(spec, into), **arguments.get("calib_config", {})}
    parts_of = {"quant_config": quant, "calib_config": calibrating}
    return {**arguments, "build_config": config, **{name: value for name, value in parts_of.items() if value}}


def _by_api(spec: EngineSpec, arguments: Mapping[str, object], into: Path, phases: Phases) -> None:
    if not spec.paged_kv:
        raise UsageError(
            "paged_kv: false needs trtllm-build: give a converted checkpoint, quantize_script or builder_cmd"
        )
    with (
        calibration_data(spec, into),
        phases("build by the LLM API"),
        opened(spec, Flow.ENGINE, spec.model, arguments) as llm,
    ):
        llm.save(str(into / ENGINE))
