"""The embedded suite's engines side by side, from a run: bytes, speed, perplexity.

    make gate && python benchmarks/precisions.py perfgate-out/run.json

Speeds are medians over the run's rounds, with their range.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from perfgate.record import RUN_SCHEMA, Run, Side, read_record

COLUMNS = {"b1 tokens/s": ("b1", "output_tokens_per_s"), "b8 tokens/s": ("b8", "output_tokens_per_s")}


def main(path: str) -> None:
    run = read_record(Path(path), Run, RUN_SCHEMA)
    print(f"{run.environment.product}, {run.environment.device}, {run.started}\n")
    print("| engine | bytes | perplexity | " + " | ".join(COLUMNS) + " | acceptance length |")
    print("|---|---|---|" + "---|" * (len(COLUMNS) + 1))
    for prepared in run.prepared:
        name = prepared.engine
        speeds = [_speed(run.values(f"{name}-{work}", metric, Side.CANDIDATE)) for work, metric in COLUMNS.values()]
        accepted = run.values(f"{name}-b1", "acceptance_len", Side.CANDIDATE)
        perplexity = run.values(f"{name}-text", "perplexity", Side.CANDIDATE)[0]
        length = f"{statistics.median(accepted):.2f}" if accepted else ""
        print(f"| {name} | {prepared.engine_bytes:,} | {perplexity:.3f} | {' | '.join(speeds)} | {length} |")


def _speed(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


if __name__ == "__main__":
    main(*sys.argv[1:])
