"""HuggingFace transformers on PyTorch: the comparator of the compiled engines, on CPUs and NVIDIA GPUs.

Preparing copies the checkpoint's files into the cache entry and sees that they load. What torch compiles lies beside
the entry, so that only the first round of a workload compiles; an entry is tried eagerly, as torch compiles for batch
sizes and lengths that only workloads know. Weights are quantised by torchao at every load, so load_s holds it and
engine_bytes is the checkpoint's size at every precision. With tp > 1 every GPU has a process of its own, and this one
is rank 0 of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from perfgate.case import Batching, EngineSpec, WorkKind
from perfgate.device import Device
from perfgate.engines import transformers_loading as loading
from perfgate.engines import transformers_support
from perfgate.engines.base import Engine, Prepared, Support, try_out
from perfgate.engines.cache import Phases, scratch
from perfgate.engines.installed import environment, versions_of
from perfgate.engines.transformers_assisted import AssistedEngine
from perfgate.engines.transformers_call import device_of_rank, peak_gpu_bytes
from perfgate.engines.transformers_continuous import ContinuousEngine
from perfgate.engines.transformers_ranks import Ranks, ranks_behind
from perfgate.engines.transformers_sharding import Share
from perfgate.engines.transformers_static import CompiledEngine, StaticEngine
from perfgate.plant import Plant

_PACKAGES = ("transformers", "torch", "safetensors", "tokenizers", "torchao")


class Transformers:
    """The backend `transformers`."""

    name = "transformers"
    kinds = frozenset(WorkKind)
    seen_on = frozenset({"cpu"})
    quantising = transformers_support.QUANTISING
    int4_group_size, int4_is_symmetric = loading.INT4_GROUP, True

    def versions(self) -> Mapping[str, str]:
        """Versions of the packages that are installed."""
        return versions_of(_PACKAGES)

    def support(self, spec: EngineSpec, device: Device) -> Support:
        """Everything this backend cannot do, in words."""
        return transformers_support.support(spec, device)

    def prepare(self, spec: EngineSpec, device: Device, into: Path) -> Prepared:
        phases = Phases()
        with phases("copy"):
            with_weights = transformers_support.has_weights(spec)
            loading.copy_checkpoint(spec.model, into, with_weights=with_weights)
            if spec.speculative and spec.speculative.model:
                (into / "draft").mkdir()
                loading.copy_checkpoint(spec.speculative.model, into / "draft", with_weights=with_weights)
            (into / loading.DEVICE_FILE).write_text("cuda" if device.is_gpu else "cpu")
        with _loaded(_uncompiled(spec), into, Plant(), phases) as engine, phases("try"):
            try_out(engine)
        return Prepared(into, phases.seconds)

    @contextmanager
    def load(self, spec: EngineSpec, prepared: Path, plant: Plant) -> Iterator[Engine]:
        with _loaded(spec, prepared, plant, Phases()) as engine:
            yield engine


def _uncompiled(spec: EngineSpec) -> EngineSpec:
    args = tuple((name, value) for name, value in spec.engine_args if name != "torch_compile")
    return replace(spec, cuda_graphs=None, engine_args=args)


TorchEngine = StaticEngine | ContinuousEngine | AssistedEngine


@contextmanager
def _loaded(spec: EngineSpec, prepared: Path, plant: Plant, phases: Phases) -> Iterator[TorchEngine]:
    """The engine, on the device it was prepared for; leaving frees its memory, whoever still holds the engine."""
    with ExitStack() as stack:
        stack.enter_context(environment(_variables(prepared)))
        with phases("import"):
            torch = loading.import_torch(spec)
        stack.enter_context(_threads(torch, spec))
        ranks = None
        if spec.tp > 1:
            with phases("join"):
                ranks = stack.enter_context(ranks_behind(spec, prepared, torch.get_num_threads()))
        engine = _read(spec, prepared, plant, phases, ranks)
        stack.callback(engine.free)
        yield engine


def _variables(prepared: Path) -> dict[str, str]:
    """Where torch and Triton keep what they compile."""
    kept = scratch(prepared)
    return {"TORCHINDUCTOR_CACHE_DIR": str(kept / "inductor"), "TRITON_CACHE_DIR": str(kept / "triton")}


@contextmanager
def _threads(torch: Any, spec: EngineSpec) -> Iterator[None]:
    """As many threads as are asked for, else a rank's part of them all."""
    before = torch.get_num_threads()
    torch.set_num_threads(int(dict(spec.engine_args).get("num_threads", max(1, before // spec.tp))))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _read(spec: EngineSpec, prepared: Path, plant: Plant, phases: Phases, ranks: Ranks | None) -> TorchEngine:
    """The engine; the model is its own alone, so that it can free it."""
    device, share = loading.device_of(prepared), Share(0, spec.tp)
    if ranks:
        device = device_of_rank(device, 0)
    with phases("read"), loading.clear_load_errors(spec):
        model = loading.read_model(spec, prepared, device, share)
        tokenizer = loading.read_tokenizer(spec, prepared)
        draft = loading.read_model(spec, prepared / "draft", device) if (prepared / "draft").exists() else None
        if ranks:
            ranks.follow(model)
    with phases("quantise"), loading.clear_load_errors(spec):
        weights = loading.quantise(model, spec, device)
    if ranks:
        weights = f"{weights}, cut over {spec.tp} ranks by transformers' plan"
    return _engine(spec, (tokenizer, model, plant, weights, ranks.peak_gpu_bytes if ranks else peak_gpu_bytes), draft)


def _engine(spec: EngineSpec, parts: tuple[Any, ...], draft: Any) -> TorchEngine:
    """The engine that generates as the spec says."""
    if spec.speculative is not None:
        return AssistedEngine(spec, *parts, draft=draft)
    if spec.batching is Batching.INFLIGHT:
        return ContinuousEngine(spec, *parts)
    if spec.cuda_graphs:
        return CompiledEngine(spec, *parts, mode="reduce-overhead")
    if dict(spec.engine_args).get("torch_compile"):
        return CompiledEngine(spec, *parts, mode=None)
    return StaticEngine(spec, *parts)
