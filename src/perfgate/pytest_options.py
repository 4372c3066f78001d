"""What a pytest session asks of a gate: its settings and options, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.errors import UsageError
from perfgate.rounds_option import checked_rounds
from perfgate.schema import parse_duration
from perfgate.settings import Settings, read_table
from perfgate.terms import DEFAULT_POLICIES

if TYPE_CHECKING:  # collecting cases must not import numpy and scipy
    from perfgate.plan import Options
    from perfgate.report.formats import Format


@dataclass(frozen=True, slots=True)
class Asked:
    """The settings of a session, and what only its command line can say."""

    settings: Settings
    option: Callable[[str], Any]
    root: Path  # paths of files are relative to it
    called_from: Path  # those of the command line to this folder, where it has such a file
    is_ci: bool

    @staticmethod
    def of(config: pytest.Config, *, is_ci: bool) -> Asked:
        """What this session's command line, environment, ini file and pyproject.toml say.

        Raises:
            UsageError: everything that cannot be meant, at once.
        """

        def option(name: str) -> Any:
            return config.getoption(f"perfgate_{name.replace('-', '_')}")

        try:
            table = read_table(config.rootpath / "pyproject.toml")
        except (ValueError, OSError) as exc:
            raise UsageError(f"pyproject.toml cannot be read: {exc}") from exc
        settings = Settings(option, config.getini, table)
        if faults := settings.faults():
            raise UsageError("\n  ".join(["settings that cannot be meant:", *faults] if faults[1:] else faults))
        return Asked(settings, option, config.rootpath, config.invocation_params.dir, is_ci)

    def path(self, name: str) -> Path:
        """A path as written: from where pytest was called, or else from the root."""
        given = Path(name)
        called = self.called_from / given
        return given if given.is_absolute() else called if called.exists() else self.root / given

    def folder(self, name: str) -> Path:
        """A setting's folder, from the root."""
        return self.root / str(self.settings[name].value)

    @property
    def suite(self) -> Path | None:
        found = self.settings["suite"]
        return self.path(str(found.value)) if found else None

    def options(self) -> Options:
        """The gate's options.

        Raises:
            UsageError: with the place, what was found and what is expected.
        """
        from perfgate.plan import Options, parse_budget
        from perfgate.plant import parse_plant
        from perfgate.waivers import load_waivers

        settings, baselines = self.settings, self.folder("baselines")
        budget, waivers = settings["budget"], settings["waivers"].value
        return Options(
            baselines=baselines,
            state=self.folder("state"),
            policy=self.policy,
            rounds=self.rounds,
            budget_s=parse_budget(budget.where, budget.value),
            plant=parse_plant(self.option("inject")),
            update_reason=self._update_reason(),
            rebuild=self.option("rebuild"),
            rebuild_baseline=settings.is_set("rebuild-baseline"),
            thorough=settings.is_set("thorough"),
            update_expires=self._update_expires(),
            update_only_new=self.option("only-new"),
            waivers=load_waivers(self.path(waivers) if waivers else None, baselines),
            lease_wait_s=self._lease_wait_s(),
            lease_option="--perfgate-lease-wait",
        )

    @property
    def formats(self) -> tuple[Format, ...]:
        """Further reports."""
        from perfgate.report.formats import parse_formats

        given = self.settings["format"]
        return parse_formats(given.where, given.value) if given else ()

    @property
    def rounds(self) -> int | None:
        given = self.settings["rounds"]
        return checked_rounds(given.value, where=given.where)

    @property
    def policy(self) -> str:
        given = self.settings["policy"]
        name = given.value or ("ci" if self.is_ci else "local")
        if name not in DEFAULT_POLICIES:
            raise UsageError(f"{given.where}: found '{name}', allowed: {', '.join(DEFAULT_POLICIES)}")
        return name

    def _lease_wait_s(self) -> float:
        given = self.settings["lease-wait"]
        seconds = parse_duration(str(given.value))
        if seconds is None:
            raise UsageError(f"{given.where}: found '{given.value}', expected a duration such as 0s, 10min or 2h")
        return seconds

    def _update_reason(self) -> str | None:
        reason, update = self.option("reason"), self.option("update")
        if update and not (reason or "").strip():
            raise UsageError("--perfgate-update needs --perfgate-reason TEXT: why this run is accepted")
        if self.option("only-new") and not update:
            raise UsageError("--perfgate-only-new says what --perfgate-update accepts; give both")
        return str(reason) if update else None

    def _update_expires(self) -> str | None:
        from perfgate.baselines import parse_expiry

        given = self.option("expires")
        if given and not self.option("update"):
            raise UsageError("--perfgate-expires is for the baseline that --perfgate-update writes; give both")
        return parse_expiry("--perfgate-expires", given, datetime.now(UTC)) if given else None
