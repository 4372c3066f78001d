"""The baseline's engine again, in an environment of the package versions that it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from perfgate.baselines import Provenance
from perfgate.builder import BuildJob, prepare
from perfgate.engines.cache import EngineCache, Found
from perfgate.environments import EnvironmentStore, canonical_name, installed
from perfgate.errors import EngineError

Versions = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Lost:
    """A baseline's engine that our own Python cannot run: its cache key, and where it came from."""

    key: str
    made: Provenance


def rebuild(
    lost: Lost, candidate: Found, job: BuildJob, store: EnvironmentStore, folder: Path, kept_open: tuple[int, ...] = ()
) -> Found:
    """The engine with its own packages, from the cache or prepared again; checked by its key.

    job: how the candidate was prepared; of the same spec, because the case's hash is the same.
    kept_open: descriptors that what installs and prepares holds meanwhile (`perfgate.leases`).

    Raises:
        UsageError, EngineError: it cannot be had, with the reason.
    """
    cached = EngineCache(job.cache, str).find(lost.key)
    known = cached.entry.versions if cached else lost.made.versions
    known = {canonical_name(name): version for name, version in known.items()}
    ours = installed(candidate.entry.versions)
    pins = {package: known[package] for package in ours if package in known}
    if pins == ours or not pins:
        raise EngineError(f"it was made of the packages that are here: {_difference(lost.made, candidate, job)}")
    theirs = store.interpreter(pins, kept_open=kept_open)
    found = prepare(replace(job, fresh=False, interpreter=theirs), folder, kept_open)
    if found.entry.key != lost.key:
        raise EngineError(f"what was rebuilt is another engine: {_difference(lost.made, found, job)}")
    return found


def circumstances(made: Provenance, now: Versions) -> str:
    """What a rebuilt engine runs with that the baseline's did not: Python and driver, which are not rebuilt."""
    names = [name for name in ("python", "driver") if made.versions.get(name, "") != now.get(name, "")]
    return "; ".join(
        f"{name} {now.get(name) or 'absent'}, the baseline had {made.versions.get(name) or 'none'}" for name in names
    )


def _difference(made: Provenance, found: Found, job: BuildJob) -> str:
    """Why a key is another one: what it is made from, in order; the checkpoint is what remains."""
    now = {**found.entry.versions, "product": job.device.product, "driver": job.device.driver.partition(".")[0]}
    before = {**made.versions, "product": made.product, "driver": made.versions.get("driver", "").partition(".")[0]}
    names = [name for name in now if now[name] != before.get(name, "")]
    changes = [f"{name} ({before.get(name) or 'absent'} -> {now[name] or 'absent'})" for name in names]
    return "; ".join(changes) or f"the files of the checkpoint {job.engine.model} were changed"
