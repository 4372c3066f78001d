"""Pictures of pages in headless Chromium, as small PNG files."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any, Self

from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_WIDTH, _COLOURS = 1200, 128


class Browser:
    """A browser whose pictures go into a folder; a context, for the browser's process."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __enter__(self) -> Self:
        self._playwright = sync_playwright().start()
        args = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to sandbox itself as root
        self._browser = self._playwright.chromium.launch(executable_path=_program(), args=args)
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.close()
        self._playwright.stop()

    def top(self, name: str, html: Path, *, height: int, width: int = _WIDTH, scheme: Any = "light") -> None:
        """The page as it opens in a window of so many pixels."""
        page = self._page(html, width, height, scheme)
        self._write(name, page.screenshot())

    def case(self, name: str, html: Path, case: str) -> None:
        """A case's part of the page, unfolded."""
        page = self._page(html, _WIDTH, 1000, "light")
        part: Locator = page.locator("details", has=page.locator("summary strong", has_text=case))
        if not part.evaluate("e => e.open"):
            part.locator("> summary").click()
        self._write(name, part.screenshot())

    def _page(self, html: Path, width: int, height: int, scheme: Any) -> Page:
        page = self._browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(html.as_uri())
        return page

    def _write(self, name: str, png: bytes) -> None:
        """With as many colours as text and lines need: a third of the size."""
        picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        picture.save(self._out / f"{name}.png", optimize=True)


def _program() -> str:
    found = os.environ.get("PERFGATE_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        raise SystemExit(f"no browser: none of {', '.join(_NAMES)} is on PATH, and PERFGATE_CHROMIUM is not set")
    return found
