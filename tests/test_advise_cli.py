"""`perfgate advise` on runs of the fake engine, on the shipped baseline, and on what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import validate

from advising_examples import GPU, run, times
from perfgate.advising.files import gather
from perfgate.ceilings import Kept
from perfgate.cli import main
from perfgate.history import History, history_path
from perfgate.json_schemas import json_schema
from perfgate.record import PreparedInfo, Run, encode
from perfgate.roofline import Ceilings, Rate
from perfgate.runs import keep_run
from perfgate.suite import load_suite

ROOT = Path(__file__).parents[1]
H200 = ROOT / "baselines" / "sm_90" / "h200-141gb" / "llama8b_h200.json"
H200_SUITE = ROOT / "fixtures" / "suites" / "llama8b_h200.yaml"
ENGINES = """
  fast: {max_batch_size: 4, precision: fp8, engine_args: {step_us: 100, loss: 0.2}}
"""


def test_advice_on_runs_of_the_fake_engine(
    small_project: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    small_project(ENGINES, lambda text: text.replace("requests: 16", "requests: 4"))
    assert main(["run", "--suite", "suite.yaml", "--rounds", "1"]) in (0, 1)
    capsys.readouterr()

    assert main(["advise", "--suite", "suite.yaml", "--goal", "throughput", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    validate(found, json_schema("advice"))
    (line,) = found["lines"]
    assert (line["engine"], line["reference"]) == ("fast", "one")
    assert (line["decides"][0]["rounds"], line["decides"][0]["low"]) == (1, None)
    assert line["quality"]["cost"] == "exceeded"
    assert line["standing"] == "not without accepting a loss"
    assert json.loads(Path("perfgate-out/advice.json").read_text()) == found


def advise_h200(goal: str, *more: str, out: Path) -> int:
    command = ["advise", str(H200), "--suite", str(H200_SUITE), "--goal", goal, "--state", str(out / "state")]
    return main([*command, "--out", str(out), *more])


def test_the_accepted_rounds_of_an_h200_say_that_fp8_is_faster_and_unscored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert advise_h200("cost", "--price", "3.50/h", out=tmp_path) == 0

    found = json.loads((tmp_path / "advice.json").read_text())
    (fp8,) = (one for one in found["lines"] if one["engine"] == "fp8")
    assert fp8["standing"] == "measure more"
    assert fp8["quality"]["cost"] == "not measured"
    assert {one["finding"] for one in fp8["decides"]} == {"better"}
    assert 1.3 < fp8["gain"] < 1.45
    prices = {one["case"]: one["price"] for one in found["prices"]}
    assert prices["bf16-c128"] == pytest.approx(3.5 / 3600 / 6471 * 1e6, rel=1e-3)
    assert "fp8-c1" in next(one for one in found["notes"] if one.startswith("left out"))
    assert "advice for cost" in capsys.readouterr().out


@pytest.mark.parametrize("goal", ["latency", "throughput", "memory", "long-context", "cost"])
def test_every_goal_has_an_answer(goal: str, tmp_path: Path) -> None:
    assert advise_h200(goal, out=tmp_path) == 0

    validate(json.loads((tmp_path / "advice.json").read_text()), json_schema("advice"))


# ------------------------------------------------------------------ what is read, and what is refused

SUITE = """
schema: 1
suite: small
engines:
  bf16: {backend: vllm, model: m, precision: bf16}
  fp8: {backend: vllm, model: m, precision: fp8}
workloads:
  c64: {kind: latency, prompts: t, input_len: 512, output_len: 128, concurrency: 64, requests: 128}
gate: {metrics: {}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PERFGATE_HISTORY", raising=False)
    (tmp_path / "m").mkdir()
    (tmp_path / "t").write_text("")
    (tmp_path / "suite.yaml").write_text(SUITE)
    return tmp_path


def made(project: Path, engine: str, level: float, started: str) -> Run:
    """A run of one engine of the project's suite."""
    of = load_suite(project / "suite.yaml")
    mine = replace(of, cases=tuple(case for case in of.cases if case.engine.name == engine))
    prepared = (PreparedInfo(engine, f"key-{engine}", True, {}, 1, {}),)
    return run(mine, {f"{engine}-c64": times("output_tokens_per_s", level)}, started=started, prepared=prepared)


def runs_read(project: Path) -> list[str]:
    found = gather([], project / "suite.yaml", project / ".perfgate", project / "perfgate-out")
    return [one.name for one in found.sources.every]


def test_without_a_name_the_newest_run_is_read_and_earlier_ones_for_what_it_lacks(project: Path) -> None:
    for engine, hour in (("bf16", 7), ("fp8", 8), ("fp8", 9)):
        keep_run(made(project, engine, 1000, f"2026-11-21T0{hour}:00:00+00:00"), project / ".perfgate")

    assert runs_read(project) == ["kept run (2026-11-21T09:00:00+00:00)", "kept run (2026-11-21T07:00:00+00:00)"]


def test_the_history_tells_of_what_no_kept_run_measured(project: Path) -> None:
    state = project / ".perfgate"
    keep_run(made(project, "fp8", 1400, "2026-11-21T09:00:00+00:00"), state)
    with History(history_path(state)) as history:
        for level, hour in ((900, 5), (1000, 6)):
            history.add(made(project, "bf16", level, f"2026-11-21T0{hour}:00:00+00:00"), {})

    assert runs_read(project) == ["kept run (2026-11-21T09:00:00+00:00)", "history (2026-11-21T06:00:00+00:00)"]
    assert main(["advise", "--goal", "throughput"]) == 0
    (line,) = json.loads(Path("perfgate-out/advice.json").read_text())["lines"]
    assert line["decides"][0]["reference"] == pytest.approx(1000, rel=0.01)
    assert line["decides"][0]["basis"] == "6 and 6 rounds of two runs"


def test_limits_of_the_device_are_found_in_the_state_folder(project: Path) -> None:
    rate = Rate(4e12, 4e12, 4e12, 9)
    (project / ".perfgate" / "ceilings").mkdir(parents=True)
    kept = Kept(Ceilings(GPU.device, GPU.product, {"driver": "1"}, "2026-11-01T00:00:00+00:00", rate, {}))
    (project / ".perfgate" / "ceilings" / "sm-90.json").write_bytes(encode(kept))
    keep_run(made(project, "fp8", 1400, "2026-11-21T09:00:00+00:00"), project / ".perfgate")

    where = project / "suite.yaml", project / ".perfgate", project / "perfgate-out"
    found = gather([], *where)

    assert found.ceilings == kept.ceilings
    assert "as measured 2026-11-01" in found.notes[0]

    newer, of_another = replace(kept.ceilings, measured="2026-11-02"), replace(kept.ceilings, device="sm_80/a100-40gb")
    paths = [project / "newer.json", project / "another.json"]
    for path, one in zip(paths, (newer, of_another), strict=True):
        path.write_bytes(encode(Kept(one)))

    assert gather([], *where, paths).ceilings == newer
    assert gather([], *where, paths[1:]).ceilings == kept.ceilings


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--goal", "latency"], "no run of suite 'small' is kept in .perfgate: measure it (perfgate run --suite"),
        (["--goal", "cost", "--price", "free"], "--price: found 'free', expected the price of a device's hour"),
        (["--goal", "cost", "--price", "0/h"], "--price: found '0/h'"),
        (["--goal", "latency", "--max-loss", "much"], "--max-loss: found 'much', expected a share of perplexity"),
        (["suite.json", "--goal", "latency"], "is no run.json, no baseline and no tradeoffs.json"),
        (["other.json", "--goal", "latency"], "is of suite 'other', suite.yaml is 'small': name its own"),
        (["planted.json", "--goal", "latency"], "was made with --perfgate-inject"),
        (["run.json", "there.json", "--goal", "latency"], "figures of two devices are never compared"),
        (["absent.json", "--goal", "latency"], "absent.json cannot be read"),
    ],
)
def test_a_mistake_is_one_line(project: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    one = made(project, "bf16", 1000, "2026-11-21T09:00:00+00:00")
    files = {
        "suite.json": b'{"a": 1}',
        "run.json": encode(one),
        "other.json": encode(replace(one, suite="other")),
        "planted.json": encode(replace(one, environment=replace(GPU, inject={"decode": 1.1}))),
        "there.json": encode(replace(one, environment=replace(GPU, device="sm_80/a100-80gb"))),
    }
    for name, content in files.items():
        (project / name).write_bytes(content)

    assert main(["advise", *more]) == 4

    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_run_named_beside_another_is_read_too(project: Path) -> None:
    for engine, level in (("bf16", 1000), ("fp8", 1400)):
        (project / f"{engine}.json").write_bytes(encode(made(project, engine, level, "2026-11-21T09:00:00+00:00")))

    assert main(["advise", "bf16.json", "fp8.json", "--goal", "throughput"]) == 0

    (line,) = json.loads(Path("perfgate-out/advice.json").read_text())["lines"]
    assert line["gain"] == pytest.approx(1.4, rel=0.01)
