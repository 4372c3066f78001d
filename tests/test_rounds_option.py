from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from perfgate.cli import EXIT_USAGE, main

SAMPLE = Path(__file__).parent / "samples" / "485cca3"
COMMANDS = ("run", "ab one one", "calibrate", "selftest", "sweep", "quantize --engine one")


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(SAMPLE / "suite.yaml", tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "texts.jsonl").write_text('{"id": "d0", "text": "any"}\n')
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("rounds", ["0", "-1", "1001"])
def test_rounds_that_cannot_be_meant_are_refused_by_every_command(
    command: str, rounds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([*command.split(), "--suite", "suite.yaml", "--rounds", rounds])

    fewest = 3 if command.startswith(("ab", "calibrate")) else 1
    assert code == EXIT_USAGE
    found = capsys.readouterr().err
    assert found == f"perfgate: --rounds: found '{rounds}', expected a whole number from {fewest} to 1000\n"
    assert [path.name for path in Path().iterdir() if path.name.startswith(".perf")] == []
