"""Broken output: empty, of no vocabulary, or one token over and over; and what is not looked at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from fake_engine import FakeEngine
from perfgate.case import Case, EngineSpec, LatencyWork
from perfgate.engines.base import TokenEvent
from perfgate.load.request import FaultKind, RequestFault, RequestRecord
from perfgate.load.sameness import Sameness
from perfgate.plant import Plant
from perfgate.record import CaseRound
from perfgate.workloads.latency import LatencyRun
from perfgate.workloads.output import RANDOM_WEIGHTS, UNTOLD, Look, look_at, look_at_answers, vocabulary_size

SPEC = EngineSpec("e", Path("model"))
DUMMY = EngineSpec("e", Path("model"), engine_args=(("load_format", "dummy"),))
VARIED = [7 * at % 50 for at in range(32)]
STUCK = [0] * 32


def _events(*outputs: Sequence[int], told: bool = True) -> list[TokenEvent]:
    due = [TokenEvent(name, 0, 0) for name in range(len(outputs))]
    tokens = [
        TokenEvent(name, 1, 1, (token,) if told else ()) for name, output in enumerate(outputs) for token in output
    ]
    return [*due, *tokens]


def _look(*outputs: Sequence[int], spec: EngineSpec = SPEC, told: bool = True) -> Look:
    return look_at(_events(*outputs, told=told), list(range(len(outputs))), spec)


def test_varied_output_is_fine() -> None:
    assert _look(VARIED, VARIED) == Look()


def test_one_token_over_and_over_is_broken() -> None:
    found = _look(STUCK, STUCK, VARIED)

    assert found.broken == (
        "2 of 3 outputs are one token over and over: request 0 gave token 0 32 times in 32",
    )  # fmt: skip


def test_half_of_the_outputs_may_be_stuck() -> None:
    assert _look(STUCK, VARIED) == Look()


def test_a_short_run_of_one_token_says_little() -> None:
    assert _look([5] * 15, [5] * 15) == Look()


def test_a_loop_of_a_few_tokens_is_what_small_models_do() -> None:
    assert _look([1, 2] * 16, [3, 4, 5] * 10) == Look()


def test_no_token_at_all_is_broken() -> None:
    assert _look([], []).broken == ("empty output: none of 2 requests gave a token",)


def test_random_weights_are_not_looked_at_and_it_says_so() -> None:
    assert _look(STUCK, STUCK, spec=DUMMY) == Look(unchecked=RANDOM_WEIGHTS)


def test_empty_output_of_random_weights_is_broken_too() -> None:
    assert _look([], spec=DUMMY).broken


def test_an_engine_that_does_not_tell_its_tokens_is_not_looked_at() -> None:
    assert _look(STUCK, STUCK, told=False) == Look(unchecked=UNTOLD)


@pytest.mark.parametrize("token", [-1, 50, 10**6])
def test_a_token_of_no_vocabulary_is_broken(tmp_path: Path, token: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 50}))

    found = _look(VARIED, [*VARIED, token], spec=EngineSpec("e", tmp_path))

    assert found.broken == (f"request 1 gave token {token}, outside the vocabulary of 50",)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"vocab_size": "many"}', "\ud800"])
def test_a_checkpoint_that_does_not_tell_has_no_size(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))

    assert vocabulary_size(tmp_path) is None


def _measured(tmp_path: Path, **args: str | float) -> CaseRound:
    text = tmp_path / "prompts.jsonl"
    text.write_text('{"id": "a", "text": "some words to begin with"}\n')
    spec = EngineSpec("e", tmp_path, engine_args=tuple(args.items()))
    work = LatencyWork("b1", text, 8, 16, 1, 2, 0)
    run = LatencyRun(FakeEngine({"step_us": 1.0, **args}, Plant()), Case(spec, work), work)
    run.measure(0, 1)
    return run.summarise()


@pytest.mark.parametrize(
    ("output", "why"), [("repeat", "one token over"), ("foreign", "one token over"), ("nothing", "empty output")]
)
def test_a_latency_round_of_broken_output_has_no_figures(tmp_path: Path, output: str, why: str) -> None:
    found = _measured(tmp_path, output=output)

    assert found.values == {}
    assert any(why in line for line in found.broken)


def test_a_sound_latency_round_was_looked_at(tmp_path: Path) -> None:
    found = _measured(tmp_path)

    assert (found.broken, found.unchecked) == ((), None)
    assert found.values["output_tokens"] == 32


def test_a_latency_round_of_random_weights_says_that_nobody_looked(tmp_path: Path) -> None:
    found = _measured(tmp_path, output="repeat", load_format="dummy")

    assert found.unchecked == RANDOM_WEIGHTS
    assert found.values["output_tokens"] == 32


# ------------------------------------------------------------------ answers of servers


def _answer(number: int, same: Sameness | None, fault: FaultKind | None = None) -> RequestRecord:
    told = RequestFault(fault, "") if fault else None
    return RequestRecord(number, False, 8, 16, 0, 0, 0, 0, 1, sameness=same, fault=told)


def _answers(*seen: Sameness) -> list[RequestRecord]:
    return [_answer(number, one) for number, one in enumerate(seen)]


STUCK_TEXT, STUCK_ID = Sameness("'!'", 15, 16), Sameness("token 0", 32, 32, (0, 0))
VARIED_TEXT = Sameness("' the'", 3, 16)


@pytest.mark.parametrize("stuck", [STUCK_TEXT, STUCK_ID])
def test_answers_of_one_token_are_broken_and_half_of_them_may_be_so(stuck: Sameness) -> None:
    assert look_at_answers(_answers(stuck, VARIED_TEXT), SPEC) == Look()
    (why,) = look_at_answers(_answers(stuck, stuck, VARIED_TEXT), SPEC).broken
    assert why == (
        f"2 of 3 outputs are one token over and over: request 0 gave {stuck.commonest} {stuck.count} times in "
        f"{stuck.pieces}"
    )


def test_few_pieces_say_little_and_an_end_of_text_that_is_ignored_says_nothing() -> None:
    assert look_at_answers(_answers(Sameness("'!'", 15, 15)), SPEC) == Look()
    assert look_at_answers(_answers(STUCK_ID, STUCK_ID), SPEC, special={0}) == Look()


def test_answers_are_looked_at_as_outputs_are(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 50}')
    alien, empty = Sameness("token 7", 1, 16, (3, 50)), _answer(0, None, FaultKind.EMPTY)

    assert look_at_answers(_answers(alien), EngineSpec("e", tmp_path)).broken == (
        "request 0 gave token 50, outside the vocabulary of 50",
    )  # fmt: skip
    assert look_at_answers([empty, empty], SPEC).broken == ("empty output: none of 2 requests gave a token",)
    assert look_at_answers([empty, _answer(1, VARIED_TEXT)], SPEC) == Look()
    assert look_at_answers(_answers(STUCK_ID), DUMMY) == Look(unchecked=RANDOM_WEIGHTS)
