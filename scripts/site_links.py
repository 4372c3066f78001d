"""Hook of mkdocs (mkdocs.yml): links that leave docs/ work on the site as they do in the repository.

What they lead to is carried along below repository/ of the site: pages as pages, other files as they are. So the site
needs no address of the repository and is whole without a network. Folders are not carried: link to a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
CARRIED = "repository/"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|/|#)([^)#\s]+)")
TABLE_ROW = re.compile(r"^\|.*$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file of the repository that a page links to, and those that such a page links to in turn."""
    from mkdocs.structure.files import File

    waiting = [home(file.src_uri) for file in files.documentation_pages()]
    while waiting:
        for path in linked(ROOT, waiting.pop()):
            uri = place(path)
            if files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
                waiting += [path] if path.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn the links of a page into those of the site, and its tables into those that Python-Markdown reads."""
    if page.file.src_uri.startswith(CARRIED):
        page.meta["search"] = {"boost": 0.3}  # the map of the modules names everything
    return TABLE_ROW.sub(bare_pipes, rewritten(ROOT, markdown, page.file.src_uri))


def bare_pipes(row: re.Match[str]) -> str:
    r"""A table's row with `a|b` for `a\|b`: GitHub needs the stroke before a pipe in code, Python-Markdown shows it."""
    return re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), row[0])


def linked(root: Path, page: str) -> Iterator[str]:
    """The files that a page links to, as paths in the repository."""
    for match in LINK.finditer((root / page).read_text(encoding="utf-8")):
        path = normpath(join(dirname(page), match[1]))
        if (root / path).is_file():
            yield path


def rewritten(root: Path, markdown: str, uri: str) -> str:
    """A page's text with the site's links; uri: where the page lies among the site's sources."""

    def as_on_site(match: re.Match[str]) -> str:
        path = normpath(join(dirname(home(uri)), match[1]))
        return relpath(place(path), dirname(uri) or ".") if (root / path).is_file() else match[1]

    return LINK.sub(as_on_site, markdown)


def place(path: str) -> str:
    """Where a file of the repository lies among the site's sources."""
    return path.removeprefix("docs/") if path.startswith("docs/") else CARRIED + path


def home(uri: str) -> str:
    """The inverse of `place`."""
    return uri.removeprefix(CARRIED) if uri.startswith(CARRIED) else f"docs/{uri}"
