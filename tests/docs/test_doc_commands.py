"""Every command of the documentation means what it says to the parser that reads it."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest
from doc_commands import PROGRAMS, Command, command_blocks, commands, commands_in_lines, hiding_blocks
from doc_pages import PAGES, ROOT, Block
from doc_parsing import WrongCommandError, make_lines, parse_perfgate, parse_pytest, parse_script

COMMANDS = [command for block in command_blocks() for command in commands(block)]
IN_LINES = {command.text: command for command in commands_in_lines()}  # each once


def _unique(found: list[Command]) -> list[Command]:
    return [*{command.text: command for command in found}.values()]


def test_there_are_commands_to_look_at() -> None:
    assert len(COMMANDS) > 50
    assert len(IN_LINES) > 50


def test_blocks_are_commands_or_not() -> None:
    """A block of both begins with a command, marks its commands by '$ ', or is tagged `text`."""
    assert [str(block) for block in hiding_blocks()] == []


def test_lines_of_a_shell_come_apart() -> None:
    text = "A=1 perfgate run -v && git diff > x.txt  # why\npytest 'a b' | head -3"
    block = Block(ROOT / "README.md", 1, "bash", text)

    assert [command.text for command in commands(block)] == [
        "A=1 perfgate run -v", "git diff", "pytest 'a b'", "head -3",
    ]  # fmt: skip
    assert commands(block)[0].words == ["perfgate", "run", "-v"]


@pytest.mark.parametrize("command", _unique(COMMANDS), ids=str)
def test_commands_of_blocks_are_parsed(
    command: Command, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    _parse(command, pytester, monkeypatch)


@pytest.mark.parametrize("command", IN_LINES.values(), ids=str)
def test_commands_in_lines_are_parsed(
    command: Command, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = command.words
    if words[:2] == ["perfgate", "COMMAND"]:
        words[1] = "run"
    if words[0] == "perfgate":
        parse_perfgate(words[1:], may_be_cut=True, knows_suite=not command.is_of_readers_suite)
    elif words[0] != "pytest" or {"-k", "--perfgate-suite"} <= set(
        words
    ):  # whose options are looked at below: a line tells no whole command
        _parse(command, pytester, monkeypatch)


def _parse(command: Command, pytester: pytest.Pytester, patch: pytest.MonkeyPatch) -> None:
    words = command.words
    match words:
        case ["perfgate", *arguments]:
            parse_perfgate(arguments, knows_suite=not command.is_of_readers_suite)
        case ["pytest", *arguments] | ["python" | "python3", "-m", "pytest", *arguments]:
            parse_pytest(arguments, pytester, patch)
        case ["python" | "python3", "-m", module, *_]:
            assert module.startswith("vllm."), "of a package that is not installed here"
        case ["python" | "python3", *script]:
            parse_script(script, patch)
        case ["make", *arguments]:
            gates = [shlex.split(line) for line in make_lines(arguments) if re.search(r"/pytest perf_tests", line)]
            for gate in gates:
                parse_pytest(gate[1:], pytester, patch)
        case ["pip", "install", *packages]:
            assert {extra for package in packages for extra in _extras(package)} <= _known_extras()
        case _:
            assert words[0] in {*PROGRAMS, "rm", "test"}, f"no rule says how `{words[0]}` is looked at"


def _extras(package: str) -> list[str]:
    """'pytest-perfgate[history]': ['history']."""
    named = re.search(r"perfgate[^\[]*\[([\w,-]+)\]", package)
    return named[1].split(",") if named else []


def _known_extras() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def test_options_of_the_plugin_exist(request: pytest.FixtureRequest) -> None:
    named = {word for page in PAGES for word in re.findall(r"(?<![\w-])--perfgate-[a-z-]+\b", page.read_text())}

    assert [name for name in sorted(named) if not _is_option(request.config, name)] == []


def _is_option(config: pytest.Config, name: str) -> bool:
    missing = object()
    return config.getoption(name, missing) is not missing


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("perfgate run --no-such-option", "unrecognized arguments: --no-such-option"),
        ("perfgate runn", "invalid choice: 'runn'"),
        ("perfgate run --suite fixtures/suites/gone.yaml", "no suite fixtures/suites/gone.yaml"),
        ("perfgate calibrate --engines int9", "has no engines int9"),
        ("perfgate judge baselines/gone.json", "not in the repository: baselines/gone.json"),
        ("pytest perf_tests --perfgate-no-such", "unrecognized arguments: --perfgate-no-such"),
        ("pytest perf_tests/test_gone.py", "file or directory not found"),
        ("pytest perf_tests -k nothing_like_it", "exit code 5"),
        ("python scripts/prune.py --no-such", "unrecognized arguments: --no-such"),
        ("python benchmarks/judging.py --fast", "has no options"),
        ("python scripts/gone.py", "no scripts/gone.py"),
        ("make no-such-target", "No rule to make target"),
        ('make gate ARGS="--perfgate-no-such"', "unrecognized arguments: --perfgate-no-such"),
    ],
)
def test_what_is_wrong_is_seen(
    text: str, said: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WrongCommandError, match=re.escape(said)):
        _parse(Command(Block(ROOT / "README.md", 1, "", text), text), pytester, monkeypatch)
