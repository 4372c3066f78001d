"""The site of docs/ builds strictly, asks nothing of the network, and searches when it is opened from files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import ROOT

from chromium import arguments, chromium

pytest.importorskip("mkdocs", reason="the extra `dev` (mkdocs-material) is not installed")

FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=\"?(https?:[^\s\">]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        _build(folder),
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def _build(folder: Path) -> list[str]:
    return [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = {page.name: FETCHED.findall(page.read_text()) for page in site.rglob("*.html")}

    assert "index.html" in pages
    assert {name: found for name, found in pages.items() if found} == {}


def test_what_pages_link_to_outside_docs_is_there(site: Path) -> None:
    assert (site / "repository" / "CONTRIBUTING.html").is_file()
    assert "repository/index.html" in (site / "index.html").read_text()


def test_search_works_from_files(site: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the extra `browser` (playwright) is not installed")
    found = chromium()
    asked = list[str]()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments())
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.get_by_placeholder("Search").click()
        page.keyboard.type("calibrate")
        page.locator(".md-search-result__link", has_text="Calibrating").first.wait_for()
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_what_is_wrong_fails_the_build(tmp_path: Path) -> None:
    """A dead link, a dead anchor and a page that the nav has not; `--quiet` would hide them from `strict`."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# One\n\n[a](gone.md) [b](#gone)\n")
    (tmp_path / "docs" / "stray.md").write_text("# Two\n")
    settings = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[0].replace("hooks: [scripts/site_links.py]", "")
    (tmp_path / "mkdocs.yml").write_text(f"{settings}\nnav: [index.md]\n")

    done = subprocess.run(_build(tmp_path / "site"), cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert all(said in done.stderr for said in ("'gone.md'", "'#gone'", "stray.md"))
