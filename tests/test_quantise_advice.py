"""What to try next: only what the backend has, what promises enough first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from perfgate.case import EngineSpec, Outer, Precision, Quantisation
from perfgate.device import Device
from perfgate.engines.carrying import why_unsupported
from perfgate.quantise_advice import ideas_for

CPU = Device("cpu/x86_64-avx2", "a CPU")
TEXTS = Quantisation(calibration=Path("texts.jsonl"))
INT4 = EngineSpec("int4", Path("model"), precision=Precision.INT4_WO)


def _what(spec: EngineSpec, loss: float | None, allowed: float = 0.03, tried: tuple[EngineSpec, ...] = ()) -> list[str]:
    return [one.what for one in ideas_for(spec, CPU, loss, allowed, (spec, *tried), texts=256)]


def test_what_should_suffice_comes_first_and_costs_least() -> None:
    fitted = replace(INT4, quantisation=TEXTS)

    told = _what(fitted, 0.034)

    assert told[0] == "int4_gptq"
    assert told.index("groups of 16") < told.index("int8 weights (int8_wo)") < told.index("int4_awq")
    assert _what(fitted, 0.4)[0] == "int8 weights (int8_wo)"


def test_every_idea_runs_on_the_backend() -> None:
    for spec in (INT4, replace(INT4, quantisation=TEXTS), replace(INT4, backend="transformers")):
        assert all(why_unsupported(one.spec, CPU) is None for one in ideas_for(spec, CPU, 0.1, 0.03, (), 256))


def test_texts_are_asked_for_where_there_are_none_and_more_where_there_are() -> None:
    assert "give calibration texts (--calibration texts.jsonl)" in _what(INT4, 0.05)
    assert "128 calibration texts" in _what(replace(INT4, quantisation=TEXTS), 0.05)


def test_sensitive_parts_and_zero_points_are_given_back_their_bits() -> None:
    told = _what(replace(INT4, quantisation=Quantisation(outer=Outer.INT4, symmetric=True)), 0.05)

    assert {"embeddings and output head in 8 bits", "asymmetric"} <= set(told)


def test_nothing_is_tried_twice() -> None:
    int8 = replace(INT4, precision=Precision.INT8_WO, name="other")

    assert "int8 weights (int8_wo)" not in _what(INT4, 0.4, tried=(int8,))


def test_beyond_plain_int8_nothing_is_left() -> None:
    assert _what(replace(INT4, precision=Precision.INT8_WO), 0.4) == []


def test_options_of_another_backend_are_refused_in_words() -> None:
    vllm = replace(INT4, backend="vllm", quantisation=Quantisation(group_size=64))
    ours = replace(INT4, quantisation=Quantisation(smoothing=0.5))
    bare = replace(INT4, precision=Precision.INT4_GPTQ)

    assert why_unsupported(vllm, CPU)
    assert "quantisation.smoothing is no option of int4_wo in backend openvino; it has: calibration" in str(
        why_unsupported(ours, CPU)
    )
    assert "int4_gptq is made on calibration texts" in str(why_unsupported(bare, CPU))
