"""docs/licences.md names what the lock files install."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USERS = "embedded.txt"


def _locked(path: Path) -> set[str]:
    return set(re.findall(r"^([\w.-]+)==", path.read_text(), re.MULTILINE))


def _listed(heading: str) -> list[str]:
    page = (ROOT / "docs" / "licences.md").read_text()
    table = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    head, *names = re.findall(r"^\| ([\w.-]+) \|", table, re.MULTILINE)
    assert head == "package"
    return names


def test_the_page_has_every_package_that_users_install() -> None:
    assert _listed("With perfgate") == sorted(_locked(ROOT / "requirements" / USERS)), "run: make licences"


def test_the_page_has_every_package_that_ci_installs_besides() -> None:
    every = {name for path in (ROOT / "requirements").glob("*.txt") for name in _locked(path)}

    assert _listed("In CI") == sorted(every - _locked(ROOT / "requirements" / USERS)), "run: make licences"


@pytest.mark.parametrize("said", ["not stated", "UNKNOWN", "None |"])
def test_every_licence_is_known(said: str) -> None:
    assert said not in (ROOT / "docs" / "licences.md").read_text(), "its metadata says nothing: look it up"
