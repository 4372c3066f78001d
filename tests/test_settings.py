from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from perfgate.cli import _parser
from perfgate.settings import SETTINGS, Settings, read_table


def _settings(
    *, cli: dict[str, Any] | None = None, env: dict[str, str] | None = None, ini: dict[str, str] | None = None,
    table: dict[str, Any] | None = None,
) -> Settings:  # fmt: skip
    line, file = cli or {}, ini or {}
    return Settings(line.get, lambda name: file.get(name, ""), table or {}, env or {})


EVERYWHERE: dict[str, Any] = {
    "cli": {"out": "of-cli"},
    "env": {"PERFGATE_OUT": "of-env"},
    "ini": {"perfgate_out": "of-ini"},
    "table": {"out": "of-table"},
}


@pytest.mark.parametrize(
    ("places", "value", "where"),
    [
        (("cli", "env", "ini", "table"), "of-cli", "--perfgate-out"),
        (("env", "ini", "table"), "of-env", "PERFGATE_OUT"),
        (("ini", "table"), "of-ini", "perfgate_out in the ini file"),
        (("table",), "of-table", "out in [tool.perfgate] of pyproject.toml"),
        ((), "perfgate-out", "--perfgate-out"),
    ],
)
def test_the_command_line_goes_before_the_environment_before_ini_before_pyproject(
    places: tuple[str, ...], value: str, where: str
) -> None:
    found = _settings(**{name: EVERYWHERE[name] for name in places})["out"]

    assert (found.value, found.where) == (value, where)


def test_a_flag_that_a_nearer_place_turns_off_is_off() -> None:
    found = _settings(env={"PERFGATE_THOROUGH": "no"}, table={"thorough": True})

    assert not found.is_set("thorough")


@pytest.mark.parametrize("place", [{"ini": {"perfgate_thorough": "yes"}}, {"table": {"thorough": True}}])
def test_a_flag_is_set_from_a_file(place: dict[str, Any]) -> None:
    assert _settings(**place).is_set("thorough")


def test_numbers_of_pyproject_read_as_on_the_command_line() -> None:
    assert _settings(table={"rounds": 5})["rounds"].value == "5"


def test_everything_that_cannot_be_meant_is_told_at_once() -> None:
    faults = _settings(
        env={"PERFGATE_THOROUGH": "perhaps"}, table={"sweet": "x", "suit": "a.yaml", "rounds": [3]}
    ).faults()

    assert [fault.partition(":")[0].partition(";")[0] for fault in faults] == [
        "[tool.perfgate] of pyproject.toml has no key 'sweet'",
        "[tool.perfgate] of pyproject.toml has no key 'suit'",
        "rounds in [tool.perfgate] of pyproject.toml",
        "PERFGATE_THOROUGH",
    ]
    assert faults[1].endswith("did you mean 'suite'?")


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool]\nperfgate = 3\n")

    with pytest.raises(ValueError, match=r"tool\.perfgate is no table"):
        read_table(tmp_path / "pyproject.toml")


def test_every_command_and_every_option_of_one_stands_in_the_docs() -> None:
    """A command in options.md, an option on any page."""
    docs = Path(__file__).parent.parent / "docs"
    table, pages = (docs / "options.md").read_text(), "\n".join(page.read_text() for page in docs.glob("*.md"))
    (commands,) = (one for one in _parser()._actions if isinstance(one, argparse._SubParsersAction))

    assert [name for name in commands.choices if f"`{name}" not in table] == []
    options = {
        (name, option)
        for name, parser in commands.choices.items()
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and action.help != argparse.SUPPRESS and option != "--help"
    }
    assert sorted(one for one in options if one[1] not in pages) == []


def test_every_setting_stands_in_the_docs() -> None:
    page = (Path(__file__).parent.parent / "docs" / "options.md").read_text()

    assert [one.option for one in SETTINGS.values() if one.option not in page or one.key not in page] == []
