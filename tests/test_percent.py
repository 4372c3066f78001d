"""Shares have one spelling wherever people read them: '5.0 %'."""

from __future__ import annotations

import re
from pathlib import Path

from perfgate.percent import percent

SOURCES = Path(__file__).parents[1] / "src" / "perfgate"
OF_YAML = {"schema.py"}  # says what may be written in a suite


def test_a_share_has_a_space_before_its_sign() -> None:
    assert [percent(0.05), percent(0.5, 0), percent(0.012, sign="+")] == ["5.0 %", "50 %", "+1.2 %"]


def test_no_module_spells_shares_itself() -> None:
    own = re.compile(r":[+]?[.]\w+%\}")

    texts = {path.name: path.read_text() for path in SOURCES.rglob("*.py") if path.name not in OF_YAML}

    assert [name for name, text in texts.items() if own.search(text)] == []
