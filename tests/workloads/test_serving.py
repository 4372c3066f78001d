"""What becomes of a load run's records, and which load runs a round has."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.case import Arrivals, Case, EngineSpec, PromptKind, PromptPrefix, ServingTimeouts, ServingWork, Slo
from perfgate.engines.openai import Facts, Server
from perfgate.errors import EngineError, UsageError
from perfgate.load.figures import latencies
from perfgate.load.progress import Progress
from perfgate.load.prompts import Wish
from perfgate.load.request import FaultKind, RequestFault, RequestRecord, TokenSource, Usage
from perfgate.metrics import CATALOGUE
from perfgate.workloads.serving import ServingRun, _beats, plans_of, runs_of, target_of, wish_of
from perfgate.workloads.serving_figures import is_good, samples_of, summarise
from serving_engine import write_checkpoint

MS = 1_000_000
FAULT = RequestFault(FaultKind.DROPPED, "gone")


def _record(index: int, ttft_ms: float = 10, step_ms: float = 5, tokens: int = 5, **more: object) -> RequestRecord:
    """Due every 20 ms; the last event holds two tokens."""
    due = index * 20 * MS
    times = tuple(due + int((ttft_ms + number * step_ms) * MS) for number in range(tokens - 1))
    counts = (*[1] * (tokens - 2), 2)
    plain = RequestRecord(
        index, False, 8, tokens, due, due, 0, due, times[-1], times[0], times, counts, 200, "length",
        Usage(8, tokens), TokenSource.CONTINUOUS_USAGE, tokens,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def _wish(tmp_path: Path, work: ServingWork) -> Wish:
    return wish_of(work, EngineSpec("one", write_checkpoint(tmp_path / "model")), "tiny")


def test_values_are_those_of_the_load_figures() -> None:
    records = [_record(at, ttft_ms=10 + at % 7, step_ms=5 + at % 3) for at in range(700)]

    found = summarise("case", [records], None).values
    expected = latencies(records)

    assert expected.itl_per_token is not None
    for stem, spread in (
        ("ttft", expected.ttft), ("tpot", expected.tpot), ("itl", expected.itl_per_token), ("e2el", expected.e2el)
    ):  # fmt: skip
        for end in ("mean", "p50", "p90", "p95", "p99"):
            assert found[f"{stem}_{end}"] == pytest.approx(getattr(spread, f"{end}_s")), (stem, end)
    assert found["output_tokens"] == 3500
    assert found["total_tokens_per_s"] / found["output_tokens_per_s"] == pytest.approx(13 / 5)


def test_a_figure_that_the_client_may_have_moved_is_left_out() -> None:
    records = [_record(at) for at in range(700)]

    whole, sure = (set(summarise("case", [records], None, doubted).values) for doubted in ((), {"itl_p99"}))

    assert whole - sure == {"itl_p99"}


def test_every_value_is_a_metric_of_serving() -> None:
    found = summarise("case", [[_record(at) for at in range(700)]], Slo(ttft_s=1.0)).values

    of_serving = {name for name, metric in CATALOGUE.items() if metric.is_of("serving")}
    of_gpus = {"gpu_energy_j_per_token", "gpu_power_mean_w", "gpu_utilization"}  # added to the round afterwards
    of_limits = {"mbu_decode", "mfu_prefill"}  # as these are, from the device's limits
    assert set(found) == of_serving - of_gpus - of_limits


def test_percentiles_need_samples() -> None:
    found = summarise("case", [[_record(at) for at in range(63)]], None).values

    assert "ttft_p50" in found
    assert not {"ttft_p90", "ttft_p99", "e2el_p10"} & set(found)
    assert "itl_p90" in found  # four a request


def test_warm_up_counts_nowhere() -> None:
    slow = [_record(at, ttft_ms=900, is_warmup=True) for at in range(5)]
    rest = [_record(at) for at in range(5, 75)]

    assert summarise("case", [[*slow, *rest]], None) == summarise("case", [rest], None)


@given(st.lists(st.booleans(), min_size=70, max_size=140))
def test_failed_requests_never_improve_a_latency(fails: list[bool]) -> None:
    whole = [_record(at, ttft_ms=10 + at) for at in range(len(fails))]
    failed = [replace(one, fault=FAULT) if bad else one for one, bad in zip(whole, fails, strict=True)]

    before, after = (summarise("case", [records], None).values if records else {} for records in (whole, failed))

    for name in ("ttft_mean", "ttft_tmean", "ttft_p50", "ttft_p90", "e2el_p10", "itl_p90"):
        assert after.get(name, float("inf")) >= before[name] - 1e-12


def test_runs_are_pooled_and_rates_are_over_their_seconds_together() -> None:
    runs = [[_record(at) for at in range(10)], [_record(at) for at in range(30)]]

    found = summarise("case", runs, None).values
    alone = [summarise("case", [run], None).values for run in runs]

    assert found["output_tokens"] == 200
    assert min(one["requests_per_s"] for one in alone) < found["requests_per_s"]
    assert found["requests_per_s"] < max(one["requests_per_s"] for one in alone)


def test_a_server_that_does_not_tell_its_tokens_has_no_rates_of_them() -> None:
    records = [_record(at, source=TokenSource.TEXT_CHUNKS, output_tokens=None) for at in range(70)]

    found = summarise("case", [records], None).values

    assert {"ttft_p50", "e2el_p50", "requests_per_s"} <= set(found)
    assert not {"tpot_p50", "itl_p50", "output_tokens", "output_tokens_per_s", "total_tokens_per_s"} & set(found)


def test_an_event_of_several_tokens_shares_its_gap_among_them() -> None:
    (one,) = [_record(0, step_ms=6, tokens=4)]

    assert samples_of([one]).itl == pytest.approx((0.006, 0.003, 0.003))


@pytest.mark.parametrize(
    ("slo", "is_held"),
    [
        (Slo(), True),
        (Slo(ttft_s=0.010, tpot_s=0.004, e2el_s=0.025), True),
        (Slo(ttft_s=0.009), False),
        (Slo(tpot_s=0.003), False),
        (Slo(e2el_s=0.024), False),
    ],
)
def test_a_good_request_keeps_to_every_bound(slo: Slo, *, is_held: bool) -> None:
    assert is_good(_record(0), slo) is is_held
    assert not is_good(_record(0, fault=FAULT), slo)


def test_goodput_counts_the_good_ones() -> None:
    records = [_record(at, ttft_ms=10 if at % 4 else 40) for at in range(80)]

    found = summarise("case", [records], Slo(ttft_s=0.02)).values

    assert found["goodput_per_s"] == pytest.approx(found["requests_per_s"] * 3 / 4)


# ------------------------------------------------------------------ load runs


@given(concurrency=st.integers(1, 20), requests=st.integers(20, 700), warmup=st.integers(0, 40))
def test_runs_share_the_requests_and_each_has_a_warm_up(
    tmp_path_factory: pytest.TempPathFactory, concurrency: int, requests: int, warmup: int
) -> None:
    work = ServingWork("w", "4", "2", concurrency, requests=requests, warmup_requests=warmup)

    plans = plans_of(work, _wish(tmp_path_factory.mktemp("m"), work))

    assert len(plans) == runs_of(work)
    assert sum(len(plan.asks) - plan.warmup for plan in plans) == requests
    assert {(plan.warmup, plan.concurrency) for plan in plans} == {(warmup, concurrency)}


def test_few_requests_are_one_run() -> None:
    work = ServingWork("w", concurrency=16, requests=160)

    assert [runs_of(replace(work, requests=count)) for count in (160, 255, 256)] == [1, 1, 2]
    open_loop = replace(work, concurrency=None, request_rate=1.0)
    assert [runs_of(replace(open_loop, requests=count)) for count in (199, 200)] == [1, 2]


def test_an_open_loop_has_due_times_at_its_rate(tmp_path: Path) -> None:
    work = ServingWork("w", "4", "2", request_rate=10.0, arrivals=Arrivals.CONSTANT, requests=20, warmup_requests=2)

    (plan,) = plans_of(work, _wish(tmp_path, work))

    due = [ask.due_s or 0.0 for ask in plan.asks]
    assert plan.concurrency is None
    assert [later - earlier for earlier, later in pairwise(due[2:])] == pytest.approx([0.1] * 19)


def test_the_same_seed_asks_the_same_and_another_does_not(tmp_path: Path) -> None:
    work = ServingWork("w", "uniform:4:9", "2", 2, prefix=PromptPrefix(1, 2))

    bodies = [
        [ask.body for ask in plans_of(one, _wish(tmp_path, one))[0].asks] for one in (work, work, replace(work, seed=1))
    ]

    assert bodies[0] == bodies[1]
    assert bodies[0] != bodies[2]
    assert all(body["ignore_eos"] is True for body in bodies[0])


def test_texts_of_a_checkpoint_without_a_tokenizer_are_refused(tmp_path: Path) -> None:
    work = ServingWork("w", concurrency=1, prompts=PromptKind.TEXT)

    with pytest.raises(UsageError):
        _wish(tmp_path, work)


def test_only_bounds_that_are_asked_for_replace_the_clients() -> None:
    server = Server(Facts("http://127.0.0.1:1", None, "m", ("m",), {}))

    found = target_of(server, ServingWork("w", concurrency=1, timeouts=ServingTimeouts(total_s=7.0))).timeouts

    assert (found.total_s, found.idle_s) == (7.0, 60.0)


@pytest.mark.parametrize("lists", [True, False])
def test_ids_are_asked_of_a_server_that_lists_them(*, lists: bool) -> None:
    server = Server(Facts("http://127.0.0.1:1", None, "m", ("m",), {}, returns_token_ids=lists))

    assert target_of(server, ServingWork("w", concurrency=1)).return_token_ids is lists


def test_a_server_without_a_model_cannot_be_asked(tmp_path: Path) -> None:
    work = ServingWork("w", concurrency=1)
    spec = EngineSpec("one", write_checkpoint(tmp_path / "model"))

    with pytest.raises(EngineError, match="does not tell its model's name"):
        ServingRun(Server(Facts("http://127.0.0.1:1", None, None, (), {})), Case(spec, work), work, tmp_path)


@pytest.mark.parametrize(("is_ours", "words"), [(True, 2), (False, 4)], ids=["our server", "another's"])
def test_load_tells_how_far_it_is_and_a_server_of_others_always_counts(
    monkeypatch: pytest.MonkeyPatch, is_ours: object, words: int
) -> None:
    said = list[str]()
    monkeypatch.setattr("perfgate.workloads.serving.beat", said.append)
    tell = _beats("measuring e-c2", is_ours=bool(is_ours))

    for done in (0, 0, 34, 34):
        tell(Progress(done, 64, 2, None, 1.0))

    assert len(said) == words
    assert said[-1] == "measuring e-c2, 34 of 64 requests"
