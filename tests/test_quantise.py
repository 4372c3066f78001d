"""`perfgate quantize` over the fake engine: verdicts, further attempts, a kill -9, and mistakes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Project
from perfgate.cli import main
from perfgate.quantise_judge import _gain
from perfgate.quantise_record import Outcome
from perfgate.quantise_run import run_quantise  # noqa: F401 - numpy and scipy, which pytester would else load twice

EXIT_OK, EXIT_ADJUST, EXIT_USAGE = 0, 1, 4
ENGINES = """
  int8: {precision: int8_wo, engine_args: {step_us: 100}}
  int4: {precision: int4_wo, engine_args: {step_us: 100, int4_loss: LOSS}}
"""
Quantize = Callable[..., tuple[int, str]]


def _section(text: str) -> str:
    return text + "\nquality: {reference: one, perplexity: 3%}\nquantize: {rounds: 2, try: true}\n"


@pytest.fixture
def quantize(small_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quantize:
    """Write a project where a loss is given, and run the command: exit code, and all that was printed."""

    def run(*args: str, loss: float | str | None = None) -> tuple[int, str]:
        if loss is not None:
            suite = small_project(ENGINES.replace("LOSS", str(loss)), _section)
            monkeypatch.chdir(suite.parent)
        code = main(["quantize", "--suite", "suite.yaml", *args])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


def test_an_engine_that_loses_little_is_accepted_with_its_gains(quantize: Quantize) -> None:
    code, told = quantize("--engine", "int8", loss=0)

    found = json.loads(Path("perfgate-out/quantization.json").read_text())
    assert code == EXIT_OK, told
    assert "accept: int8 (int8_wo): it loses 0.0 % of perplexity" in told
    assert (found["outcome"], found["result"], found["reference"]) == ("accept", "int8", "one")
    (attempt,) = found["attempts"]
    assert [one["name"] for one in attempt["steps"]] == [
        "checkpoint", "build the reference", "quantise and build", "validate",
    ]  # fmt: skip
    speed = next(one for one in attempt["gains"] if one["metric"] == "output_tokens_per_s")
    assert speed["ratio"] > 1.5  # its steps are a quarter as long
    assert attempt["following"] == []
    assert "# int8: accept" in Path("perfgate-out/quantization.md").read_text()


def test_too_large_a_loss_is_adjust_with_what_this_backend_has(quantize: Quantize) -> None:
    code, told = quantize("--engine", "int4", "--rounds", "1", loss=0.1)

    (attempt,) = json.loads(Path("perfgate-out/quantization.json").read_text())["attempts"]
    assert code == EXIT_ADJUST, told
    assert "adjust: int4 (int4_wo): it loses 10.5 % of perplexity" in told
    assert [one["what"] for one in attempt["following"]] == ["int8 weights (int8_wo)", "groups of 16"]
    assert attempt["following"][1]["options"] == {"precision": "int4_wo", "group_size": 16}


def test_attempts_go_on_until_one_is_accepted(quantize: Quantize) -> None:
    code, told = quantize("--engine", "int4", "--rounds", "1", "--try", loss=0.034)

    found = json.loads(Path("perfgate-out/quantization.json").read_text())
    assert code == EXIT_OK, told
    assert [one["outcome"] for one in found["attempts"]] == [Outcome.ADJUST, Outcome.ACCEPT]
    assert found["result"] == "int4-2"
    assert found["attempts"][1]["options"] == {"precision": "int4_wo", "group_size": 16}
    assert found["attempts"][1]["changed"] == "groups of 16"


def test_broken_output_asks_for_the_mildest_quantisation(quantize: Quantize) -> None:
    code, told = quantize("--engine", "int4", "--rounds", "1", loss="broken")

    assert code == EXIT_ADJUST
    assert "adjust: int4 (int4_wo): its output is broken" in told, told
    assert told.index("int8 weights") < told.index("groups of 16")


def test_a_build_that_fails_is_told_with_its_reason(quantize: Quantize) -> None:
    quantize("--engine", "int8", "--rounds", "1", loss=0)
    suite = Path("suite.yaml")
    suite.write_text(suite.read_text().replace("int8_wo, engine_args: {", "int8_wo, engine_args: {fail: build, "))

    code, told = quantize("--engine", "int8", "--rounds", "1")

    assert code == EXIT_ADJUST
    assert "failed: int8 (int8_wo): engine 'int8': told to fail at 'build'" in told


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_or_stopped_command_goes_on_with_what_is_kept(small_project: Project, sign: signal.Signals) -> None:
    suite = small_project(ENGINES.replace("LOSS", "0.1"), _section)
    journal = suite.parent / ".perfgate" / "journal" / "small-quantize-int8@cpu.jsonl"
    command = [sys.executable, "-m", "perfgate.cli", "quantize", "--engine", "int8", "--rounds", "2"]
    command += ["--suite", "suite.yaml"]
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, cwd=suite.parent, stdout=null, stderr=pipe, text=True) as first:
        while not journal.exists() or len(journal.read_bytes().splitlines()) < 3:  # header and two rounds
            assert first.poll() is None
            time.sleep(0.02)
        first.send_signal(sign)
        _, told = first.communicate()
    if sign is signal.SIGTERM:
        assert (first.returncode, told) == (1, "perfgate: stopped by SIGTERM: the same command goes on from there\n")
        assert journal.exists()  # what follows is as after a kill
        return

    again = subprocess.run(command, cwd=suite.parent, capture_output=True, text=True, check=False)

    assert again.returncode == EXIT_OK, again.stdout + again.stderr
    assert "rounds are kept" in again.stdout
    assert "quantise and build: 0.0 s, kept from before" in again.stdout
    assert again.stdout.count("measuring one, round") + again.stdout.count("measuring int8, round") <= 2
    assert not journal.exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--engine", "one"), "is fp32, which quantises nothing: name one of int8, int4"),
        (("--engine", "nine"), "quantised engines there: int8, int4"),
        (("--engine", "int4", "--calibration", "texts.jsonl"), "share 8 documents ('d0' is one): calibrate on others"),
        (("--engine", "int8", "--calibration", "other.jsonl"), "quantisation.calibration is no option of int8_wo"),
        (("model",), "give either a checkpoint or --suite with --engine"),
    ],
)
def test_a_mistake_is_one_line(quantize: Quantize, args: tuple[str, ...], says: str) -> None:
    quantize("--engine", "nine", loss=0)
    Path("other.jsonl").write_text('{"id": "a", "text": "something else"}\n')

    code, told = quantize(*args)

    assert code == EXIT_USAGE
    assert says in told


def test_a_checkpoint_alone_needs_no_suite(quantize: Quantize, capsys: pytest.CaptureFixture[str]) -> None:
    quantize("--engine", "nine", loss=0)
    asked = ["quantize", "model", "--backend", "fake_engine:FakeBackend", "--precision", "int4_wo"]

    code = main([*asked, "--text", "texts.jsonl", "--option", "group_size=64", "--rounds", "1"])
    assert code == EXIT_OK, capsys.readouterr().err
    assert "accept: int4_wo (int4_wo, group_size 64)" in capsys.readouterr().out
    assert main(asked) == EXIT_USAGE
    assert "a checkpoint alone needs --text" in capsys.readouterr().err


@pytest.mark.parametrize(("here", "is_better"), [(8063673.0, None), (8063672.0, True), (8063674.0, False)])
def test_as_many_bytes_are_neither_better_nor_worse(here: float, is_better: bool | None) -> None:  # noqa: FBT001 - data
    assert _gain("build", "engine_bytes", [8063673.0], [here]).is_better is is_better
