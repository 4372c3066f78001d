"""Result folders as load runs leave them, for tests of comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LATENCIES_MS = {"ttft": 50.0, "tpot": 10.0, "itl": 10.0, "e2el": 1300.0}


def bench(concurrency: int, factor: float = 1.0, **changes: Any) -> dict[str, Any]:
    """A result in benchmark_serving's key names: latencies times a factor, throughput divided by it."""
    plain: dict[str, Any] = {
        "model_id": "models/tiny",
        "num_prompts": 10 * concurrency,
        "completed": 10 * concurrency,
        "failed": 0,
        "max_concurrency": concurrency,
        "total_input_tokens": 5120 * concurrency,
        "total_output_tokens": 1280 * concurrency,
        "output_throughput": 100.0 * concurrency / factor,
    }
    for stem, value in LATENCIES_MS.items():
        plain |= {f"mean_{stem}_ms": value * factor, f"p99_{stem}_ms": 2 * value * factor}
    return plain | changes


def write_side(folder: Path, rounds: Sequence[Mapping[int, object]]) -> Path:
    """One mapping a round, concurrency -> result or text; a single round lies in the folder itself."""
    for number, files in enumerate(rounds, 1):
        where = folder if len(rounds) == 1 else folder / f"round_{number}"
        where.mkdir(parents=True, exist_ok=True)
        for concurrency, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (where / f"concurrency_{concurrency}.json").write_text(text)
    return folder
