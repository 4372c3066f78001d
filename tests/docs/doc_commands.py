"""Commands of the documentation: where they stand, which are only parsed and why, what stands in for readers' files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import yaml
from doc_pages import NO_COMMANDS, PAGES, ROOT, Block, blocks, code_in_lines

PROGRAMS = ("perfgate", "pytest", "python", "python3", "make", "pip", "git", "nvidia-smi")
SHELLS = ("bash", "sh", "console")
_STARTS = re.compile(rf"(?:[A-Z_]+=\S* )*(?:{'|'.join(PROGRAMS)}) ")

# Suites that the documentation names and the repository does not hold, with one of the same kind.
STAND_INS = {
    "suites/llama.yaml": "fixtures/suites/embedded.yaml",
    "engine_vs_pytorch-tp1.yaml": "fixtures/suites/engine_vs_pytorch.yaml",
    "engine_vs_pytorch-tp2.yaml": "fixtures/suites/engine_vs_pytorch.yaml",
    "engine_vs_pytorch-tp1-2.yaml": "fixtures/suites/engine_vs_pytorch.yaml",
    "perfgate-out/tuned.yaml": "fixtures/suites/tune.yaml",
    "embedded.yaml": "fixtures/suites/embedded.yaml",
    "suite.yaml": "fixtures/suites/embedded.yaml",
    "...": "fixtures/suites/embedded.yaml",
}

# Pages that speak of a suite of the reader's: where commands name none, their engines are not those of ours.
OF_READERS_SUITES = ("docs/recipes.md", "docs/troubleshooting.md")


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it stands in the documentation, without its comment."""

    block: Block
    text: str

    def __str__(self) -> str:
        return f"{self.block} {self.text}"

    @property
    def words(self) -> list[str]:
        """Program and arguments, without variables set before them."""
        words = shlex.split(self.text)
        return words[next(i for i, word in enumerate(words) if not re.fullmatch(r"[A-Z_]+=.*", word)) :]

    @property
    def is_of_readers_suite(self) -> bool:
        page = str(self.block.page.relative_to(ROOT))
        return page in OF_READERS_SUITES and not {"--suite", "--perfgate-suite"} & set(self.words)


@cache
def command_blocks() -> list[Block]:
    """Blocks that hold commands: of a shell's language, without one and beginning with a command, scripts of CI."""
    found = [block for block in _all_blocks() if block.language in SHELLS or _is_untagged_command(block)]
    return found + [_script(block) for block in _all_blocks() if block.language == "yaml" and _script(block).text]


def hiding_blocks() -> list[Block]:
    """Untagged blocks in which a line after the first looks like a command, so that nobody knows what they are."""
    return [
        block
        for block in _all_blocks()
        if not (block.language or _is_untagged_command(block)) and any(map(_STARTS.match, block.text.splitlines()))
    ]


def commands(block: Block) -> list[Command]:
    """The commands of a block. Where some lines begin with '$ ', only those are commands."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    found = (_plain(shlex.join(words)) for line in lines for words in _simple(shlex.split(line, comments=True)))
    return [Command(block, text) for text in found if text]


def commands_in_lines() -> Iterator[Command]:
    """Commands between backticks, of which a page may leave out what it does not speak of."""
    for page in PAGES:
        for code in code_in_lines(page) if page not in NO_COMMANDS else ():
            text = " ".join(code.text.split())
            if _STARTS.match(text):
                found = (_plain(shlex.join(words)) for words in _simple(shlex.split(text)))
                yield from (Command(code, one) for text in found for one in _alternatives(text))


def _all_blocks() -> Iterator[Block]:
    return (block for page in PAGES if page not in NO_COMMANDS for block in blocks(page))


def _script(block: Block) -> Block:
    """The lines of `script:` of GitLab's jobs."""
    plain = yaml.safe_load(block.text)
    jobs = plain.values() if isinstance(plain, dict) else ()
    lines = [line for job in jobs if isinstance(job, dict) for line in job.get("script", ())]
    return replace(block, text="\n".join(lines))


def _is_untagged_command(block: Block) -> bool:
    return not block.language and _STARTS.match(block.text.removeprefix("$ ")) is not None


def _simple(words: list[str]) -> Iterator[list[str]]:
    """The commands between `&&`, `;` and pipes, without what they are redirected to."""
    if cut := next((i for i, word in enumerate(words) if word in {"&&", "||", "|", ";"}), None):
        yield from _simple(words[:cut])
        yield from _simple(words[cut + 1 :])
    elif into := next((i for i, word in enumerate(words) if re.fullmatch(r"\d?>>?|<", word)), None):
        yield words[:into] + words[into + 2 :]
    else:
        yield words


def _plain(joined: str) -> str:
    """As it was written, where quotes are not needed to tell words apart: `runs/*.json`, not `'runs/*.json'`."""
    return re.sub(r"'([^' ]+)'", r"\1", joined)


def _alternatives(text: str) -> list[str]:
    """'schema run|suite' is two commands."""
    words = text.split()
    at = next((i for i, word in enumerate(words) if re.fullmatch(r"[a-z-]+(\|[a-z-]+)+", word)), None)
    return [text] if at is None else [" ".join([*words[:at], one, *words[at + 1 :]]) for one in words[at].split("|")]
