"""HuggingFace transformers on PyTorch: the comparator of the compiled engines, on CPUs and NVIDIA GPUs.

Preparing copies the checkpoint's files into the cache entry and sees that they load. Nothing compiled is kept;
weights are quantised by torchao at every load, so load_s holds it and engine_bytes is the checkpoint's
size at every precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perfgate.case import Batching, EngineSpec, WorkKind
from perfgate.device import Device
from perfgate.engines import transformers_loading as loading
from perfgate.engines import transformers_support
from perfgate.engines.base import Engine, Prepared, Support, try_out
from perfgate.engines.cache import Phases
from perfgate.engines.installed import versions_of
from perfgate.engines.transformers_assisted import AssistedEngine
from perfgate.engines.transformers_continuous import ContinuousEngine
from perfgate.engines.transformers_static import CompiledEngine, StaticEngine
from perfgate.plant import Plant

_PACKAGES = ("transformers", "torch", "safetensors", "tokenizers", "torchao")


class Transformers:
    """The backend `transformers`."""

    name = "transformers"
    kinds = frozenset(WorkKind)
    seen_on = frozenset({"cpu"})

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
        with _loaded(spec, into, Plant(), phases) as engine, phases("try"):
            try_out(engine)
        return Prepared(into, phases.seconds)

    @contextmanager
    def load(self, spec: EngineSpec, prepared: Path, plant: Plant) -> Iterator[Engine]:
        with _loaded(spec, prepared, plant, Phases()) as engine:
            yield engine


TorchEngine = StaticEngine | ContinuousEngine | AssistedEngine


@contextmanager
def _loaded(spec: EngineSpec, prepared: Path, plant: Plant, phases: Phases) -> Iterator[TorchEngine]:
    """The engine, on the device it was prepared for; leaving frees its memory, whoever still holds the engine."""
    with phases("import"):
        torch = loading.import_torch(spec)
    device = loading.device_of(prepared)
    threads = torch.get_num_threads()
    torch.set_num_threads(int(dict(spec.engine_args).get("num_threads", threads)))
    try:
        with phases("read"), loading.clear_load_errors(spec):
            model = loading.read_model(spec, prepared, device)
            tokenizer = loading.read_tokenizer(spec, prepared)
            draft = loading.read_model(spec, prepared / "draft", device) if (prepared / "draft").exists() else None
        with phases("quantise"), loading.clear_load_errors(spec):
            weights = loading.quantise(model, spec.precision, device)
        engine = _engine(spec, (tokenizer, model, plant, weights), draft)
        del model, tokenizer, draft  # the engine's are the only ones, so that it can free them
        try:
            yield engine
        finally:
            engine.free()
    finally:
        torch.set_num_threads(threads)


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
