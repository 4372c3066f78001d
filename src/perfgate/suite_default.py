"""Which suite commands take where none is named: the repository's own, as its pytest would."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from perfgate.plain_file import open_plain

OWN = Path("fixtures/suites/embedded.yaml")  # in perfgate's own repository
STARTED = Path("suite.yaml")  # as `perfgate init` names it


def default_suite(root: Path = Path()) -> Path:
    """`PERFGATE_SUITE`, `suite` under [tool.perfgate], perfgate_suite of pytest's settings there, else a usual name."""
    named = os.environ.get("PERFGATE_SUITE") or _named(root / "pyproject.toml")
    if named:
        return Path(named)
    return OWN if (root / OWN).exists() and not (root / STARTED).exists() else STARTED


def _named(pyproject: Path) -> str | None:
    """A file that is no TOML names none: who reads it for more than this says so."""
    try:
        with open_plain(pyproject) as file:
            tool: dict[str, Any] = tomllib.load(file).get("tool", {})
        found = tool.get("perfgate", {}).get("suite") or tool["pytest"]["ini_options"]["perfgate_suite"]
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return found if isinstance(found, str) else None
