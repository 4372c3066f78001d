"""The browser that tests drive: where it is, and how it starts."""

from __future__ import annotations

import os
import shutil

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def chromium() -> str:
    """Its path; without one the test is skipped, with the reason."""
    found = os.environ.get("PERFGATE_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is on PATH, and PERFGATE_CHROMIUM is not set")
    return found


def arguments() -> list[str]:
    """Chromium refuses to sandbox itself as root."""
    return ["--no-sandbox"] if os.geteuid() == 0 else []
