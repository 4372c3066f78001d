"""Write docs/licences.md: what `pip install` of perfgate and its extra `embedded` brings, and under which licences.

    make licences          (which is: .venv/bin/python scripts/licences.py > docs/licences.md)

Names are those of requirements/embedded.txt; versions and licences are what each package's metadata says
(License-Expression, else License, else its classifiers), where it is installed.
"""

from __future__ import annotations

import re
import sys
from email.message import Message
from importlib import metadata
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements" / "embedded.txt"
HEAD = """# Licences of what is installed

perfgate is Apache-2.0. These packages come with it and its extra `embedded` (`make licences` writes this page from
requirements/embedded.txt and the packages' own metadata, as installed there by Python 3.11).

| package | version | licence |
|---|---|---|
"""


def locked(text: str) -> list[str]:
    """Names of a lock file; a package locked for several Pythons stands once."""
    return list(dict.fromkeys(re.findall(r"^([\w.-]+)==", text, re.MULTILINE)))


def licence(told: Message) -> str:
    """What a package says of its licence, in a few words."""
    short = told["License-Expression"] or told["License"] or ""
    if short and "\n" not in short and len(short) < 80:  # noqa: PLR2004 - else it is the licence's text
        return short
    names = [line.rpartition(" :: ")[2] for line in told.get_all("Classifier", []) if line.startswith("License ::")]
    return ", ".join(names) or "not stated in its metadata"


def main() -> None:
    """Print the page; a package that this platform does not install is told as that."""
    rows = []
    for name in locked(LOCK.read_text()):
        try:
            told = metadata.metadata(name)
            rows.append(f"| {name} | {told['Version']} | {licence(told)} |")
        except metadata.PackageNotFoundError:
            rows.append(f"| {name} | | not installed on {sys.platform} |")
    sys.stdout.write(HEAD + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
