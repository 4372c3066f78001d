"""The documentation holds together: links lead somewhere, and the map of the house knows every module."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#[^)\s]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if target]

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_map_knows_every_module() -> None:
    told = (ROOT / "CONTRIBUTING.md").read_text()
    modules = {path.name for path in (ROOT / "src" / "perfgate").glob("*.py")} - {"__init__.py"}

    assert sorted(name for name in modules if f"`{name}`" not in told) == []
