"""The command `perfgate versus A=FOLDER B=FOLDER`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from perfgate.errors import UsageError

MOST_NAME = 40  # letters of a backend: tables and pictures have columns for it
_LAYOUT = """\
a FOLDER holds concurrency_16.json, concurrency_64.json, ... in the key names of benchmark_serving (of perfgate
serve-bench, vLLM or TensorRT-LLM), or round_1/, round_2/, ... with such files, a fresh server process each:
  perfgate versus pytorch=results/pytorch vllm=results/vllm --out comparison
"""


def add_versus(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.set_defaults(command=_versus)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _LAYOUT
    parser.add_argument("sides", nargs="+", metavar="NAME=FOLDER", help="backends; the first is the reference")
    parser.add_argument("--out", type=Path, default=Path("perfgate-out/versus"), help="folder for text and picture")


def _versus(args: argparse.Namespace) -> int:
    """Exit code 1 where a run was invalid, or nothing at all could be compared."""
    from perfgate.report.versus import write_versus
    from perfgate.terminal import PlainScreen
    from perfgate.versus import compare_sides
    from perfgate.versus_files import read_sides

    screen = PlainScreen()
    found = compare_sides(read_sides(parse_sides(args.sides)))
    paths = write_versus(found, args.out, screen.write_line)
    screen.write_line(paths[0].read_text(encoding="utf-8"))
    screen.write_line(f"reports: {args.out}/ ({', '.join(path.name for path in paths)})")
    return int(bool(found.invalid) or all(cell.ratio is None for cell in found.cells))


def parse_sides(words: Sequence[str]) -> dict[str, Path]:
    """NAME=FOLDER words as folders by name, in order.

    Raises:
        UsageError: a word is not of that form, a name comes twice, or there is only one.
    """
    out: dict[str, Path] = {}
    for word in words:
        name, _, folder = word.partition("=")
        if not folder or not 0 < len(name) <= MOST_NAME or not name.isprintable():
            raise UsageError(
                f"found '{word[:80]}', expected NAME=FOLDER, such as pytorch=results/pytorch (NAME: up to {MOST_NAME} "
                "letters)"
            )
        if name in out:
            raise UsageError(f"the name '{name}' is given twice: each backend needs one of its own")
        out[name] = Path(folder)
    if len(out) < 2:  # noqa: PLR2004 - a comparison has two sides
        raise UsageError("expected two backends or more, NAME=FOLDER each; the first is the reference")
    return out
