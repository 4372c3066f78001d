"""Nothing in the state folder leads out of it: a link there could have us overwrite, or take up, a file elsewhere."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from perfgate.errors import UsageError

_BY_DEVICE = "work"  # a folder for each device
_STORES = frozenset({"engines", "environments"})  # large, and shared: one may lie on another disk, behind a link


def check_state(state: Path) -> None:
    """Look at the folder and at what lies in its folders; deeper ones are whole engines and environments.

    The folder itself and its stores may be links to folders: the cache of engines follows none in it by itself.

    Raises:
        UsageError: a link leads out of it, or something is neither a file nor a folder; all of them, a line each.
    """
    home = state.resolve()
    stores = {state / name for name in _STORES if (state / name).is_dir()}
    if faults := list(_faults(state, home, stores)):
        raise UsageError("\n  ".join(faults))


def _faults(folder: Path, home: Path, but: Collection[Path], levels: int = 2) -> Iterator[str]:
    try:
        found = sorted(os.scandir(folder), key=lambda one: one.name)
    except OSError:  # not made yet; or whoever writes there tells why it cannot
        return
    for one in found:
        path = Path(one.path)
        if path in but:
            continue
        if one.is_symlink():
            target = path.resolve()
            if not target.is_relative_to(home):
                yield f"{path} is a link that leads out of the state folder, to {target}: remove it"
        elif one.is_dir():
            below = levels - (one.name != _BY_DEVICE)
            yield from _faults(path, home, but, below) if below else ()
        elif not one.is_file():
            yield f"{path} is neither a file nor a folder: remove it"
