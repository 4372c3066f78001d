"""vLLM on NVIDIA GPUs: its engine in the measuring process, and its server.

Preparing links the checkpoint's files into the cache entry and loads the engine once, so that what vLLM compiles is
kept beside the entry and later loads are warm. The engine runs in the measuring process
(VLLM_ENABLE_V1_MULTIPROCESSING=0): its steps are driven one by one, so that a token is stamped when the host has it.
"""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from perfgate.case import Batching, EngineSpec, Precision, WorkKind
from perfgate.device import Device
from perfgate.engines import vllm_arguments
from perfgate.engines.base import Engine, Prepared, Support, first_line, try_out
from perfgate.engines.cache import Phases, scratch
from perfgate.engines.installed import environment, version_of, versions_of
from perfgate.engines.kept import free_port
from perfgate.engines.openai import Server
from perfgate.engines.openai import serve as start_server
from perfgate.engines.server_profile import Place
from perfgate.engines.server_profiles import profile
from perfgate.engines.vllm_checkpoint import link_checkpoint, quantised_by
from perfgate.engines.vllm_engine import VllmEngine
from perfgate.errors import EngineError, PerfgateError, UsageError
from perfgate.plant import Plant

PROGRAM = "PERFGATE_VLLM_SERVE"  # the words that start the server, in place of our own Python's vLLM
_PACKAGES = ("vllm", "torch", "transformers", "triton", "flashinfer-python", "compressed-tensors")
_BF16_SM, _FP8_SM = 80, 89
_SERVE = (sys.executable, "-m", "vllm.entrypoints.cli.main", "serve")


class Vllm:
    """The backend `vllm`."""

    name = "vllm"
    kinds = frozenset(WorkKind)
    runs_on = frozenset({"gpu"})

    def versions(self) -> Mapping[str, str]:
        """Versions of the packages that are installed."""
        return versions_of(_PACKAGES)

    def support(self, spec: EngineSpec, device: Device) -> Support:
        """Everything this backend cannot do, in words."""
        refused = next((reason for reason, is_so in _refused(spec, device).items() if is_so), None)
        refused = refused or _refused_arguments(spec)
        missing = next((reason for reason, is_so in _missing().items() if is_so), None)
        return Support(refused or missing, is_missing=refused is None and missing is not None)

    def prepare(self, spec: EngineSpec, device: Device, into: Path) -> Prepared:  # noqa: ARG002 - support looked at it
        phases = Phases()
        with phases("link"):
            link_checkpoint(spec, into)
        with ExitStack() as stack:
            stack.enter_context(environment(_variables(into)))
            with phases("import"):
                _import_vllm()
            with phases("load"):  # compiles; vLLM keeps what it made
                engine = stack.enter_context(self.load(spec, into, Plant()))
            with phases("try"):
                try_out(engine)
        return Prepared(into, phases.seconds)

    @contextmanager
    def load(self, spec: EngineSpec, prepared: Path, plant: Plant) -> Iterator[Engine]:
        _check_plant(spec, plant)
        with environment(_variables(prepared) | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}):
            engine = VllmEngine(spec, _made(spec, prepared), plant)
            try:
                yield engine
            finally:
                engine.close()
                del engine
                _free()

    @contextmanager
    def serve(self, spec: EngineSpec, prepared: Path, plant: Plant, folder: Path) -> Iterator[Server]:
        """The prepared engine behind `vllm serve`, with its log in `folder`; leaving ends it.

        Raises:
            UsageError: a regression is to be planted, which a server of another program does not let in.
            EngineError: the server ended or was not ready in time.
        """
        if plant != Plant():
            raise UsageError("a regression cannot be planted in vllm serve: plant it in the offline engine's cases")
        program = tuple(shlex.split(os.environ.get(PROGRAM, ""))) or _SERVE
        place = Place(free_port(), folder, metadata.version("vllm"), program, _variables(prepared))
        launch = profile("vllm serve").launch(_local(spec, prepared), place)
        with start_server(launch, folder / "server.log") as server:
            yield server


# ------------------------------------------------------------------ what is supported


def _missing() -> dict[str, bool]:
    """What has to be installed."""
    found = version_of("vllm")
    return {
        "vllm is not installed: pip install 'pytest-perfgate[vllm]'": found is None,
        f"vllm {found} is not known here: install {vllm_arguments.OLDEST} or newer": (
            found is not None and not _is_known(found)
        ),
    }


def _is_known(version: str) -> bool:
    try:
        return Version(version) >= Version(vllm_arguments.OLDEST)
    except InvalidVersion:
        return False


def _refused(spec: EngineSpec, device: Device) -> dict[str, bool]:
    sm = int(device.key.partition("/")[0].removeprefix("sm_")) if device.is_gpu else 0
    written = quantised_by(spec.model)
    known = vllm_arguments.IN_CHECKPOINT.get(spec.precision, ())
    return {
        f"this backend runs vLLM on NVIDIA GPUs; this is {device.key}": not device.is_gpu,
        "vLLM batches in flight: set batching: inflight": spec.batching is not Batching.INFLIGHT,
        "vLLM keeps a paged KV cache: set paged_kv: true": not spec.paged_kv,
        "context FMHA and input padding are TensorRT-LLM's": (spec.context_fmha, spec.remove_input_padding)
        != (None, None),
        f"{spec.precision} needs sm_80 or newer; this is {device.key}": (
            spec.precision is Precision.BF16 and sm < _BF16_SM
        ),
        f"fp8 multiplication needs sm_89 or newer; this is {device.key}": (
            spec.precision is Precision.FP8 and sm < _FP8_SM
        ),
        f"{spec.precision} must be in the checkpoint (quantization_config in config.json, by {' or '.join(known)}); "
        f"{spec.model} has {written or 'none'}": bool(known) and written is not None and written not in known,
    }


def _refused_arguments(spec: EngineSpec) -> str | None:
    """What the mapping to vLLM's own names refuses, and names that the installed version does not have."""
    try:
        given = vllm_arguments.arguments(spec, "vllm")
        if (known := vllm_arguments.known_names()) is not None:
            vllm_arguments.check_names(given, known, "vllm")
    except UsageError as exc:
        return str(exc)
    return None


def _check_plant(spec: EngineSpec, plant: Plant) -> None:
    if plant.decode > 1 and spec.tp * spec.pp > 1 and spec.overlap_scheduler is not False:
        raise UsageError(
            f"a slower decode cannot be planted in '{spec.name}', whose GPUs are in other processes and scheduled "
            "ahead: set overlap_scheduler: false, or tp and pp to 1"
        )


# ------------------------------------------------------------------ loading


def _variables(prepared: Path) -> dict[str, str]:
    """What vLLM is told by the environment: where its compiled code lies, and that it asks nobody."""
    kept = scratch(prepared)
    return {
        "VLLM_CACHE_ROOT": str(kept),
        "TORCHINDUCTOR_CACHE_DIR": str(kept / "inductor"),
        "TRITON_CACHE_DIR": str(kept / "triton"),
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def _local(spec: EngineSpec, prepared: Path) -> EngineSpec:
    """The spec with the checkpoints of the cache entry."""
    speculative = spec.speculative
    if speculative and speculative.model:
        speculative = replace(speculative, model=prepared / "draft")
    return replace(spec, model=prepared / "model", speculative=speculative)


def _import_vllm() -> Any:
    try:
        import vllm
    except Exception as exc:  # its extension modules fail in their own ways
        raise EngineError(f"vLLM cannot be imported: {first_line(exc)}") from exc
    return vllm


def _made(spec: EngineSpec, prepared: Path) -> Any:
    """An `LLMEngine`, as `LLM` makes one: statistics off, which would cost time at every step."""
    vllm = _import_vllm()
    given = vllm_arguments.arguments(_local(spec, prepared), "vllm")
    try:
        args = vllm.EngineArgs(**{"disable_log_stats": True, **given, "model": str(prepared / "model")})
        return vllm.LLMEngine.from_engine_args(args)
    except PerfgateError:
        raise
    except Exception as exc:  # torch, pydantic and vLLM raise classes without a common parent
        raise EngineError(f"vLLM cannot load '{spec.name}': {first_line(exc)}") from exc


def _free() -> None:
    """End torch's process group and give the memory back; models refer to themselves in circles."""
    from vllm.distributed import cleanup_dist_env_and_memory

    gc.collect()
    cleanup_dist_env_and_memory()
