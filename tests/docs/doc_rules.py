"""How each command in a block of the documentation is tested: run, run for less work, run by another test, or parsed.

python tests/docs/doc_rules.py      # every command with its rule, and how many there are of each kind
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from doc_commands import Command, command_blocks, commands


class How(StrEnum):
    """What a test does with a command."""

    RUN = "run as it stands"
    SMALLER = "run for less work"  # with options behind it that the command has
    ELSEWHERE = "run by another test"
    PARSED = "parsed only"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done with commands of a pattern, and why it is no more.

    more: options put behind the command; '{port}' is that of a server on this machine.
    test: of ELSEWHERE, the file that runs it: what the pattern names and the command's options stand in its code.
    codes: exit codes that the page leads to expect; said: what the output then holds.
    """

    pattern: str
    how: How
    why: str = ""
    more: tuple[str, ...] = ()
    test: str = ""
    codes: tuple[int, ...] = (0,)
    said: tuple[str, ...] = ()


_PARSED, _SMALLER, _ELSEWHERE, _RUN = How.PARSED, How.SMALLER, How.ELSEWHERE, How.RUN
_SERVED = ("--url", "http://127.0.0.1:{port}", "--isl", "8", "--osl", "16", "--concurrency", "1,2")
_BUSY = (0, 1)  # 1: on a busy machine the client is the limit of so short a load, and says so
_FAKE = ("--backend", "fake_engine:FakeBackend", "--rounds", "1")

# The first that fits a command holds; where none does, it is run as it stands.
RULES = (
    Rule("pip install *", _PARSED, "installs packages"),
    Rule("CUDA_VISIBLE_DEVICES=* pytest *", _PARSED, "needs a GPU; its cases are collected"),
    Rule("make test", _PARSED, "is what runs this"),
    Rule("make check", _PARSED, "is what runs this"),
    Rule(
        "make gate 'ARGS=*",
        _SMALLER,
        "pytest's line of it, after the environment was made",
        ("--perfgate-rounds", "2"),
        codes=(1,),
        said=("*decode x1.25*", "*perplexity*regressed*"),
    ),
    Rule("make gate", _SMALLER, "pytest's line of it, after the environment was made", ("--perfgate-rounds", "2")),
    Rule("python scripts/distill.py", _PARSED, "trains for minutes with torch"),
    Rule("python scripts/llama_shape.py *", _PARSED, "needs the package tokenizers"),
    Rule("python scripts/prune.py", _ELSEWHERE, "writes into build/", test="tests/test_prune.py"),
    Rule("python benchmarks/*", _PARSED, "measures for minutes; some need a GPU"),
    Rule("pytest perf_tests/test_backends.py *", _PARSED, "servers on GPUs, or torch; its cases are collected"),
    Rule(
        "pytest perf_tests/test_quantization.py *",
        _ELSEWHERE,
        "quantises for minutes",
        test="tests/test_plugin_quantise.py",
    ),
    Rule("pytest perf_tests/test_tradeoffs.py *", _ELSEWHERE, "sweeps", test="tests/test_plugin_sweep.py"),
    Rule("perfgate ab *==*", _PARSED, "installs packages"),
    Rule("perfgate baseline accept * --suite fixtures/suites/llama8b_h200.yaml *", _PARSED, "needs a run of GPUs"),
    Rule("perfgate serve *", _SMALLER, "on a port that is free", ("--port", "{port}")),
    Rule(
        "perfgate serve-bench * --vocab-size 32000 *",
        _SMALLER,
        "on small loads",
        (*_SERVED, "--vocab-size", "2048"),
        codes=_BUSY,
        said=("*results: *",),
    ),
    Rule("perfgate serve-bench *", _SMALLER, "on small loads", _SERVED, codes=_BUSY, said=("*results: *",)),
    Rule(
        "perfgate selftest *",
        _SMALLER,
        "dozens of gates",
        ("--gates", "1", "--rounds", "2", "--decode", "10", "--perplexity", ""),
    ),
    Rule("perfgate calibrate*", _SMALLER, "six pairs of rounds an engine", ("--rounds", "3", "--levers", "none")),
    Rule("perfgate tune * --budget *", _ELSEWHERE, "a search of many steps", test="tests/test_tune.py"),
    Rule("pytest --perfgate-suite perfgate-out/tuned.yaml", _PARSED, "the suite that `perfgate tune` writes"),
    Rule("perfgate quantize --suite *", _SMALLER, "builds and measures", ("--rounds", "1")),
    Rule("perfgate quantize *", _SMALLER, "needs NNCF or torch", _FAKE),
    Rule("perfgate sweep * --plan", _RUN),
    Rule("perfgate sweep *", _SMALLER, "nine engines", ("--rounds", "1")),
    Rule("perfgate run *", _SMALLER, "measures for minutes", ("--rounds", "1")),
    Rule("perfgate techniques * --keep *", _SMALLER, "writes into docs/", ("--out", "page.md", "--keep", "kept")),
    Rule("perfgate techniques *", _SMALLER, "writes into docs/", ("--out", "page.md")),
    Rule("perfgate doctor", _RUN, "what is unfit depends on the machine", codes=(0, 1), said=("*fit (*",)),
    Rule("perfgate ab * --fail", _RUN),
    Rule(
        "pytest *--perfgate-inject *",
        _SMALLER,
        "for as many rounds as decide",
        ("--perfgate-rounds", "5"),
        codes=(1,),
        said=("*regressed*",),
    ),
)


def rule_of(command: Command) -> Rule:
    """The rule that holds for a command."""
    if command.block.page.name == "recipes.md":
        return _OF_RECIPES
    return next((rule for rule in RULES if fnmatchcase(command.text, rule.pattern)), Rule("*", _RUN))


_OF_RECIPES = Rule("*", _PARSED, "of a suite and results of the reader's, not one story; other pages run most of them")


def distinct_commands() -> list[Command]:
    """Those of all blocks, each text once."""
    every = [one for block in command_blocks() for one in commands(block)]
    return [
        *{one.text: one for one in sorted(every, key=lambda one: rule_of(one) is _OF_RECIPES, reverse=True)}.values()
    ]


def counted(found: Sequence[Command]) -> Counter[How]:
    """How many commands there are of each kind."""
    return Counter(rule_of(command).how for command in found)


def _tell(every: Sequence[Command]) -> None:
    for kind in How:
        for told in (one for one in every if rule_of(one).how is kind):
            reason = "; ".join(filter(None, (rule_of(told).why, rule_of(told).test, " ".join(rule_of(told).more))))
            sys.stdout.write(f"{kind}: {told}{f'  ({reason})' if reason else ''}\n")
    figures = ", ".join(f"{number} {kind}" for kind, number in counted(every).items())
    sys.stdout.write(f"{figures}; of {len(every)}\n")


if __name__ == "__main__":
    _tell(distinct_commands())
