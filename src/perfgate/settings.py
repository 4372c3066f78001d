"""Settings of a pytest session: the command line before the environment, before the ini file, before pyproject.toml.

The plugin imports this module in every session: it imports the standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLE = "[tool.perfgate] of pyproject.toml"


@dataclass(frozen=True, slots=True)
class Setting:
    """What can be set in four places. `name` is as in `--perfgate-NAME`; a flag has no default but off."""

    name: str
    help: str
    default: str | None = None
    is_flag: bool = False

    @property
    def option(self) -> str:
        return f"--perfgate-{self.name}"

    @property
    def key(self) -> str:
        """'lease_wait': in pyproject.toml; with the prefix perfgate_ in the ini file, PERFGATE_ in the environment."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        return f"PERFGATE_{self.key.upper()}"


SETTINGS: Mapping[str, Setting] = {
    one.name: one
    for one in [
        Setting("suite", "suite file (YAML)"),
        Setting("baselines", "folder of reviewed baselines, <device key>/<suite>.json below it", "baselines"),
        Setting("out", "folder for reports", "perfgate-out"),
        Setting("state", "folder for engine cache, journal, logs and local baselines", ".perfgate"),
        Setting("policy", "what undecided cases do: ci or local (without it: ci where the variable CI is set)"),
        Setting(
            "rounds",
            "measuring processes per engine and side: exactly this many (without it: as the suite says)",
        ),
        Setting("budget", "time for the whole gate, such as 90s, 4min or 2h (without it: the suite's)"),
        Setting("waivers", "file of waivers (without it: waivers.yaml in the folder of baselines)"),
        Setting("format", "further reports, by commas: junit, png, github-action-benchmark, bencher"),
        Setting("lease-wait", "how long to wait for a device on which others measure: 0s, 10min, 2h", "1h"),
        Setting(
            "thorough",
            "judge for smaller changes (3 %% where the suite asks for 5 %%), with more rounds where needed",
            is_flag=True,
        ),
        Setting(
            "rebuild-baseline",
            "install the packages that a baseline's engine was made with, to run it again beside ours",
            is_flag=True,
        ),
    ]
}

_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was written, and where: the word that a message about it begins with."""

    value: str | None
    where: str

    def __bool__(self) -> bool:
        return bool(self.value)


@dataclass(frozen=True, slots=True)
class Settings:
    """The four places. command_line: by setting's name; None where an option was not given; ini: the same by key."""

    command_line: Callable[[str], str | bool | None]
    ini: Callable[[str], str]
    table: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def __getitem__(self, name: str) -> Given:
        """The value that holds and where it stands; flags are '1' or None."""
        one = SETTINGS[name]
        given = self.command_line(name)
        if given not in {None, False}:
            return Given("1" if given is True else str(given), one.option)
        if one.variable in self.environment and (text := self.environment[one.variable]):
            return self._read(one, text, one.variable)
        if text := self.ini(f"perfgate_{one.key}"):
            return self._read(one, text, f"perfgate_{one.key} in the ini file")
        if one.key in self.table:
            return self._read(one, _text(self.table[one.key]), f"{one.key} in {TABLE}")
        return Given(one.default, one.option)

    def is_set(self, name: str) -> bool:
        return self[name].value is not None

    def _read(self, one: Setting, text: str, where: str) -> Given:
        if not one.is_flag:
            return Given(text, where)
        return Given("1" if text.lower() in _ON else None, where)

    def faults(self) -> list[str]:
        """Everything that stands in a file or in the environment and cannot be meant, one line each."""
        known = {one.key: one for one in SETTINGS.values()}
        found = [_unknown(key, list(known)) for key in self.table if key not in known]
        for one in SETTINGS.values():
            found += self._wrong_flag(one) if one.is_flag else self._wrong_type(one)
        return found

    def _wrong_flag(self, one: Setting) -> list[str]:
        texts = {
            one.variable: self.environment.get(one.variable, ""),
            f"perfgate_{one.key} in the ini file": self.ini(f"perfgate_{one.key}"),
            f"{one.key} in {TABLE}": _text(self.table.get(one.key, "")),
        }
        wrong = ((where, text) for where, text in texts.items() if text.lower() not in (*_ON, *_OFF))
        return [f"{where}: found '{text}', expected true or false" for where, text in wrong]

    def _wrong_type(self, one: Setting) -> list[str]:
        value = self.table.get(one.key, "")
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return []
        return [f"{one.key} in {TABLE}: found {value!r}, expected a text"]


def _unknown(key: str, known: list[str]) -> str:
    from difflib import get_close_matches  # only for a fault

    near = get_close_matches(key, known, 1)
    more = f"; did you mean '{near[0]}'?" if near else ""
    return f"{TABLE} has no key '{key}'; known: {', '.join(known)}{more}"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_table(pyproject: Path) -> Mapping[str, Any]:
    """`[tool.perfgate]`; empty where the file or the table is not there.

    Raises:
        ValueError: the file is no TOML, or the table is none.
    """
    import tomllib  # only where perfgate is used

    if not pyproject.is_file():
        return {}
    found = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {}).get("perfgate", {})
    if not isinstance(found, dict):
        raise ValueError(f"{pyproject}: tool.perfgate is no table")  # noqa: TRY004 - a fault of the file
    return found
