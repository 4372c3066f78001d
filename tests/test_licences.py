"""docs/licences.md names what the lock file installs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_has_every_locked_package() -> None:
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / "embedded.txt").read_text(), re.MULTILINE)
    listed = re.findall(r"^\| ([\w.-]+) \|", (ROOT / "docs" / "licences.md").read_text(), re.MULTILINE)

    assert listed[0] == "package"
    assert listed[1:] == list(dict.fromkeys(locked)), "run: make licences"
