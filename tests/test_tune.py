"""The search of `perfgate tune`: which steps are kept, memory that runs out, budgets; a kill -9 with real processes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from conftest import Project, write_project
from perfgate import tune_cli, tune_run
from perfgate.baselines import Provenance
from perfgate.case import Case, EngineSpec, Precision
from perfgate.cli import main
from perfgate.contest import Standing, baseline_of
from perfgate.errors import EngineError
from perfgate.fault_kinds import ProcessFault
from perfgate.json_schemas import json_schema
from perfgate.measure import count
from perfgate.record import CaseInfo, CaseRound, DocumentScore, Environment, Round, Run, Side
from perfgate.report.tuned import tuned_lines, write_tuned
from perfgate.suite import load_suite
from perfgate.tune_goal import Goal
from perfgate.tune_plan import TuneWish, plan_tune
from perfgate.tune_record import Outcome, Tuned
from perfgate.tune_run import close_tune, run_tune

EXIT_OK, EXIT_FAILED, EXIT_STOPPED, EXIT_USAGE = 0, 1, 1, 4
LACKS = "precision=fp8 kv_cache_dtype=fp8"
FAST = {Precision.INT8_WO: 1.5, Precision.INT4_WO: 1.5 * 1.4}

Speed = Callable[[EngineSpec], float]


class Quiet:
    """A teller that remembers what was noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def step(self, text: str, done: int, total: int, left_s: float) -> None:
        del text, done, total, left_s

    def note(self, text: str) -> None:
        self.notes.append(text)


class World:
    """What engines would measure: tokens/s by spec, nats a document lost by precision, where memory ends.

    wild: size of the noise between rounds. seconds: of a pair. turnouts: those that were carried out, by candidate.
    """

    def __init__(self) -> None:
        self.speed: Speed = lambda spec: FAST.get(spec.precision, 1.0)
        self.lost: Mapping[Precision, float] = {}
        self.slower_alone: set[str] = set()  # candidates that lose time at one stream
        self.oom_at = 1 << 30
        self.unbuildable: set[str] = set()
        self.wild = 0.001
        self.seconds = 1.0
        self.turnouts: dict[str, int] = {}

    def contest(self, *args: Any) -> FakeContest:
        return FakeContest(self, *args)


class FakeContest:
    """A contest whose rounds are drawn instead of measured: everything else is as in the real one."""

    def __init__(
        self, world: World, a: Any, b: Any, duels: Sequence[Any], gate: Any, folder: Path, teller: Any, referee: Any,
        kept: Any, stop: Any,
    ) -> None:  # fmt: skip
        del a, folder, teller, stop
        self.world, self.duel, self.gate, self.referee, self.kept = world, duels[0], gate, referee, kept
        self.name = self.duel.b.name
        self.suite = b.suite
        self.engines: dict[Side, str] = {}
        self.rounds: list[Round] = list(kept.rounds)
        self.prepare_s = 0.0

    def run(self, budget_s: Callable[[], float]) -> Standing:
        self.engines[Side.BASELINE] = "there"
        if self.name in self.world.unbuildable:
            raise EngineError(f"cannot build {self.name}", ProcessFault.CRASHED)
        self.engines[Side.CANDIDATE] = "there"
        left_s = budget_s()
        while self._wants_more() and left_s > 0 and not any(one.fault for one in self.rounds):
            self._turnout()
            left_s -= self.world.seconds
        return self._standing()

    def environment(self, side: Side) -> Environment:
        del side
        return Environment("cpu/any", "any", {}, "")

    def _wants_more(self) -> bool:
        done = count(self.rounds, self.name, Side.CANDIDATE)
        is_open = done < self.gate.first_rounds or self.referee.is_open(self._standing(), self.name)
        return bool(done < self.gate.most_rounds and is_open)

    def _turnout(self) -> None:
        self.world.turnouts[self.name] = self.world.turnouts.get(self.name, 0) + 1
        pair = [self._round(Side.CANDIDATE, 0), self._round(Side.BASELINE, 1)]
        self.rounds += pair
        self.kept.keep(pair, self.world.seconds)

    def _round(self, side: Side, number: int) -> Round:
        spec, index = (self.duel.b if side is Side.CANDIDATE else self.duel.a), len(self.rounds) + number
        if spec.max_batch_size >= self.world.oom_at:
            kind = ProcessFault.GPU_OUT_OF_MEMORY
            return Round(self.name, side, index, "", 0.0, (), fault="out of GPU memory", fault_kind=kind)
        wave = 1 + self.world.wild * ((index * 7) % 5 - 2)
        cases = tuple(self._case(case, spec, wave) for case in self.duel.cases)
        return Round(self.name, side, index, "", self.world.seconds, cases)

    def _case(self, case: Case, spec: EngineSpec, wave: float) -> CaseRound:
        rate = 1000 * self.world.speed(spec) * wave
        match case.work.name:
            case "text":
                nll = 100 + self.world.lost.get(spec.precision, 0.0)
                return CaseRound(case.id, {}, documents={f"d{i}": DocumentScore(nll + i, 50, 200) for i in range(8)})
            case "b1":
                slow = 2.0 if self.name in self.world.slower_alone and spec is self.duel.b else 1.0
                return CaseRound(case.id, {"output_tokens_per_s": rate / slow, "e2el_tmean": slow / rate})
            case "b64":
                return CaseRound(case.id, {"output_tokens_per_s": rate, "e2el_tmean": 1 / rate})
            case _:
                return CaseRound(case.id, {"engine_bytes": 1e6})

    def _standing(self) -> Standing:
        infos = tuple(CaseInfo(case.id, self.name, case.kind, case.hash) for case in self.duel.cases)
        run = Run(self.suite.name, "", self.environment(Side.CANDIDATE), infos, (), tuple(self.rounds), (self.name,))
        beside = baseline_of(run, Provenance("", "", "any", {}, ""), {self.name: ""})
        return Standing(run, beside, self.referee.judge(run, beside))


def _edit(text: str) -> str:
    more = text.replace(
        "  text: {kind",
        "  b64: {kind: latency, prompts: texts.jsonl, input_len: 8, output_len: 16, concurrency: 64, requests: 64}\n"
        "  text: {kind",
    )
    return more.replace(
        "    itl_p10: {margin: 5%, detect: 20%}\n",
        "    output_tokens_per_s: {margin: 5%, detect: 15%}\n    e2el_tmean: {margin: 5%, detect: 15%}\n",
    ).replace("{step_us: 400}", f'{{step_us: 400, lacks: "{LACKS}"}}')


Tune = Callable[..., Tuned]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(tune_run, "Contest", made.contest)
    return made


@pytest.fixture
def tune(world: World, small_project: Project, tmp_path: Path) -> Tune:
    """Search for throughput from the project's only engine."""
    del world

    def search(goal: Goal = Goal.THROUGHPUT, *, budget_s: float = 1000.0, max_loss: float = 0.01) -> Tuned:
        suite = load_suite(small_project(edit=_edit))
        wish = TuneWish(tmp_path / "state", "one", goal, budget_s, max_loss)
        plan = plan_tune(suite, wish)
        with ExitStack() as held:
            found = run_tune(plan, wish, Quiet(), held)
            close_tune(found, plan, wish)
        return found

    return search


def _outcomes(found: Tuned) -> dict[str, Outcome]:
    return {one.name: one.outcome for one in found.steps if one.outcome is not Outcome.NOT_HERE}


def test_what_is_surely_better_is_kept_and_the_next_is_measured_beside_it(tune: Tune) -> None:
    found = tune()

    by_name = {one.name: one for one in found.steps}
    assert _outcomes(found) == {
        "int8_wo": Outcome.KEPT, "int4_wo": Outcome.KEPT, "kv-int8": Outcome.NOT_BETTER, "batch-8": Outcome.NOT_BETTER
    }  # fmt: skip
    assert by_name["int4_wo"].beside == "int8_wo"
    assert by_name["kv-int8"].beside == "int4_wo"
    gain = by_name["int4_wo"].gain
    assert gain is not None
    assert gain.low < gain.change < gain.high
    assert gain.change == pytest.approx(0.4, abs=0.01)
    assert found.tuned == {**found.start, "precision": "int4_wo"}
    assert found.whole is not None
    assert found.whole.outcome is Outcome.KEPT
    assert found.whole.gain is not None
    assert found.whole.gain.change == pytest.approx(1.1, abs=0.02)


def test_the_files_say_it_and_the_tuned_suite_can_be_run(tune: Tune, small_project: Project) -> None:
    suite, out = load_suite(small_project(edit=_edit)), Path("perfgate-out").absolute()
    found = tune()

    paths = write_tuned(found, suite, out)

    assert {path.name for path in paths} == {"tuning.json", "tuning.md", "tuned.yaml"}
    validate(json.loads((out / "tuning.json").read_text()), json_schema("tuning"))
    assert "| weights in int8_wo | kept |" in (out / "tuning.md").read_text()
    tuned = load_suite(out / "tuned.yaml")
    assert [spec.precision for spec in tuned.engines] == ["fp32", "int4_wo"]
    assert tuned.engines[1].model.samefile(suite.engines[0].model)
    assert {case.work for case in tuned.cases} == {case.work for case in suite.cases}
    assert tuned.gate.references[0].allowed == found.max_loss


def test_the_tuned_suite_is_a_gate_of_every_case_that_it_names(tune: Tune, small_project: Project) -> None:
    """Builds that nothing gated measures are left out: a case that is judged by nothing is invalid, and red."""

    def without(text: str) -> str:
        return _edit(text).replace("    engine_bytes: {}\n", "").replace("    perplexity: {}\n", "")

    found = tune()
    suite, out = load_suite(small_project(edit=without)), Path("perfgate-out").absolute()

    write_tuned(found, suite, out)

    tuned = load_suite(out / "tuned.yaml")
    assert {case.kind for case in suite.cases} == {"build", "latency", "perplexity"}
    assert {case.kind for case in tuned.cases} == {"latency", "perplexity"}
    assert [case.id for case in tuned.cases if not any(one.is_of(case.kind) for one in tuned.gate.metrics)] == []
    assert tuned.gate.references[0].allowed == found.max_loss


def test_a_terminal_is_told_what_was_kept_what_was_not_and_why(tune: Tune) -> None:
    told = "\n".join(tuned_lines(tune()))

    assert "kept: weights in int8_wo, weights in int4_wo;" in told
    assert "tuned: precision int4_wo" in told
    assert "KV cache in int8: a gain of 15 % in output_tokens_per_s is ruled out" in told
    assert "all together beside one: output_tokens_per_s +1" in told


def test_what_does_not_apply_says_why(tune: Tune) -> None:
    why = {one.name: one.reason for one in tune().steps if one.outcome is Outcome.NOT_HERE}

    assert why["fp8"] == "there is no precision=fp8 here"
    assert "short against max_num_tokens" in why["chunked"]
    assert "more than once" in why["prefix"]
    assert "on the CPU" in why["graphs"]
    assert why["ngram"] == "serves the goal latency only"


def test_faster_but_dumber_is_not_kept_and_losses_add_up_from_the_start(tune: Tune, world: World) -> None:
    world.lost = {Precision.INT8_WO: 0.3, Precision.INT4_WO: 0.6}  # of 50 tokens: 0.6 % and 1.2 % of perplexity

    found = tune()

    assert _outcomes(found)["int8_wo"] is Outcome.KEPT
    assert _outcomes(found)["int4_wo"] is Outcome.LOSES  # only 0.6 % more than what it was measured beside
    assert found.tuned["precision"] == "int8_wo"


def test_a_larger_loss_may_be_allowed(tune: Tune, world: World) -> None:
    world.lost = {Precision.INT8_WO: 0.3, Precision.INT4_WO: 0.6}

    assert tune(max_loss=0.03).tuned["precision"] == "int4_wo"


def test_better_but_worse_elsewhere_is_not_kept(tune: Tune, world: World) -> None:
    world.slower_alone = {"int8_wo"}

    found = tune()

    (step,) = (one for one in found.steps if one.name == "int8_wo")
    assert step.outcome is Outcome.WORSE
    assert "e2el_tmean of b1" in step.reason or "output_tokens_per_s of b1" in step.reason


def test_what_noise_hides_is_undecided_and_not_kept(tune: Tune, world: World) -> None:
    world.speed, world.wild = (lambda spec: 1.1 if spec.precision is not Precision.FP32 else 1.0), 0.2

    found = tune()

    assert _outcomes(found)["int8_wo"] is Outcome.UNDECIDED
    assert found.kept == ()
    assert found.tuned == found.start


def test_a_batch_grows_until_throughput_does_not(tune: Tune, world: World) -> None:
    world.speed = lambda spec: float(min(spec.max_batch_size, 16))

    found = tune()

    batches = {name: what for name, what in _outcomes(found).items() if name.startswith("batch")}
    assert batches == {"batch-8": Outcome.KEPT, "batch-16": Outcome.KEPT, "batch-32": Outcome.NOT_BETTER}
    assert found.tuned["max_batch_size"] == 16


def test_memory_that_runs_out_takes_the_batch_20_percent_back_from_the_largest_that_ran(
    tune: Tune, world: World
) -> None:
    world.speed, world.oom_at = (lambda spec: float(spec.max_batch_size)), 32

    found = tune()

    batches = {name: what for name, what in _outcomes(found).items() if name.startswith("batch")}
    assert batches == {
        "batch-8": Outcome.KEPT, "batch-16": Outcome.LEFT, "batch-32": Outcome.OUT_OF_MEMORY, "batch-12": Outcome.KEPT
    }  # fmt: skip
    assert {one.name: one.beside for one in found.steps}["batch-12"] == "batch-8"
    assert found.tuned["max_batch_size"] == 12


def test_memory_that_runs_out_at_once_leaves_the_batch_as_it_was(tune: Tune, world: World) -> None:
    world.oom_at = 8

    found = tune()

    assert _outcomes(found)["batch-8"] is Outcome.OUT_OF_MEMORY
    assert "max_batch_size" not in _changed(found)


def test_a_candidate_that_cannot_be_built_is_listed_and_the_search_goes_on(tune: Tune, world: World) -> None:
    world.unbuildable = {"int8_wo"}

    found = tune()

    assert _outcomes(found)["int8_wo"] is Outcome.FAILED
    assert _outcomes(found)["int4_wo"] is Outcome.KEPT


def test_no_step_begins_that_cannot_be_decided_in_what_is_left_and_a_larger_budget_goes_on(
    tune: Tune, world: World
) -> None:
    world.seconds = 10.0

    short = tune(budget_s=75.0)
    before = dict(world.turnouts)
    long = tune(budget_s=1000.0)

    assert _outcomes(short)["int8_wo"] is Outcome.KEPT
    assert _outcomes(short)["batch-8"] is Outcome.UNTRIED
    assert "of the budget is left" in short.untried[-1].reason
    assert world.turnouts["int8_wo"] == before["int8_wo"]  # not measured again
    assert long.untried == ()
    assert long.spent_s > short.spent_s


def _changed(found: Tuned) -> dict[str, Any]:
    return {key: value for key, value in found.tuned.items() if found.start.get(key) != value}


# ---------------------------------------------------------------- the command


def _command(*args: str) -> list[str]:
    return [sys.executable, "-m", "perfgate.cli", "tune", "--suite", "suite.yaml", "--engine", "one", *args]


def _small(text: str) -> str:
    """Two steps to try, the second one without memory; engines sleep, so that rounds last as long as processes."""
    lacks = "precision=fp8 precision=int4_wo kv_cache_dtype=fp8 kv_cache_dtype=int8"
    args = f'{{step_us: 4000, sleep: true, lacks: "{lacks}", speeds: "precision=int8_wo:0.4", oom_at: 8}}'
    return (
        text.replace("{step_us: 400}", args)
        .replace("most_rounds: 9", "most_rounds: 3")
        .replace("concurrency: 1, requests: 16", "concurrency: 8, requests: 8, warmup_requests: 0")
        .replace("itl_p10: {margin: 5%, detect: 20%}", "output_tokens_per_s: {margin: 10%, detect: 40%}")
    )


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_search_that_is_killed_or_stopped_goes_on_without_measuring_finished_rounds_again(
    small_project: Project, sign: signal.Signals
) -> None:
    folder = small_project(edit=_small).parent
    command = _command("--goal", "throughput", "--budget", "5min")
    journal = folder / ".perfgate" / "journal" / "small-tune-one-throughput@cpu.jsonl"

    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as first:
        _wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 3)  # header, build, a pair
        first.send_signal(sign)
        told, _ = first.communicate()
    if sign is signal.SIGTERM:
        assert first.returncode == EXIT_STOPPED
        assert re.search(r"stopped by SIGTERM after \d+ rounds: the same command goes on from there", told)
        stopped = json.loads((folder / "perfgate-out" / "tuning.json").read_text())
        assert {one["outcome"] for one in stopped["steps"]} == {"not tried", "does not apply"}
        assert journal.exists()  # what follows is as after a kill
        return
    turns = journal.read_bytes().count(b"\n") - 2
    again = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert again.returncode == EXIT_OK, again.stdout + again.stderr
    assert f"{turns} turns of rounds are measured" in again.stderr + again.stdout
    assert "measuring int8_wo, round 1 (B and A)" not in again.stdout
    assert not journal.exists()
    found = json.loads((folder / "perfgate-out" / "tuning.json").read_text())
    validate(found, json_schema("tuning"))
    (step,) = (one for one in found["steps"] if one["name"] == "int8_wo")
    assert step["rounds"] > 0, step  # what they tell is for tests without a clock
    (batch,) = (one for one in found["steps"] if one["name"] == "batch-8")
    assert batch["outcome"] == "out of memory", batch


def _wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--engine", "won", "--goal", "latency"], "no engine 'won'"),
        (["--engine", "one", "--goal", "latency", "--budget", "soon"], "--budget: found 'soon'"),
        (["--engine", "one", "--goal", "latency", "--max-loss", "little"], "--max-loss: found 'little'"),
    ],
)
def test_a_wrong_wish_is_one_line(
    tmp_path: Path, args: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = write_project(tmp_path)

    assert main(["tune", "--suite", str(suite), *args]) == EXIT_USAGE
    assert words in capsys.readouterr().err


def test_the_command_knows_every_goal() -> None:
    assert tuple(Goal) == tune_cli._GOALS


def test_the_plan_lists_every_step_and_runs_nothing(
    small_project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = small_project(edit=_edit)
    monkeypatch.chdir(suite.parent)

    assert main(["tune", "--suite", "suite.yaml", "--engine", "one", "--goal", "throughput", "--plan"]) == EXIT_OK

    told = capsys.readouterr().out
    assert "judged by output_tokens_per_s of b64" in told
    assert "weights in int8_wo              to try" in told
    assert "no: there is no precision=fp8 here" in told
    assert not (suite.parent / ".perfgate").exists()
