"""Tasks: what a harness asks in an engine's terms, and a small task on lm-evaluation-harness where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_engine import FakeEngine
from perfgate.case import Case, EngineSpec, TasksWork
from perfgate.engines.base import Request
from perfgate.errors import EngineError
from perfgate.plant import Plant
from perfgate.workloads.tasks import Asked, accuracy_of, cut, measure_tasks

TASK = """
task: letters
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: ["a", "b"]
doc_to_target: answer
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def _engine(**args: str | float) -> FakeEngine:
    return FakeEngine({"step_us": 1.0, **args}, Plant())


def _case(folder: Path, *tasks: str) -> tuple[Case, TasksWork]:
    work = TasksWork("qa", tasks, folder)
    return Case(EngineSpec("e", folder, backend="fake", max_seq_len=64), work), work


def _asked(tmp_path: Path, **args: str | float) -> Asked:
    return Asked(_engine(**args), _case(tmp_path, "letters")[0])


@pytest.mark.parametrize(("context", "text"), [("a question", " yes"), ("é ü", "ñ!"), ("blank at the end ", "x")])
def test_a_continuation_has_the_scores_of_its_tokens(tmp_path: Path, context: str, text: str) -> None:
    engine = _engine()
    count = len((context + text).encode()) - len(context.rstrip().encode())

    found, _ = _asked(tmp_path).continuation(context, text)

    assert found == pytest.approx(float(engine.score(engine.encode(context + text))[-count:].sum()))


def test_a_continuation_is_greedy_where_each_token_is_the_likeliest(tmp_path: Path) -> None:
    engine = _engine()
    head = engine.score_top(engine.encode("ab"), 1, 1)
    likeliest = [first for first in range(97, 123) for _ in [0]]
    greedy = {
        bytes([first]).decode(): int(engine.score_top([first, 97], 1, 1).top_ids[0, 0]) for first in likeliest
    }  # fmt: skip
    context, token = next((one, token) for one, token in greedy.items() if token < 128)

    assert len(head.log_probs) == 1
    assert _asked(tmp_path).continuation(context, bytes([token]).decode())[1] is True
    other = "a" if token != ord("a") else "b"
    assert _asked(tmp_path).continuation(context, other)[1] is False


def test_a_context_that_is_too_long_loses_its_beginning(tmp_path: Path) -> None:
    engine = _engine()

    found, _ = _asked(tmp_path).continuation("x" * 500, "yes")

    assert found == pytest.approx(float(engine.score(engine.encode("xxxyes"))[-3:].sum()))


def test_behind_an_empty_context_the_first_token_has_no_score(tmp_path: Path) -> None:
    engine = _engine()

    assert _asked(tmp_path).continuation("", "yes")[0] == pytest.approx(float(engine.score(engine.encode("yes")).sum()))


def test_a_whole_text_is_scored_once_each_token(tmp_path: Path) -> None:
    engine, text = _engine(), "some words " * 30

    assert _asked(tmp_path).whole(text) == pytest.approx(float(engine.score(engine.encode(text)).sum()))


@pytest.mark.parametrize("wish", [{"do_sample": True}, {"temperature": 0.7}])
def test_sampling_is_refused(tmp_path: Path, wish: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="greedily"):
        _asked(tmp_path).until("a question", wish)


def test_an_engine_that_does_not_tell_its_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not tell its tokens"):
        _asked(tmp_path, output="nothing").until("a question", {"max_gen_toks": 0})


@pytest.mark.parametrize(("stops", "left"), [([], "a b c"), ([" b", "c"], "a"), (["", "x"], "a b c"), (["a"], "")])
def test_an_answer_ends_at_its_first_stop(stops: list[str], left: str) -> None:
    assert cut("a b c", stops) == left


@pytest.mark.parametrize(
    ("results", "accuracy"),
    [
        ({"alias": "x", "acc,none": 0.5, "acc_stderr,none": "N/A"}, 0.5),
        ({"exact_match,strict": 1, "acc_norm,none": 0.1}, 1.0),
        ({"bleu,none": 0.5}, None),
    ],
)
def test_accuracy_is_found_among_results(results: dict[str, Any], accuracy: float | None) -> None:
    assert accuracy_of(results) == accuracy


def test_an_engine_without_distributions_is_refused(tmp_path: Path) -> None:
    class Plain:
        def encode(self, text: str) -> list[int]:
            return list(text.encode())

        def generate(self, requests: list[Request], concurrency: int) -> Any:
            raise NotImplementedError

        def score(self, token_ids: list[int]) -> Any:
            return np.zeros(len(token_ids) - 1)

        def stats(self) -> Any:
            raise NotImplementedError

    case, work = _case(tmp_path, "letters")

    with pytest.raises(EngineError, match="tasks need next-token distributions"):
        measure_tasks(Plain(), case, work)  # type: ignore[arg-type]


def test_a_task_from_local_files_runs_on_the_harness_itself(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    (tmp_path / "letters.yaml").write_text(TASK)
    items = [{"question": f"{letter} is", "answer": 0} for letter in "klmnopqr"]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    case, work = _case(tmp_path, "letters")
    engine = _engine()
    scores = engine.score_top([ord(" "), 97], 1, 256)  # the harness puts a blank before a choice
    odds = dict(zip(scores.top_ids[0].tolist(), scores.top_log_probs[0].tolist(), strict=True))

    found = measure_tasks(engine, case, work)

    assert found.values == {"task_accuracy": float(odds[97] > odds[98])}
