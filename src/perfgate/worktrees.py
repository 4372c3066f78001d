"""Worktrees: a commit's files beside the user's own, made once per commit."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import filelock

from perfgate.errors import UsageError

_NO_HOOKS = "core.hooksPath=/dev/null"


def top_of(path: Path) -> Path:
    """The root folder of the repository that holds a file.

    Raises:
        UsageError: git knows of none.
    """
    done = _git(path.parent, "rev-parse", "--show-toplevel")
    if done.returncode != 0:
        raise UsageError(f"{path} lies in no git repository, which 'commit:' needs: {_words(done)}")
    return Path(done.stdout.strip()).resolve()


def commit_of(top: Path, revision: str) -> str:
    """The full hash of a commit.

    Raises:
        UsageError: the repository does not have it.
    """
    done = _git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if done.returncode != 0:
        raise UsageError(f"{top} has no commit '{revision}'; in a shallow clone, fetch it first: git fetch --unshallow")
    return done.stdout.strip()


def worktree(top: Path, commit: str, root: Path) -> Path:
    """The files of a commit under `root`; several processes check them out once.

    Raises:
        UsageError: git cannot check it out, or its files were changed since.
    """
    folder = root.resolve() / commit
    ready = folder.with_name(f"{commit}.ready")  # written last: a killed checkout leaves none
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{folder}.lock"):
        if not (ready.exists() and folder.exists()):
            _check_out(top, commit, folder)
            ready.touch()
        _refuse_changed(folder, commit)
    return folder


def _check_out(top: Path, commit: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    # --force: git may still list a worktree here whose folder is gone
    done = _git(top, "-c", _NO_HOOKS, "worktree", "add", "--quiet", "--force", "--detach", str(folder), commit)
    if done.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        raise UsageError(f"git cannot check out {commit[:12]} into {folder}: {_words(done)}")


def _refuse_changed(folder: Path, commit: str) -> None:
    head = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if head.stdout.strip() != commit or status.returncode != 0 or status.stdout.strip():
        raise UsageError(f"{folder} is no longer the commit it was made of; remove it: rm -r {folder}")


def _git(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Git in a folder, also where a git hook calls us with another repository in its variables."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *args]
    try:
        return subprocess.run(command, env=mine, capture_output=True, text=True, check=False)  # noqa: S603 - the user's own git
    except OSError as exc:
        raise UsageError(f"git cannot be run, which 'commit:' needs: {exc.strerror}") from exc


def _words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"git ended with code {done.returncode}"
