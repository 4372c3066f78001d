"""What the processes of a bridge are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from perfgate.case import Batching, EngineSpec
from perfgate.plant import Plant

QUEUE_DELAY_S = 0.005


@dataclass(frozen=True, slots=True)
class Job:
    """An engine to serve on 127.0.0.1.

    queue_delay_s: static batching: how long an idle engine waits for more requests after the last one came.
    cpus: cores of the engine, not of the HTTP side; empty: all.
    """

    engine: EngineSpec
    prepared: Path
    port: int
    plant: Plant = field(default_factory=Plant)
    queue_delay_s: float = QUEUE_DELAY_S
    cpus: tuple[int, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether requests join and leave at any step."""
        return self.engine.batching is Batching.INFLIGHT
