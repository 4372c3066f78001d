"""Links of the documentation lead to files and headings, on GitHub and on the site; every page is in the site's nav."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import PAGES, ROOT, Link, anchors, links

sys.path.insert(0, str(ROOT / "scripts"))

from site_links import TABLE_ROW, bare_pipes, home, linked, place, rewritten


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not _is_there(page, link)] == []


def _is_there(page: Path, link: Link) -> bool:
    target = (page.parent / link.target) if link.target else page
    return target.exists() and (not link.anchor or target.suffix != ".md" or link.anchor in anchors(target))


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# `run` & judge: A/B\n\n## Two\n\n### Two\n\n```\n# none\n```\n")

    assert anchors(page) == {"run--judge-ab", "two", "two-1"}


def test_every_page_is_in_the_nav_once() -> None:
    """mkdocs is strict about this too; this says so without a build."""
    nav = sorted(_leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))

    assert nav == sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for child in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _leaves(child)


def test_what_lies_outside_docs_is_carried_and_links_follow(tmp_path: Path) -> None:
    for name, text in {
        "README.md": "[s](docs/start.md#one) [l](LICENSE) [w](https://x.org/LICENSE)",
        "LICENSE": "",
        "docs/start.md": "[r](../README.md#try) [b](sub/b.md) [c](#one) [gone](../gone.md)",
        "docs/sub/b.md": "[r](../../README.md)",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def on_site(uri: str) -> str:
        return rewritten(tmp_path, (tmp_path / home(uri)).read_text(), uri)

    assert [*linked(tmp_path, "docs/start.md")] == ["README.md", "docs/sub/b.md"]
    assert on_site("start.md") == "[r](repository/README.md#try) [b](sub/b.md) [c](#one) [gone](../gone.md)"
    assert on_site("sub/b.md") == "[r](../repository/README.md)"
    assert on_site("repository/README.md") == "[s](../start.md#one) [l](LICENSE) [w](https://x.org/LICENSE)"


@pytest.mark.parametrize("path", ["README.md", "fixtures/models/README.md", "docs/a.md", "docs/results/b.png"])
def test_a_place_on_the_site_has_one_home(path: str) -> None:
    assert home(place(path)) == path


def test_pipes_in_code_of_tables_lose_their_stroke() -> None:
    told = "`a\\|b`\n| `--ci x\\|y` | or \\| |\n"

    assert TABLE_ROW.sub(bare_pipes, told) == "`a\\|b`\n| `--ci x|y` | or \\| |\n"
