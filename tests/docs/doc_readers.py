"""The repository of a reader of the documentation: what pages speak of, on an engine that takes no time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from doc_pages import ROOT

from perfgate.ceiling_probe import Probed
from perfgate.cli import main
from perfgate.record import encode
from perfgate.roofline import Rate

sys.path[:0] = [str(ROOT / "tests" / "importing"), str(ROOT / "tests" / "report")]

from importing_samples import base_perf, serve_bench, trtllm_bench, write  # noqa: E402 - a folder of tests
from tradeoff_examples import example  # noqa: E402 - likewise

_KEPT = {  # engines of other suites than the embedded one
    "compressed": ("whole",),
    "quantize": ("fp32", "int4"),
    "techniques": ("fp32", "int8"),
    "tradeoffs": ("base",),
    "tune": ("plain",),
}
SUITE = Path("fixtures/suites/embedded.yaml")
LIMITS = Probed(Rate(1e15, 9e14, 1.1e15, 5), {"fp32": Rate(1e16, 9e15, 2e16, 5)})  # of the device, without measuring
_H200 = ROOT / "docs" / "results" / "h200-8b-tp2" / "results"
_LOADS = {"input_len": 8, "output_len": 4, "warmup_requests": 0, "window": 512, "stride": 512}
_REAL_TIMES = {
    "build_s",
    "load_s",
    "peak_memory_bytes",
}  # what a busy machine moves: the rest is of steps that are exact
_OF_NAME: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
    "fp8": {"precision": "fp8"},
    "int8": {"precision": "int8_wo"},
    "int4": {"precision": "int4_wo"},
}


def new_repository(folder: Path) -> Path:
    """A folder under git with a checkpoint in it, as `perfgate init` finds it."""
    shutil.copytree(ROOT / "fixtures" / "models" / "tiny-llama", folder / "models" / "llama")
    for name in ("models/llama-8b", "models/Llama-3.1-8B", "m8b", "CHECKPOINT"):
        (folder / name).symlink_to("llama" if name.startswith("models") else "models/llama")
    for name, made_of in (("prompts.jsonl", "generation.jsonl"), ("held-out.jsonl", "held-out.jsonl")):
        (folder / name).write_text(_first_lines(ROOT / "fixtures" / "prompts" / made_of))
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "config", "core.compression", "0")
    _git(folder, "config", "user.email", "reader@example.org")
    _git(folder, "config", "user.name", "Reader")
    _git(folder, "add", "models")
    _git(folder, "commit", "-q", "-m", "A checkpoint")
    _results(folder)
    return folder


def own_repository(folder: Path) -> Path:
    """One that holds the suites of ours, small, and what pages say beside them."""
    new_repository(folder)
    (folder / "fixtures" / "prompts").mkdir(parents=True)
    (folder / "fixtures" / "models").symlink_to(ROOT / "fixtures" / "models")
    for texts in (ROOT / "fixtures" / "prompts").iterdir():
        (folder / "fixtures" / "prompts" / texts.name).write_text(_first_lines(texts))
    shutil.copytree(ROOT / "fixtures" / "suites", folder / "fixtures" / "suites")
    make_small(folder / SUITE, ("fp32",))
    for name, engines in _KEPT.items():
        make_small(folder / "fixtures" / "suites" / f"{name}.yaml", engines)
    for name in ("perf_tests", "baselines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "docs" / "results").mkdir(parents=True)
    for results in (ROOT / "docs" / "results").iterdir():
        (folder / "docs" / "results" / results.name).symlink_to(results)
    (folder / "pyproject.toml").write_text(f'[tool.perfgate]\nsuite = "{SUITE}"\n')
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    """All that is there."""
    _git(folder, "add", "-A", "--", ".", ":!perfgate-out", ":!.perfgate")
    _git(folder, "commit", "-q", "--allow-empty", "-m", "The suite")


def make_small(suite: Path, engines: Sequence[str], *, is_served: bool = False) -> None:
    """A suite file with these engines on the fake backend, loads of milliseconds, two rounds, limits that hold.

    engines: the suite's own, or names of precisions; is_served: steps take real time, for a client with its own clock.
    """
    plain: dict[str, Any] = yaml.safe_load(suite.read_text())
    plain["engines"] = {name: _faked((_OF_NAME | plain["engines"])[name]) for name in engines}
    engine = plain.setdefault("defaults", {}).setdefault("engine", {})
    pace = {"step_us": 3000, "sleep": True} if is_served else {"step_us": 3000, "clock": "steps"}
    engine |= {"backend": "fake_engine:FakeBackend", "engine_args": pace | {"int4_loss": 0.001}}
    engine.setdefault("model", "../models/tiny-llama")
    plain["workloads"] = {name: work for name, work in plain["workloads"].items() if work["kind"] != "serving"}
    for work in plain["workloads"].values():
        work |= {key: value for key, value in _LOADS.items() if key in work}
    _loosen(plain, engines)
    suite.write_text(yaml.safe_dump(plain, sort_keys=False))


def _faked(spec: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key not in ("backend", "model", "engine_args")}


def _loosen(plain: dict[str, Any], engines: Sequence[str]) -> None:
    """Sections as small as they may be, limits where a busy machine moves figures."""
    gate = plain["gate"]
    limits = {name: own for name, own in gate["metrics"].items() if name not in _REAL_TIMES}
    gate |= {"metrics": limits, "first_rounds": 2, "most_rounds": 2, "max_foreign_cpu": "100%"}
    gate["noise"] = {"round_sd": "1%", "session_sd": "1%", "pair_sd": "1%"}
    if plain.get("quality", {}).get("reference", engines[0]) not in engines:
        plain["quality"]["reference"] = engines[0]
    plain.pop("claim_pairs", None)
    if plain.get("cases"):
        del plain["cases"]
    if "sweep" in plain:
        plain["sweep"] = {"engine": "base", "axes": {"precision": ["fp32", "int8_wo"]}, "traffic": "traffic"}


def _results(folder: Path) -> None:
    """Results of other clients and of a sweep under the names that pages give them."""
    samples: dict[str, Callable[[float], Any]] = {
        "runs": serve_bench,
        "newer": serve_bench,
        "old": trtllm_bench,
        "new": trtllm_bench,
    }
    for name, sample in samples.items():
        (folder / name).mkdir()
        for i, scale in enumerate((1.0, 1.01, 0.99, 1.005)):
            write(folder / name / f"{i}.json", sample(scale))
    (folder / "base_perf.csv").write_text(base_perf())
    main(["import", str(folder / "base_perf.csv"), "--out", str(folder / "tonight.run.json")])
    for engine in ("pytorch", "vllm"):
        shutil.copytree(_H200 / engine, folder / "perfgate-out" / "results" / f"{engine}-tp2")
        shutil.copytree(_H200 / engine, folder / "results" / engine)
    (folder / "perfgate-out" / "tradeoffs.json").write_bytes(encode(example()))


def _first_lines(texts: Path) -> str:
    return "".join(texts.read_text().splitlines(keepends=True)[:8])


def _git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
