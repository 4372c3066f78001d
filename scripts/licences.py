"""Write docs/licences.md: what perfgate's users install with it, what its CI installs besides, under which licences.

    make licences          (which is: .venv/bin/python scripts/licences.py > docs/licences.md)

Names are those of the lock files in requirements/; versions and licences are what each package's metadata says
(License-Expression, else License, else its classifiers), where it is installed.
"""

from __future__ import annotations

import re
import sys
from email.message import Message
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
USERS = ("embedded",)
OURS = ("dev", "build", "audit", "publish", "browser")
TABLE = "\n| package | version | licence |\n|---|---|---|\n"
HEAD = """# Licences of what is installed

perfgate is Apache-2.0. `make licences` writes this page from the lock files in requirements/ and the packages' own
metadata, as installed there by Python 3.11.

## With perfgate

What comes with perfgate and its extra `embedded` (requirements/embedded.txt).
"""
CI = """
## In CI

What our tests, builds and releases install besides (requirements/dev.txt, build.txt, audit.txt, publish.txt,
browser.txt). None of it is in the wheel, and no user needs it.
"""


def locked(*files: str) -> list[str]:
    """Names of lock files, sorted; a package locked for several Pythons or in several files stands once."""
    texts = [(REQUIREMENTS / f"{file}.txt").read_text() for file in files]
    return sorted({name for text in texts for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)})


# Looked up where the metadata says nothing: in the licence files of the wheel.
LOOKED_UP = {"axe-playwright-python": "MIT; axe-core in it MPL-2.0"}


def licence(told: Message) -> str:
    """What a package says of its licence, in a few words."""
    short = told["License-Expression"] or told["License"] or ""
    if short not in {"", "UNKNOWN"} and "\n" not in short and len(short) < 80:  # noqa: PLR2004 - else it is the licence's text
        return short
    names = [line.rpartition(" :: ")[2] for line in told.get_all("Classifier", []) if line.startswith("License ::")]
    return ", ".join(names) or LOOKED_UP.get(told["Name"], "not stated in its metadata")


def row(name: str) -> str:
    """A line of a table; a package that this platform does not install is told as that."""
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return f"| {name} | | not installed on {sys.platform} |\n"
    return f"| {name} | {told['Version']} | {licence(told)} |\n"


def main() -> None:
    """Print the page."""
    users = locked(*USERS)
    ours = [name for name in locked(*OURS) if name not in users]
    sys.stdout.write(HEAD + TABLE + "".join(map(row, users)) + CI + TABLE + "".join(map(row, ours)))


if __name__ == "__main__":
    main()
