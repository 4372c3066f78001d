"""The figure of docs/timing.md: how far off clients are over concurrent streams, from kept results.

    python benchmarks/client_figures.py        (needs matplotlib: pip install 'pytest-perfgate[figures]')

Reads benchmarks/results/client_accuracy.json and client_accuracy_busy.json, each of which says what made it
(benchmarks/client_accuracy.py --out).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pictures import BLUE, INK, ORANGE, drawing

HERE = Path(__file__).resolve().parent


RESULTS = {"client_accuracy.json": ("", "o-"), "client_accuracy_busy.json": (", machine overloaded", "s--")}
FIGURE = HERE.parent / "docs" / "figures" / "client-error.svg"
CLIENTS = {"perfgate": ("perfgate", BLUE), "aiohttp": ("reader on aiohttp", ORANGE)}
TTFT_MS, GAP_MS = 50.0, 10.0  # true, as the server sends
LEAST_MS = 0.003  # what is less is drawn here


def main() -> None:
    runs = {name: json.loads((HERE / "results" / name).read_text())["cells"] for name in RESULTS}
    panels = (("mean TTFT", "ttft_mean_ms", TTFT_MS), ("p99 of TTFT", "ttft_p99_ms", TTFT_MS),
              ("p99 of ITL", "itl_p99_ms", GAP_MS))  # fmt: skip
    with drawing(FIGURE, len(panels), (12, 4)) as axes:
        for one, (title, key, true_ms) in zip(axes, panels, strict=True):
            for name, cells in runs.items():
                _draw(one, cells, key, *RESULTS[name])
            one.axhline(true_ms, color=INK, lw=0.8, ls=":")
            one.text(1, true_ms * 1.15, f"the true value, {true_ms:g} ms", fontsize=8)
            one.set(title=f"{title}: told too long by", xlabel="concurrent streams", xscale="log", yscale="log",
                    ylim=(LEAST_MS * 0.8, 6000))  # fmt: skip
            one.set_xticks([1, 16, 128, 1024], ["1", "16", "128", "1024"])
            one.set_yticks([0.01, 0.1, 1, 10, 100, 1000], ["0.01", "0.1", "1", "10", "100", "1000"])
            one.minorticks_off()
            one.grid(axis="y", color=INK, alpha=0.25, lw=0.6)
        axes[0].set_ylabel("ms")
        axes[1].legend(loc="lower center", bbox_to_anchor=(0.5, 0.2), fontsize=8)


def _draw(axes: Any, cells: Sequence[Mapping[str, Any]], key: str, when: str, style: str) -> None:
    for client, (label, colour) in CLIENTS.items():
        mine = [cell for cell in cells if cell["client"] == client]
        errors = [max(abs(cell[key]), LEAST_MS) for cell in mine]
        axes.plot([cell["streams"] for cell in mine], errors, style, color=colour, label=label + when, ms=5)


if __name__ == "__main__":
    main()
