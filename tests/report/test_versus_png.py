from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from perfgate.errors import UsageError
from perfgate.report import versus_png
from perfgate.report.versus import write_versus
from perfgate.report.versus_png import comparison_png
from perfgate.versus import Versus, compare_sides
from perfgate.versus_files import read_sides
from versus_examples import bench, write_side

PANELS = [
    *("output tokens/s", "times as good as a", "TTFT mean, ms", "TTFT p99, ms", "TPOT mean, ms", "TPOT p99, ms"),
    *("ITL mean, ms", "ITL p99, ms", "E2EL mean, ms", "E2EL p99, ms"),
]


@pytest.fixture
def compared(tmp_path: Path) -> Versus:
    """Two sides with an invalid run, one with two rounds, and dollars in a name."""
    a = [{16: bench(16, factor), 64: bench(64, factor)} for factor in (1.0, 1.1)]
    b = [{16: bench(16, 0.5), 64: bench(64, 0.5, failed=1)}, {16: bench(16, 0.6), 64: bench(64, failed=1)}]
    return compare_sides(read_sides({"a": write_side(tmp_path / "a", a), "$b$": write_side(tmp_path / "b", b)}))


def test_the_picture_is_a_png_of_1600_pixels_width(compared: Versus) -> None:
    pytest.importorskip("matplotlib")

    data = comparison_png(compared)

    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (1600, 1440)


def drawn(versus: Versus, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The figure itself."""
    figures: list[Any] = []
    draw = versus_png._draw

    def kept(figure: Any, one: Versus) -> None:
        figures.append(figure)
        draw(figure, one)

    monkeypatch.setattr(versus_png, "_draw", kept)
    comparison_png(versus)
    return figures[0]


def test_it_has_a_panel_for_each_metric_and_one_for_the_ratios(
    compared: Versus, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")

    figure = drawn(compared, monkeypatch)

    assert [axes.get_title(loc="left") for axes in figure.axes] == PANELS


def test_an_invalid_run_is_a_word_and_no_bar(compared: Versus, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")

    panel = drawn(compared, monkeypatch).axes[2]

    assert len(panel.patches) == 3  # of four places
    assert "invalid" in [text.get_text() for text in panel.texts]


def test_bars_are_as_high_as_their_values(compared: Versus, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")

    panel = drawn(compared, monkeypatch).axes[2]

    heights = [patch.get_height() for patch in panel.patches]
    assert heights == pytest.approx([50 * 1.1**0.5, 50 * 1.1**0.5, 50 * (0.5 * 0.6) ** 0.5])


def test_a_faster_side_is_above_the_line_in_every_metric(compared: Versus, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")

    ratios = drawn(compared, monkeypatch).axes[1]

    points = [line.get_ydata()[0] for line in ratios.lines if line.get_linestyle() == "None"]
    assert len(points) == 9
    assert min(points) > 1.5


def test_wide_intervals_do_not_flatten_the_ratios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    a, b = ([{16: bench(16, factor)} for factor in factors] for factors in ((1.0, 1e4), (1e-3, 1e7)))
    wild = compare_sides(read_sides({"a": write_side(tmp_path / "a", a), "b": write_side(tmp_path / "b", b)}))

    low, high = drawn(wild, monkeypatch).axes[1].get_ylim()

    assert high / low < 1000


@pytest.mark.parametrize("content", ["{}", "[]", bench(16, failed=1)])
def test_a_picture_of_nothing_valid_is_words(content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    names = ("a", "\u6a21\u578b")  # letters that the font lacks
    sides = {name: write_side(tmp_path / name, [{16: content}]) for name in names}

    panel = drawn(compare_sides(read_sides(sides)), monkeypatch).axes[0]

    assert [text.get_text() for text in panel.texts] == ["invalid", "invalid"]


def test_without_matplotlib_the_text_is_written_and_the_picture_told_missing(
    compared: Versus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (tmp_path / "benchmark_comparison.png").write_bytes(b"of another comparison")
    told: list[str] = []

    paths = write_versus(compared, tmp_path, told.append)

    assert [path.name for path in paths] == ["benchmark_summary.txt"]
    assert told == ["benchmark_comparison.png needs matplotlib: pip install 'pytest-perfgate[figures]'"]
    assert not (tmp_path / "benchmark_comparison.png").exists()


def test_more_sides_than_colours_are_refused(compared: Versus) -> None:
    many = Versus(compared.sides[:1] * 9, compared.concurrencies, ())

    with pytest.raises(UsageError, match="can tell 8 backends apart, found 9"):
        comparison_png(many)
