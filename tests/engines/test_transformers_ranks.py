"""Tensor parallelism of the transformers backend over two processes of this machine, for real."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from perfgate.case import Batching, EngineSpec
from perfgate.device import Device
from perfgate.engines.base import Engine
from perfgate.engines.bridge import serve_engine
from perfgate.engines.transformers import Transformers
from perfgate.engines.transformers_static import StaticEngine
from perfgate.errors import EngineError
from perfgate.load.ask import Ask, LoadPlan
from perfgate.load.client import run_load
from perfgate.load.target import Target
from perfgate.plant import Plant

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

MODEL = Path(__file__).parents[2] / "fixtures" / "models" / "tiny-llama"
CPU = Device("cpu/x86_64-avx512", "a CPU")
ONE = EngineSpec("hf", MODEL, backend="transformers", batching=Batching.STATIC, paged_kv=False, max_batch_size=4)
TWO = replace(ONE, tp=2)
PROMPTS = [tuple(range(5 + at, 53 + at)) for at in range(3)]
TEXT = tuple(range(1, 200))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine of two ranks, prepared."""
    return Transformers().prepare(TWO, CPU, tmp_path_factory.mktemp("engine")).folder


def loaded(spec: EngineSpec, prepared: Path) -> AbstractContextManager[Engine]:
    return Transformers().load(spec, prepared, Plant())


def run_all(engine: Engine) -> tuple[list[list[int]], NDArray[np.float64], list[list[int]]]:
    """Tokens, scores, and tokens of another batch."""
    assert isinstance(engine, StaticEngine)
    return list(engine.greedy(PROMPTS, 24)), engine.score(TEXT), list(engine.greedy(PROMPTS[:1], 8))


def sizes(engine: Engine) -> dict[str, int]:
    assert isinstance(engine, StaticEngine)
    return {name: weight.numel() for name, weight in engine._model.named_parameters() if "proj" in name}


def test_two_ranks_give_the_tokens_and_scores_of_one_from_half_the_weights(prepared: Path) -> None:
    with loaded(ONE, prepared) as engine:
        tokens, scores, more = run_all(engine)
        whole = sizes(engine)

    with loaded(TWO, prepared) as engine:
        found = run_all(engine)
        halves, notes = sizes(engine), engine.stats().notes

    assert (found[0], found[2]) == (tokens, more)
    np.testing.assert_allclose(found[1], scores, atol=1e-4)
    assert len(whole) == 5 * 7
    assert halves == {name: size // 2 for name, size in whole.items()}
    assert notes["weights"] == "fp32, cut over 2 ranks by transformers' plan"


def test_random_weights_are_those_of_one_process(prepared: Path) -> None:
    dummy = (("load_format", "dummy"),)
    scores = []
    for spec in (ONE, TWO):
        with loaded(replace(spec, engine_args=dummy), prepared) as engine:
            scores.append(engine.score(TEXT))

    assert scores[0] == pytest.approx(-math.log(2048), abs=0.1)
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-6)


def test_served_over_two_ranks(prepared: Path, tmp_path: Path) -> None:
    asks = [Ask({"model": "hf", "prompt": list(PROMPTS[at % 3]), "max_tokens": 8}, 48, 8) for at in range(8)]

    with serve_engine(TWO, prepared, Plant(), tmp_path) as server:
        result = run_load(Target(server.url), LoadPlan(tuple(asks), concurrency=4), tmp_path)
        pids = ranks_of(server.pid or 0)

    assert [(one.fault, one.output_tokens) for one in result.records] == [(None, 8)] * 8
    assert pids
    assert not [pid for pid in pids if is_running(pid)]


# ------------------------------------------------------------------ ends

LOAD = """
import os, signal, sys, time
from pathlib import Path
from test_transformers_ranks import PROMPTS, TWO, ranks_of
from perfgate.engines.base import Request
from perfgate.engines.transformers import Transformers
from perfgate.errors import EngineError
from perfgate.plant import Plant

try:
    with Transformers().load(TWO, Path(sys.argv[1]), Plant()) as engine:
        [rank] = ranks_of(os.getpid())
        print("rank", rank, flush=True)
        {then}
except EngineError as exc:
    print("EngineError:", exc)
"""
KILL = "os.kill(rank, signal.SIGKILL); "


def run_script(then: str, prepared: Path) -> subprocess.CompletedProcess[str]:
    here = str(Path(__file__).parent)
    return subprocess.run(
        [sys.executable, "-c", LOAD.format(then=then), str(prepared)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def ranks_of(pid: int) -> list[int]:
    """Ranks 1 and up below a process."""
    below = [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]
    found = [child for child in below if b"transformers_rank" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return found + [deeper for child in below for deeper in ranks_of(child)]


def test_more_ranks_than_gpus_are_refused_before_any_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "perfgate-device").write_text("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    with pytest.raises(EngineError, match="'hf' asks for tp 2, a GPU for each rank, and torch finds 1"):
        loaded(TWO, tmp_path).__enter__()

    assert ranks_of(os.getpid()) == []


def is_running(pid: int) -> bool:
    """Whether it is there, and no zombie: those have no command line."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.exists() and path.read_bytes() != b""


def test_a_killed_rank_ends_the_engine_with_its_name(prepared: Path) -> None:
    steps = "requests = [Request(0, PROMPTS[0], 900)]\n        for at, _ in enumerate(engine.generate(requests, 1)):\n"

    done = run_script(f"{steps}            if at == 20: {KILL}", prepared)

    assert "EngineError: rank 1 of 'hf' was killed by signal 9: " in done.stdout
    assert done.returncode == 0


def test_a_killed_rank_ends_a_process_that_waits_for_it(prepared: Path) -> None:
    done = run_script(f"{KILL}time.sleep(200)", prepared)

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("perfgate: rank 1 of 'hf' was killed by signal 9")


def test_a_rank_ends_with_rank_0(prepared: Path) -> None:
    done = run_script("os.kill(os.getpid(), signal.SIGKILL)", prepared)

    assert done.returncode == -signal.SIGKILL
    rank, deadline = int(done.stdout.split()[-1]), time.monotonic() + 20
    while is_running(rank) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(rank)
