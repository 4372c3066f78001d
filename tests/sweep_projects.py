"""Sweeps over the fake engine, for tests of the command line and of the plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

SWEEP = """
sweep:
  axes:
{axes}
  rounds: {rounds}
  builds: {builds}
{more}
cases: []
"""


def with_sweep(axes: str, rounds: int = 1, builds: int = 1, more: str = "") -> Callable[[str], str]:
    """An edit of the small project's suite: a sweep of these axes, and no cases of its own."""
    lines = "\n".join(f"    {line}" for line in axes.strip().splitlines())
    section = SWEEP.format(axes=lines, rounds=rounds, builds=builds, more=f"  {more}" if more else "")
    return lambda text: text + section


def built(log: Path) -> int:
    """Finished builds, by the fake engine's log."""
    return len(log.read_text().splitlines()) if log.exists() else 0
