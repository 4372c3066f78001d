"""Packages that are installed beside us, and the environment that their libraries read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata


def version_of(package: str) -> str | None:
    """The version of an installed package, None where it is not there; imports nothing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {package: version_of(package) for package in packages}
    return {package: version for package, version in found.items() if version}


@contextmanager
def environment(variables: Mapping[str, str], without: Sequence[str] = ()) -> Iterator[None]:
    """Our process's environment with these variables and without those; restored on leaving."""
    before = {name: os.environ.get(name) for name in (*without, *variables)}
    for name in without:
        os.environ.pop(name, None)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
