"""The fake engine with a library that decides its speed: `perfgate_fakelib.STEP_US`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from pathlib import Path

from fake_engine import FakeBackend, FakeEngine
from perfgate.case import EngineSpec
from perfgate.plant import Plant

LIBRARY = "perfgate-fakelib"


@dataclass(slots=True)
class PinnedBackend(FakeBackend):
    """A backend of which several versions can be installed."""

    name: str = "pinned"

    def versions(self) -> Mapping[str, str]:
        return {LIBRARY: metadata.version(LIBRARY)}

    @contextmanager
    def load(self, spec: EngineSpec, prepared: Path, plant: Plant) -> Iterator[FakeEngine]:
        args = {**dict(spec.engine_args), "step_us": import_module("perfgate_fakelib").STEP_US}
        with FakeBackend.load(self, replace(spec, engine_args=tuple(args.items())), prepared, plant) as engine:
            yield engine
