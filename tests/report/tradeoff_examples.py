"""A sweep as it might have been measured, without measuring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from perfgate.pareto import Noise, dominators, noise_of
from perfgate.record import Environment
from perfgate.sweep_effects import effects_of
from perfgate.sweep_figures import Row
from perfgate.tradeoffs import Absent, Option, Tradeoffs

OBJECTIVES = ("build_s", "e2el_p95", "requests_per_s", "peak_memory_bytes", "perplexity")
AXES = (("precision", ("fp32", "int4_wo")), ("max_input_len", ("2048", "32768")))
ENVIRONMENT = Environment("cpu/x", "a CPU", {"python": "3.11"}, "abc")


def example(evil: str = "") -> Tradeoffs:
    """Two precisions by two lengths: 32768 costs twice the build and gives nothing; int4_wo is faster, and dumber.

    evil: stands in every text that comes from outside.
    """
    options = [
        _option("fp32", "2048", {"build_s": 10, "e2el_p95": 0.10, "requests_per_s": 80, "perplexity": 5.0}),
        _option("fp32", "32768", {"build_s": 21, "e2el_p95": 0.10, "requests_per_s": 80, "perplexity": 5.0}),
        _option("int4_wo", "2048", {"build_s": 12, "e2el_p95": 0.05, "requests_per_s": 160, "perplexity": 5.2}),
        _option("int4_wo", "32768", {"build_s": 25.2, "e2el_p95": 0.05, "requests_per_s": 160, "perplexity": 5.2}),
    ]
    return weighed(options, evil)


def weighed(options: list[Option], evil: str = "") -> Tradeoffs:
    """Options with their front, effects and noise."""
    metrics = dict.fromkeys(name for one in options for name in one.figures)
    noises: Mapping[str, Noise] = {name: noise_of(name, [one.figures for one in options], 0.02) for name in metrics}
    by = dominators({one.name: one.figures for one in options}, {name: noises[name] for name in OBJECTIVES})
    found = tuple(replace(one, dominated_by=by[one.name]) for one in options)
    return Tradeoffs(
        suite=f"sweep{evil}", started="2026-01-14T08:00:00+00:00", seconds=65.0, environment=ENVIRONMENT,
        traffic="load",
        rounds=3, builds=3, axes=AXES, objectives=OBJECTIVES, options=found,
        failed=(Absent(f"broken{evil}", (), f"it broke{evil}"),), skipped=(Absent("fp8", (), f"no fp8 here{evil}"),),
        left_out=((f"too dear{evil}", 3),), noises=noises, effects=effects_of(found, AXES, noises),
        notes=(f"a note{evil}",),
    )  # fmt: skip


def _option(precision: str, length: str, values: Mapping[str, float]) -> Option:
    size = 100e6 if precision == "fp32" else 60e6
    figures = {name: tuple(value * factor for factor in (0.99, 1.0, 1.01)) for name, value in values.items()}
    figures["perplexity"] = (values["perplexity"],)
    figures["peak_memory_bytes"] = figures["engine_bytes"] = (size,) * 3
    rows = tuple(Row("load", name, found) for name, found in figures.items())
    where = (("precision", precision), ("max_input_len", length))
    return Option(f"{precision}-in{length}", where, {"precision": precision}, figures, rows)


def noisy(found: Tradeoffs, factor: float) -> Tradeoffs:
    """The same with latencies and rates of which single rounds differ by so much."""
    wild = {"e2el_p95", "requests_per_s"}
    options = [
        replace(one, figures={
            name: (values[0] / factor, values[1], values[2] * factor) if name in wild else values
            for name, values in one.figures.items()
        })
        for one in found.options
    ]  # fmt: skip
    return weighed(options)
