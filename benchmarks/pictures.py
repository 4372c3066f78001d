"""How the figures of the docs look: SVG without a background, in tones that can be read on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INK = "#75808c"  # contrast of 4.0 against white and against #1e2129
BLUE, ORANGE, GREEN, PURPLE = "#3d84d6", "#d9782d", "#35996b", "#a170c9"

_STYLE = {
    "svg.hashsalt": "perfgate",
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
    "font.family": "sans-serif",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 11,
    "axes.titlesize": 12,
    "legend.frameon": False,
}


@contextmanager
def drawing(path: Path, columns: int, size: tuple[float, float]) -> Iterator[list[Any]]:
    """The axes of a figure of some columns; it is written when the body ends, the same bytes from the same data."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(_STYLE)
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, columns, figsize=size, squeeze=False, layout="constrained")
    yield list(axes[0])
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Date": None})
    print(f"wrote {path}")
