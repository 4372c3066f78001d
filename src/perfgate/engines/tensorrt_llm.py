"""TensorRT-LLM, 0.20 to 1.3: one spec, and two flows behind it. Not yet run against the real package.

Flow engine (to 1.3.0rc20): preparing builds TensorRT engines. Flow pytorch (from 1.0): there is no artefact
ahead of time; preparing sees that what is installed takes the spec's arguments, loads the checkpoint once,
and keeps the autotuner's choices. The package is looked at before anything is built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from packaging.version import Version

from perfgate.case import EngineSpec, Flow, WorkKind
from perfgate.device import Device
from perfgate.engines import tensorrt_llm_entry as entries
from perfgate.engines.base import Engine, Prepared, Request, Support
from perfgate.engines.cache import Phases
from perfgate.engines.openai import Server
from perfgate.engines.pickles import why_refused
from perfgate.engines.tensorrt_llm_arguments import flow_of, for_scoring, llm_arguments, running
from perfgate.engines.tensorrt_llm_build import ENGINE, build
from perfgate.engines.tensorrt_llm_calibrating import AWQ_GROUP, TAKEN
from perfgate.engines.tensorrt_llm_checkpoint import Format, check_built, check_hf_precision, format_of
from perfgate.engines.tensorrt_llm_engine import LlmEngine, Use
from perfgate.engines.tensorrt_llm_installed import look, version_told, versions
from perfgate.engines.tensorrt_llm_own import Own, own_of
from perfgate.engines.tensorrt_llm_process import environment, opened, variables_of
from perfgate.engines.tensorrt_llm_serve import serve
from perfgate.engines.tensorrt_llm_support import first_reason, unscorable
from perfgate.errors import EngineError, ModelError, UsageError
from perfgate.plant import Plant

_NOT_INSTALLED = "tensorrt_llm is not installed: see https://nvidia.github.io/TensorRT-LLM/installation"
_STABLE = Version("1.2.1")  # the newest that has both flows and is no candidate
_WORDS = "def main():"


class TensorRtLlm:
    """The backend `tensorrt_llm`."""

    name = "tensorrt_llm"
    kinds = frozenset(WorkKind) - {WorkKind.TASKS}  # it tells no next-token distributions here
    runs_on = frozenset({"gpu"})
    quantising, int4_group_size = TAKEN, AWQ_GROUP

    def versions(self) -> Mapping[str, str]:
        return versions()

    def support(self, spec: EngineSpec, device: Device) -> Support:
        """Everything that the installed version cannot do, in words; imports nothing of it.

        Where none is installed, what no installation would help comes before saying so.
        """
        try:
            version = version_told()
        except UsageError as exc:
            return Support(str(exc))
        reason = first_reason(spec, device, version or _STABLE)
        is_missing = reason is None and version is None
        return Support(_NOT_INSTALLED if is_missing else reason, is_missing=is_missing)

    def refusal(self, spec: EngineSpec, kind: WorkKind) -> str | None:
        """Why an engine of the spec cannot carry a kind of workload: compiled ones score only if built for it."""
        return unscorable(spec, version_told() or _STABLE) if kind is WorkKind.PERPLEXITY else None

    def prepare(self, spec: EngineSpec, device: Device, into: Path) -> Prepared:
        if reason := self.support(spec, device).reason:
            raise UsageError(reason)
        if why := why_refused(spec):
            raise ModelError(why)
        version, phases = _version(), Phases()
        flow = flow_of(spec, version)
        with phases("import"):
            installed = look(flow)
            installed.fitting(llm_arguments(spec, flow, version))
        told = {"flow": flow.value, "tensorrt_llm": str(installed.version)}
        if flow is Flow.ENGINE:
            told |= build(spec, device, installed.version, into, phases)
        else:
            _check_checkpoint(spec)
        entries.write(into, entries.Record(flow, str(installed.version), told))
        with phases("try"), _loaded(spec, into, Plant(), keep=True) as engine:
            words = engine.encode(_WORDS)
            list(engine.generate([Request(0, tuple(words), 4)], 1))
        return Prepared(into, phases.seconds)

    @contextmanager
    def load(self, spec: EngineSpec, prepared: Path, plant: Plant) -> Iterator[Engine]:
        with _loaded(spec, prepared, plant, keep=False) as engine:
            yield engine

    @contextmanager
    def serve(self, spec: EngineSpec, prepared: Path, plant: Plant, folder: Path) -> Iterator[Server]:
        """A trtllm-serve of the prepared engine; leaving ends it.

        Raises:
            UsageError: a slower decoding is to be planted, which a server cannot be told.
            EngineError: it does not become ready.
        """
        with serve(spec, prepared, plant, folder) as server:
            yield server


def _version() -> Version:
    version = version_told()
    if version is None:
        raise EngineError(_NOT_INSTALLED)
    return version


def _check_checkpoint(spec: EngineSpec) -> None:
    found = format_of(spec.model)
    if found is not Format.HF:
        what = "a built engine" if found is Format.ENGINE else "converted for trtllm-build"
        raise ModelError(f"{spec.model} is {what}: set flow: engine, or name a HuggingFace checkpoint")
    check_hf_precision(spec)


@contextmanager
def _loaded(spec: EngineSpec, prepared: Path, plant: Plant, *, keep: bool) -> Iterator[LlmEngine]:
    """The engine of a prepared folder; `keep` puts the autotuner's choices into it afterwards."""
    record = entries.read(prepared)
    flow, version = record.flow, Version(record.version)
    own, is_engine = own_of(spec, flow, version), flow is Flow.ENGINE
    model = prepared / ENGINE if is_engine else spec.model
    if is_engine:
        check_built(spec, model, version)
    arguments = running(llm_arguments(spec, flow, version))
    scoring = for_scoring(arguments)

    def open_llm(for_scores: bool) -> AbstractContextManager[Any]:  # noqa: FBT001 - the two uses of one engine
        tokenizer = tokenizer_of(spec, is_engine=is_engine)
        return opened(spec, flow, model, scoring if for_scores else arguments, tokenizer)

    autotuner = entries.tuned(prepared, keep=keep and not is_engine)
    with autotuner as path, environment(variables_of(own, None if is_engine else path)):
        use = Use(
            is_one=scoring == arguments,
            by_logprobs=own.perfgate.get("scoring") == "prompt_logprobs",
            is_speculative="speculative_config" in arguments and "force_accepted_tokens" not in own.perfgate,
        )
        with closing(LlmEngine(spec, plant, open_llm, use, _notes(record, prepared, own))) as engine:
            yield engine


def tokenizer_of(spec: EngineSpec, *, is_engine: bool) -> Path | None:
    """Where the tokenizer is: an engine has none, and the checkpoint may have a folder of its own for it."""
    given = dict(spec.engine_args).get("tokenizer")
    return Path(str(given)) if given else spec.model if is_engine else None


def _notes(record: entries.Record, prepared: Path, own: Own) -> dict[str, str]:
    out = dict(record.told)
    if record.flow is Flow.PYTORCH:
        out["autotuner"] = "choices from the engine cache" if entries.has_tuned(prepared) else "tunes at every load"
    if (forced := own.perfgate.get("force_accepted_tokens")) is not None:
        out["acceptance"] = f"forced: {forced} drafts a step; texts mean nothing, gate real acceptance apart"
    return out
