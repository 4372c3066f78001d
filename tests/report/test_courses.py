"""The GPUs within the rounds: which rounds are drawn, on which scale, with which marks and words."""

from __future__ import annotations

from perfgate.gpu.facts import GpuProcess
from perfgate.gpu.sample import Region
from perfgate.gpu.seen import GpuRound, GpuSeen
from perfgate.gpu.trace import GpuTrace, Trace
from perfgate.record import CaseInfo, Environment, Round, Run, Side
from perfgate.report.courses import HEIGHT, MOST_OF_MANY, MOST_ROUNDS, WIDTH, courses

STEADY = GpuTrace((400, 500, 600), (1965, 1980, 1980), (90, 95, 100), (50, 55, 60), (1000, 2000, 2000))


def round_of(
    *gpus: GpuTrace, engine: str = "e", index: int = 0, side: Side = Side.CANDIDATE, fault: str | None = None,
    seen: tuple[GpuSeen, ...] = (), timed: tuple[Region, ...] = (Region(5.0, 10.0),), seconds: float = 10.0,
) -> Round:  # fmt: skip
    return Round(
        engine, side, index, "", seconds, (), fault=fault, gpu=GpuRound(seen, trace=Trace(seconds, timed, gpus))
    )


def run_of(*rounds: Round, cases: int = 1) -> Run:
    infos = tuple(CaseInfo(f"c{at}", "e", "latency", "00") for at in range(cases))
    return Run("s", "", Environment("d", "p", {}, ""), infos, (), rounds)


def test_each_reading_that_was_told_is_a_column_with_one_scale_for_all_rounds() -> None:
    found = courses(run_of(round_of(STEADY), round_of(GpuTrace(power_w=(700, 80)), index=1)), ())

    assert found is not None
    assert found.columns == (
        ("power", "0 to 700 W"), ("SM clock", "1,881 to 1,980 MHz"), ("utilisation", "0 to 100 %"),
        ("temperature", "45 to 60 C"), ("memory", "0.0 to 2.1 GB"),
    )  # fmt: skip
    assert [course and course.said for course in found.rows[1].courses] == ["power 80 to 700 W", None, None, None, None]


def test_a_run_without_traces_has_no_such_part() -> None:
    assert courses(run_of(Round("e", Side.CANDIDATE, 0, "", 1.0, (), gpu=GpuRound(()))), ()) is None
    assert courses(run_of(), ()) is None
    assert courses(run_of(round_of(GpuTrace())), ()) is None


def test_lines_are_within_the_picture_and_stop_at_holes() -> None:
    found = courses(run_of(round_of(GpuTrace(power_w=(100, 200, None, 300)), GpuTrace(power_w=(0, 300)))), ())

    assert found is not None
    (course,) = found.rows[0].courses
    assert course is not None
    assert course.path.count("M") == 3
    assert course.path.startswith("M16 19l30-8M")
    assert (WIDTH, HEIGHT) == (122, 30)


def test_timed_regions_are_shaded_and_marks_stand_where_they_were() -> None:
    marked = GpuTrace(power_w=(1, 2, 3, 4), slowed=(1,), foreign=(0, 3, 9))

    found = courses(run_of(round_of(marked)), ())

    assert found is not None
    assert found.rows[0].timed == "M61 0h60v30h-60z"
    assert found.rows[0].slowed == "M46 3h0"
    assert found.rows[0].foreign == "M16 28h0M106 28h0"  # what lies outside is not drawn


def test_remarks_say_why_clocks_were_held_and_who_else_was_there_by_gpu() -> None:
    seen = (
        GpuSeen("a", 10, reasons={"idle": 0.5, "power cap": 0.25}),
        GpuSeen("b", 10, foreign=(GpuProcess(7, "other", 2**30),)),
        GpuSeen("c", 10),
    )

    found = courses(run_of(round_of(STEADY, seen=seen)), ())

    assert found is not None
    assert found.rows[0].remarks == (
        "GPU 0: power cap in 25.0 %",
        "GPU 1: used by another's process 7 (other, 1.0 GiB)",
    )


def test_of_too_many_rounds_those_that_do_not_count_are_drawn_first_then_those_of_failed_engines() -> None:
    fine = [round_of(STEADY, index=at) for at in range(MOST_ROUNDS)]
    slow, out = round_of(STEADY, engine="slow", index=98), round_of(STEADY, index=99, fault="throttled")

    found = courses(run_of(*fine, slow, out), {"slow"})

    assert found is not None
    assert len(found.rows) == MOST_ROUNDS
    assert {(row.engine, row.index, row.is_valid) for row in found.rows} >= {("slow", 98, True), ("e", 99, False)}
    assert found.left_out == "40 rounds of 42 drawn, those that do not count or were disturbed first"
    many = courses(run_of(*fine, cases=200), ())
    assert many is not None
    assert len(many.rows) == MOST_OF_MANY


def test_a_round_of_no_length_is_drawn_without_shades() -> None:
    found = courses(run_of(round_of(STEADY, seconds=0.0)), ())

    assert found is not None
    assert found.rows[0].timed == ""
