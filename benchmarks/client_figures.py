"""The figure of docs/timing.md: how far off clients are over concurrent streams, from kept results.

    python benchmarks/client_figures.py        (needs matplotlib: pip install 'pytest-perfgate[figures]')

Reads benchmarks/results/client_accuracy.json, which says what made it (benchmarks/client_accuracy.py --out).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.pictures import BLUE, INK, ORANGE, drawing  # noqa: E402

RESULTS = HERE / "results" / "client_accuracy.json"
FIGURE = HERE.parent / "docs" / "figures" / "client-error.svg"
CLIENTS = {"perfgate": ("perfgate", BLUE), "aiohttp": ("a reader on aiohttp, as benchmark_serving reads", ORANGE)}
TTFT_MS, GAP_MS = 50.0, 10.0  # true, as the server sends
LEAST_MS = 0.003  # what is less is drawn here


def main() -> None:
    cells = json.loads(RESULTS.read_text())["cells"]
    panels = (("mean TTFT", "ttft_mean_ms", TTFT_MS), ("p99 of TTFT", "ttft_p99_ms", TTFT_MS),
              ("p99 of ITL", "itl_p99_ms", GAP_MS))  # fmt: skip
    with drawing(FIGURE, len(panels), (12, 4)) as axes:
        for one, (title, key, true_ms) in zip(axes, panels, strict=True):
            for client, (label, colour) in CLIENTS.items():
                _draw(one, [cell for cell in cells if cell["client"] == client], key, label, colour)
            one.axhline(true_ms, color=INK, lw=0.8, ls=":")
            one.text(1, true_ms * 1.15, f"the true value, {true_ms:g} ms", fontsize=8)
            one.set(title=f"{title}: told too long by", xlabel="concurrent streams", xscale="log", yscale="log",
                    ylim=(LEAST_MS * 0.8, 500))  # fmt: skip
            one.set_xticks([1, 16, 128, 1024], ["1", "16", "128", "1024"])
            one.set_yticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
            one.minorticks_off()
            one.grid(axis="y", color=INK, alpha=0.25, lw=0.6)
        axes[0].set_ylabel("ms")
        axes[-1].legend(loc="lower center", bbox_to_anchor=(0.5, 0.24), fontsize=8)


def _draw(axes: Any, cells: Sequence[Mapping[str, Any]], key: str, label: str, colour: str) -> None:
    axes.plot([cell["streams"] for cell in cells], [max(abs(cell[key]), LEAST_MS) for cell in cells], "o-",
              color=colour, label=label, ms=5)  # fmt: skip


if __name__ == "__main__":
    main()
