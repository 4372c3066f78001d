"""Where in a suite file its engines and workloads are written, for those who are pointed at a line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml


def lines_of(source: Path) -> Mapping[str, int]:
    """Line (from 1) by 'engines.NAME' and 'workloads.NAME'; empty where the file is not there or no suite."""
    try:
        root = yaml.compose(source.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return {
        f"{section}.{name.value}": name.start_mark.line + 1
        for section, entries in _pairs(root).items()
        if section in {"engines", "workloads"}
        for name, _ in entries.value
    }


def _pairs(node: yaml.Node | None) -> Mapping[str, yaml.MappingNode]:
    """Those parts of a suite that are maps, by name."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(name.value): part for name, part in node.value if isinstance(part, yaml.MappingNode)}


def line_of(lines: Mapping[str, int], engine: str, case: str) -> int:
    """The line of a case's engine, or else of its workload, or else the file's first; `case` is the case's id."""
    workload = case.removeprefix(f"{engine}-")
    return lines.get(f"engines.{engine}") or lines.get(f"workloads.{workload}") or 1
