"""Worktrees of real repositories: made once, checked, and made again where they are gone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from perfgate.errors import UsageError
from perfgate.worktrees import commit_of, top_of, worktree


def git(folder: Path, *args: str) -> str:
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ["-c", "user.name=Someone", "-c", "user.email=someone@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *args], env=os.environ | own, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits of one file: 'old', then 'new'."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    for text in ("old", "new"):
        (folder / "file").write_text(text)
        git(folder, "add", ".")
        git(folder, "commit", "-qm", text)
    return folder


def test_a_commit_is_checked_out_beside_the_users_own_files(repository: Path, tmp_path: Path) -> None:
    commit = commit_of(repository, "HEAD~1")

    folder = worktree(repository, commit, tmp_path / "trees")

    assert (folder / "file").read_text() == "old"
    assert (repository / "file").read_text() == "new"
    assert folder.name == commit


def test_a_worktree_is_made_once_and_survives_pruning(repository: Path, tmp_path: Path) -> None:
    commit = commit_of(repository, "HEAD~1")
    first = worktree(repository, commit, tmp_path / "trees")
    (first / "left").touch()
    git(repository, "worktree", "prune")

    again = worktree(repository, commit, tmp_path / "trees")

    assert again == first
    assert (first / "left").exists()


def test_a_worktree_that_was_removed_is_made_again(repository: Path, tmp_path: Path) -> None:
    commit = commit_of(repository, "HEAD~1")
    shutil.rmtree(worktree(repository, commit, tmp_path / "trees"))

    assert (worktree(repository, commit, tmp_path / "trees") / "file").read_text() == "old"


def test_what_a_killed_checkout_left_is_replaced(repository: Path, tmp_path: Path) -> None:
    commit = commit_of(repository, "HEAD~1")
    (tmp_path / "trees" / commit).mkdir(parents=True)
    (tmp_path / "trees" / commit / "half").touch()

    folder = worktree(repository, commit, tmp_path / "trees")

    assert {path.name for path in folder.iterdir()} == {".git", "file"}


def test_a_changed_worktree_is_refused(repository: Path, tmp_path: Path) -> None:
    commit = commit_of(repository, "HEAD~1")
    (worktree(repository, commit, tmp_path / "trees") / "file").write_text("edited")

    with pytest.raises(UsageError, match="no longer the commit it was made of; remove it"):
        worktree(repository, commit, tmp_path / "trees")


@pytest.mark.parametrize("revision", ["nonsense", "--all", "HEAD~9", ""])
def test_an_unknown_revision_is_a_usage_error(repository: Path, revision: str) -> None:
    with pytest.raises(UsageError, match=f"has no commit '{revision}'"):
        commit_of(repository, revision)


def test_a_file_outside_any_repository_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lies in no git repository"):
        top_of(tmp_path / "suite.yaml")


def test_the_repository_of_a_git_hook_is_not_taken_for_ours(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))

    assert top_of(repository / "suite.yaml") == repository.resolve()
