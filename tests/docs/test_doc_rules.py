"""The rules for commands of the documentation hold: each is used, and what another test runs is in that test's code."""

from __future__ import annotations

import ast
import shlex
from pathlib import Path

import pytest
from doc_commands import Command
from doc_pages import ROOT
from doc_rules import RULES, How, Rule, counted, distinct_commands, rule_of

EVERY = distinct_commands()
LEAST_RUN = 0.55  # of all distinct commands: the share may grow


def _words(file: Path) -> set[str]:
    """Words of the strings in a file's code: not of docstrings and comments."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {word for node in texts if id(node) not in told for word in str(node.value).replace("/", " ").split()}


def _missing(command: Command, rule: Rule) -> set[str]:
    """What a command needs of the test that is said to run it, and its code does not have."""
    file = ROOT / rule.test
    if not rule.test or not file.is_file():
        return {rule.test or "a test"}
    words = shlex.split(command.text)
    named = words[1] if words[0] == "perfgate" else Path(words[1]).name
    own = {word for word in words if word.startswith("--") and not word.startswith("--perfgate-suite")}
    return ({named} | own) - _words(file)


@pytest.mark.parametrize("command", [one for one in EVERY if rule_of(one).how is How.ELSEWHERE], ids=str)
def test_what_another_test_runs_is_in_its_code(command: Command) -> None:
    assert _missing(command, rule_of(command)) == set()


def test_a_reference_that_rotted_is_seen() -> None:
    block = EVERY[0].block
    rule = Rule("*", How.ELSEWHERE, test="tests/test_tune.py")

    assert _missing(Command(block, "perfgate tune --goal latency --faster"), rule) == {"--faster"}
    assert _missing(Command(block, "perfgate sweep"), rule) == {"sweep"}
    assert _missing(Command(block, "perfgate sweep"), Rule("*", How.ELSEWHERE, test="tests/gone.py")) == {
        "tests/gone.py"
    }


def test_each_rule_holds_for_a_command() -> None:
    used = {rule_of(one) for one in EVERY}

    assert [rule.pattern for rule in RULES if rule not in used] == []


def test_most_commands_are_run() -> None:
    found = counted(EVERY)

    assert (found[How.RUN] + found[How.SMALLER]) / len(EVERY) >= LEAST_RUN
