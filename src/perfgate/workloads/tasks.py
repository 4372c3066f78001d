"""Accuracy on tasks, by lm-evaluation-harness (extra `evals`): a language model of its kind over an engine of ours.

Tasks and their data come from local files alone. Everything is greedy, so that a run repeats itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from perfgate.case import Case, PerplexityWork, TasksWork
from perfgate.engines.base import Engine, Request, Scored, TopEngine
from perfgate.errors import EngineError, UsageError
from perfgate.load.vocabulary import read_tokenizer, vocabulary_of
from perfgate.record import CaseRound
from perfgate.workloads.perplexity import windows

_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
_METRICS = ("acc", "exact_match")  # what counts as accuracy, in this order
_SOME_TOKENS = 256  # generated where a task does not say: the harness's own default


def measure_tasks(engine: Engine, case: Case, work: TasksWork) -> CaseRound:
    """The mean accuracy of the tasks, each counting alike.

    Raises:
        UsageError: lm-evaluation-harness is not installed.
        EngineError: the engine tells no distributions, or a task asks for what it cannot do.
    """
    if not isinstance(engine, TopEngine):
        raise EngineError(f"tasks need next-token distributions, which '{case.engine.backend}' does not tell")
    found = _evaluate(engine, case, work)
    lacking = [name for name in work.tasks if accuracy_of(found.get(name, {})) is None]
    if lacking:
        told = f"{', '.join(lacking)} gave neither {' nor '.join(_METRICS)}"
        return CaseRound(case.id, {}, faults=(f"no accuracy: {told}",))
    each = [accuracy_of(found[name]) or 0.0 for name in work.tasks]
    return CaseRound(case.id, {"task_accuracy": float(np.mean(each))})


def accuracy_of(results: dict[str, Any]) -> float | None:
    """A task's accuracy among its results ('acc,none'); None where it has none."""
    found = {key.partition(",")[0]: value for key, value in results.items() if isinstance(value, int | float)}
    return next((float(found[name]) for name in _METRICS if name in found), None)


def _evaluate(engine: Engine, case: Case, work: TasksWork) -> dict[str, dict[str, Any]]:
    os.environ |= _OFFLINE  # before the library is imported, which reads them
    try:
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager
    except ImportError as exc:
        raise UsageError("tasks need lm-evaluation-harness: pip install 'pytest-perfgate[evals]'") from exc
    here = os.getcwd()  # noqa: PTH109 - what chdir takes back
    os.chdir(work.folder)  # data files are named from there
    try:
        manager = TaskManager(include_path=str(work.folder), include_defaults=False)
        told = simple_evaluate(
            model=harness_model(engine, case), tasks=list(work.tasks), task_manager=manager, limit=work.limit,
            bootstrap_iters=0, log_samples=False,
        )  # fmt: skip
    except (KeyError, ValueError, OSError, FileNotFoundError) as exc:
        raise EngineError(f"the tasks in {work.folder} cannot be run: {exc}") from exc
    finally:
        os.chdir(here)
    return dict(told["results"]) if told else {}


def harness_model(engine: Engine, case: Case) -> Any:
    """An `lm_eval.api.model.LM` over an engine: its three ways of asking."""
    from lm_eval.api.model import LM

    class EngineModel(LM):  # type: ignore[misc]
        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            return [asked.continuation(*request.args) for request in requests]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            return [asked.whole(request.args[0]) for request in requests]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return [asked.until(*request.args) for request in requests]

    asked = Asked(engine, case)
    return EngineModel()


class Asked:
    """What a harness asks, in an engine's terms: token ids, log-probabilities, greedy tokens."""

    def __init__(self, engine: Engine, case: Case) -> None:
        self._engine, self._spec = engine, case.engine

    def continuation(self, context: str, text: str) -> tuple[float, bool]:
        """Log-probability (nats) of a text behind its context, and whether greedy decoding would give it.

        The context's trailing blanks go to the text, as tokens begin with them; a context that is too long loses its
        beginning; behind an empty one the first token has no score.
        """
        bare = context.rstrip()
        before = self._engine.encode(bare) if bare else []
        tokens = self._engine.encode(context + text)
        count = min(len(tokens) - max(len(before), 1), self._spec.max_seq_len - 2)
        if count < 1:
            return 0.0, True
        kept = tokens[-(self._spec.max_seq_len - 1) :]
        found = self._scored(kept, count)
        return float(found.log_probs.sum()), bool((found.top_ids[:, 0] == np.asarray(kept[-count:])).all())

    def whole(self, text: str) -> float:
        """Log-probability of a text but its first token, by windows of half the engine's length."""
        tokens, length = self._engine.encode(text), self._spec.max_seq_len - 1
        work = PerplexityWork("", self._spec.model, length, max(length // 2, 1))
        return sum(float(self._engine.score(tokens[a:b])[-fresh:].sum()) for a, b, fresh in windows(len(tokens), work))

    def until(self, context: str, wish: dict[str, Any]) -> str:
        """Greedy text behind a context, to the first stop; EOS and its kin end it too.

        Raises:
            EngineError: sampling is asked for, or the engine does not tell its tokens.
        """
        if wish.get("do_sample") or wish.get("temperature", 0):
            raise EngineError("tasks are run greedily: set do_sample: false in the task's generation_kwargs")
        most = int(wish.get("max_gen_toks", _SOME_TOKENS))
        prompt = tuple(self._engine.encode(context)[-(self._spec.max_seq_len - most) :])
        ids = [token for event in self._engine.generate([Request(0, prompt, most)], 1) for token in event.ids]
        if not ids:
            raise EngineError(f"'{self._spec.backend}' does not tell its tokens, which generated answers need")
        ends = vocabulary_of(self._spec.model).reserved
        end = next((at for at, token in enumerate(ids) if token in ends), len(ids))
        stops = wish.get("until", [])
        return cut(read_tokenizer(self._spec.model).decode(ids[:end]), [stops] if isinstance(stops, str) else stops)

    def _scored(self, tokens: Sequence[int], count: int) -> Scored:
        assert isinstance(self._engine, TopEngine)  # `measure_tasks` looked
        return self._engine.score_top(tokens, count, 1)


def cut(text: str, stops: Sequence[str]) -> str:
    """A text up to the first of its stops."""
    return text[: min([at for stop in stops if stop and (at := text.find(stop)) >= 0], default=len(text))]
