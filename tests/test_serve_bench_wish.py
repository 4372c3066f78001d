from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from perfgate.errors import UsageError
from perfgate.load.lengths import Fixed, Uniform
from perfgate.load.prompts import SharedPrefix
from perfgate.load.shapes import Arrivals, Rate
from perfgate.load.target import Route
from perfgate.serve_bench_options import add_options
from perfgate.serve_bench_wish import Wish, plans, wish_of

IDS = ("--random-ids", "--vocab-size", "1000")


def wish(*args: str) -> Wish:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return wish_of(parser.parse_args(["--url", "http://127.0.0.1:8000", "--model", "m", *args]))


def test_the_usual_benchmark_is_one_closed_loop_for_each_concurrency(tmp_path: Path) -> None:
    asked = wish(
        *(
            "--isl",
            "12",
            "--osl",
            "8",
            "--concurrency",
            "2,4",
            "--num-prompts",
            "5x",
            "--ignore-eos",
            "--out",
            str(tmp_path),
        ),
        *IDS,
    )

    made = list(plans(asked))

    assert [level.name for level in made] == ["concurrency_2", "concurrency_4"]
    assert [(level.plan.concurrency, len(level.plan.asks), level.plan.warmup) for level in made] == [
        (2, 12, 2),
        (4, 24, 4),
    ]
    first = made[0].plan.asks[0]
    assert (first.input_tokens, first.output_tokens, first.due_s) == (12, 8, None)
    assert first.body["ignore_eos"] is True
    assert asked.out == tmp_path


def test_levels_do_not_share_prompts_that_a_cache_could_keep() -> None:
    one, other = plans(wish("--concurrency", "2,4", *IDS))

    first = {tuple(ask.body["prompt"]) for ask in one.plan.asks}
    assert not first & {tuple(ask.body["prompt"]) for ask in other.plan.asks}


def test_the_same_options_give_the_same_plans() -> None:
    args = ("--request-rate", "5", "--num-prompts", "20", "--seed", "3", *IDS)

    assert list(plans(wish(*args))) == list(plans(wish(*args)))


def test_a_rate_is_an_open_loop_without_a_limit_or_with_one() -> None:
    (free,) = plans(wish("--request-rate", "10", "--num-prompts", "7", *IDS))
    (bound,) = plans(wish("--request-rate", "10", "--concurrency", "2", "--num-prompts", "7", *IDS))

    assert (free.name, free.plan.concurrency, free.plan.warmup) == ("rate_10", None, 0)
    assert (bound.name, bound.plan.concurrency, bound.plan.warmup) == ("rate_10_concurrency_2", 2, 2)
    assert all(ask.due_s is not None for ask in free.plan.asks + bound.plan.asks)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2.5", Rate(2.5, 2.5)), ("5:50", Rate(5, 50)), ("inf", Rate(float("inf"), float("inf")))],
)
def test_rates_are_steady_ramps_or_all_at_once(text: str, expected: Rate) -> None:
    assert wish("--request-rate", text, *IDS).rate == expected


def test_other_options_are_read() -> None:
    asked = wish(
        *(
            "--concurrency",
            "1",
            "--isl",
            "uniform:300:400",
            "--prefix",
            "4:256:0.5",
            "--arrivals",
            "constant",
            "--seed",
            "9",
        ),
        *(
            "--extra-body",
            '{"temperature": 0.5}',
            "--timeout-first-token",
            "90s",
            "--timeout-total",
            "4min",
            "--non-streaming",
        ),
        *("--token-env", "KEY", "--request-rate", "1", *IDS),
    )

    assert asked.input_lengths == Uniform(300, 400)
    assert asked.output_lengths == Fixed(128)
    assert asked.prompts.prefix == SharedPrefix(4, 256, 0.5)
    assert asked.prompts.extra == {"temperature": 0.5}
    assert asked.prompts.route is Route.COMPLETIONS
    assert asked.rate == Rate(1, 1, Arrivals.CONSTANT)
    assert asked.timeouts == {"first_token_s": 90.0, "total_s": 240.0}
    assert (asked.is_streaming, asked.token_env, asked.prompts.seed, asked.prompts.ignore_eos) == (
        False,
        "KEY",
        9,
        False,
    )


def test_a_trace_is_replayed_at_its_speed(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    lines = [{"timestamp": at, "input_length": 4, "output_length": 2} for at in (0, 1000, 3000)]
    trace.write_text("\n".join(map(json.dumps, lines)))

    (level,) = plans(wish("--trace", str(trace), "--trace-speed", "2", *IDS))

    assert level.name == "trace"
    assert [ask.due_s for ask in level.plan.asks] == [0.0, 0.5, 1.5]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (IDS, "give --concurrency, --request-rate or --trace"),
        (("--concurrency", "0", *IDS), "--concurrency: found '0'"),
        (("--concurrency", "1,1", *IDS), "expected different numbers"),
        (("--concurrency", "a", *IDS), "--concurrency: found 'a'"),
        (("--concurrency", "1"), "prompts of text need --tokenizer DIR"),
        (("--concurrency", "1", "--random-ids"), "--random-ids needs a vocabulary"),
        (("--concurrency", "1", "--endpoint", "chat", *IDS), "the chat route takes text"),
        (("--concurrency", "1", "--num-prompts", "many", *IDS), "expected a number of requests"),
        (("--request-rate", "0", *IDS), "--request-rate: found '0'"),
        (("--request-rate", "1:2:3", *IDS), "--request-rate: found '1:2:3'"),
        (("--request-rate", "nan", *IDS), "--request-rate: found 'nan'"),
        (("--trace", "t", "--request-rate", "1", *IDS), "--trace has its own times"),
        (("--trace", "t", "--num-prompts", "1", *IDS), "--trace has its own requests"),
        (("--trace", "t", *IDS), "cannot be read"),
        (("--concurrency", "1", "--prefix", "4", *IDS), "--prefix: found '4'"),
        (("--concurrency", "1", "--extra-body", "[]", *IDS), "expected a JSON object"),
        (("--concurrency", "1", "--timeout-idle", "5", *IDS), "--timeout-idle: found '5'"),
        (("--concurrency", "1", "--isl", "few", *IDS), "found the length 'few'"),
        (("--concurrency", "1", "--random-ids", "--vocab-size", "0"), "--vocab-size"),
        (("--concurrency", "1", "--seed", "-1", *IDS), "--seed"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(args: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        wish(*args)

    assert "\n  " not in str(caught.value) or "the trace has" in str(caught.value)


def test_an_open_loop_without_a_limit_takes_a_count() -> None:
    with pytest.raises(UsageError, match="no limit here: give a count"):
        list(plans(wish("--request-rate", "1", *IDS)))
