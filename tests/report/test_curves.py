from __future__ import annotations

from dataclasses import replace

from examples import case, comparison, run, verdict

from perfgate.comparison import Comparison
from perfgate.record import Run
from perfgate.report.behind import Behind
from perfgate.report.curves import Curve, curves
from perfgate.report.series import series_of


def made(*, loads: tuple[int, ...] = (1, 8, 64), family: str | None = "f") -> tuple[Run, Comparison]:
    """Throughput grows tenfold with eight times the streams, latency doubles."""
    cases = [
        case(
            f"e-c{load}",
            verdict(f"e-c{load}", "ttft_p50", baseline=0.01 * 2**i, candidate=0.012 * 2**i),
            verdict(f"e-c{load}", "output_tokens_per_s", baseline=100.0 * 10**i, candidate=90.0 * 10**i),
        )
        for i, load in enumerate(loads)
    ]
    judged = comparison(*cases)
    measured = run(judged)
    infos = (replace(one, concurrency=load, family=family) for one, load in zip(measured.cases, loads, strict=True))
    return replace(measured, cases=tuple(reversed(list(infos)))), judged


def drawn(measured: Run) -> list[Curve]:
    return curves(measured, series_of(measured), Behind())


def test_cases_of_a_family_are_a_curve_by_growing_concurrency() -> None:
    (curve,) = drawn(made()[0])

    (chart,) = curve.charts
    assert (chart.latency, chart.rate) == ("ttft_p50", "output_tokens_per_s")
    assert [spot.concurrency for spot in chart.now] == [1, 8, 64]
    assert chart.table[1] == (8, "20.00 ms at 1,000 tokens/s", "24.00 ms at 900.0 tokens/s")


def test_more_throughput_is_right_and_more_latency_is_up() -> None:
    spots = drawn(made()[0])[0].charts[0].now

    assert [spot.x for spot in spots] == sorted(spot.x for spot in spots)
    assert [spot.y for spot in spots] == sorted((spot.y for spot in spots), reverse=True)


def test_labels_do_not_cover_each_other_and_the_highest_load_has_one() -> None:
    chart = drawn(made(loads=(1, 2, 4))[0])[0].charts[0]
    crowded = replace(chart, now=tuple(replace(chart.now[0], concurrency=i, x=100 + i) for i in range(30)))

    assert [spot.concurrency for spot in crowded.labels] == [29, 13]


def test_one_concurrency_or_no_family_is_no_curve() -> None:
    assert drawn(made(loads=(8,))[0]) == []
    assert drawn(made(family=None)[0]) == []


def test_a_stored_baseline_is_drawn_where_none_was_run_again() -> None:
    measured, _ = made()
    alone = replace(measured, rounds=tuple(one for one in measured.rounds if one.side == "candidate"))
    stored = {(f"e-c{load}", name): (5.0, 7.0, 9.0) for load in (1, 8) for name in ("ttft_p50", "output_tokens_per_s")}

    (curve,) = curves(alone, series_of(alone), Behind(stored, {}))

    assert [spot.concurrency for spot in curve.charts[0].before] == [1, 8]
    assert curve.charts[0].table[0][1] == "7.000 s at 7.000 tokens/s"
