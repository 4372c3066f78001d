"""Which code stands in a folder: what tells two working trees of one commit apart, and what does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from perfgate import working_tree
from perfgate.working_tree import Code, code_here


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, in whose folder `below` we run."""
    top = tmp_path / "tree"
    (top / "below").mkdir(parents=True)
    (top / "engine.py").write_text("STEP_S = 1\n")
    (top / ".gitignore").write_text("*.log\n")
    monkeypatch.chdir(top)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"]):
        subprocess.run(["git", *words], check=True)
    monkeypatch.chdir(top / "below")
    return top


def _here() -> Code:
    return code_here(Path(".perfgate"))


def test_the_same_tree_is_the_same_code_whatever_a_gate_leaves_in_it(tree: Path) -> None:
    before = _here()
    for name in ("below/.perfgate/environments/a/site.py", "below/perfgate-out/run.json", "engine.log"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("ours")

    assert len(before.commit) == 12
    assert _here() == before


def test_two_dirty_trees_of_one_commit_differ(tree: Path) -> None:
    seen = [_here()]
    for name, text in [
        ("engine.py", "STEP_S = 2\n"),
        ("engine.py", "STEP_S = 3\n"),
        ("own.py", "A = 1"),
        ("own.py", ""),
    ]:
        (tree / name).write_text(text)
        seen.append(_here())

    assert len(set(seen)) == len(seen)
    assert {one.commit for one in seen[1:]} == {f"{seen[0].commit}-dirty"}


def test_what_is_staged_counts_and_an_untracked_file_is_known_by_its_time_where_it_is_too_large(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working_tree, "_MOST_BYTES", 3)
    (tree / "own.py").write_text("large")
    seen = [_here()]
    (tree / "own.py").write_text("larger")
    seen.append(_here())
    subprocess.run(["git", "add", "own.py"], cwd=tree, check=True)
    seen.append(_here())

    assert len(set(seen)) == 3


def test_outside_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert _here() == Code("", "")


def test_what_git_does_not_tell_in_time_is_like_nothing_else(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del tree
    monkeypatch.setattr(working_tree, "_DIFF", ("no-such-command",))

    assert _here() != _here()
