"""How our pictures look, and figures as PNG; matplotlib is the extra `figures`."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from perfgate.errors import UsageError
from perfgate.report.versus_style import FAINT, INK

WIDTH_PX, DPI = 1600, 100
STYLE: Mapping[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same picture everywhere
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,  # a '$' in a name is a dollar
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}


def png(name: str, height_px: int, draw: Callable[[Any], None], more: Mapping[str, Any]) -> bytes:
    """A picture 1600 px wide, drawn on a matplotlib Figure; more: its own settings beside ours.

    Raises:
        UsageError: matplotlib is not installed; `name` is the file that needs it.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, and no global state of pyplot
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise UsageError(f"{name} needs matplotlib: pip install 'pytest-perfgate[figures]'") from exc
    with mpl.rc_context({**STYLE, **more}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a letter that the font lacks is shown as a box
        figure = Figure(figsize=(WIDTH_PX / DPI, height_px / DPI), dpi=DPI, facecolor="white")
        draw(figure)
        out = io.BytesIO()
        FigureCanvasAgg(figure).print_png(out, metadata={"Software": "perfgate"})
    return out.getvalue()
