"""The `sweep:` section: its product, names, conditions, and every fault at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import SUITE, Project
from perfgate.case import Drafting, KvDtype, Precision
from perfgate.errors import SuiteError
from perfgate.suite import Suite, load_suite
from perfgate.sweep import Axis, Condition, Span, Sweep, Unset
from sweep_projects import with_sweep

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Sweep]:
    def load(axes: str, **more: str) -> Sweep:
        found = _load(tmp_path, with_sweep(axes, **more)(SUITE.format(engines=""))).sweep  # type: ignore[arg-type]
        assert found is not None
        return found

    return load


def _load(folder: Path, text: str) -> Suite:
    (folder / "suite.yaml").write_text(text)
    return load_suite(folder / "suite.yaml")


def _faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(SuiteError) as caught:
        _load(folder, text)
    return [str(fault).partition("suite.yaml:")[2].partition(" ")[2] for fault in caught.value.faults]


def test_the_product_is_in_the_suites_order_with_names_of_its_values(sweep: Callable[..., Sweep]) -> None:
    found = sweep("precision: [fp32, int8_wo]\nmax_batch_size: [2, 8]\nengine_args: {step_us: [100]}")

    names = [one.name for one in found.configurations]
    assert names == [
        "fp32-bs2-step_us-100",
        "fp32-bs8-step_us-100",
        "int8_wo-bs2-step_us-100",
        "int8_wo-bs8-step_us-100",
    ]
    last = found.configurations[-1]
    assert (last.spec.precision, last.spec.max_batch_size) == (Precision.INT8_WO, 8)
    assert dict(last.spec.engine_args) == {"step_us": 100}
    assert last.values == (("precision", "int8_wo"), ("max_batch_size", "8"), ("engine_args.step_us", "100"))


def test_keys_of_the_base_engine_stay_and_null_takes_one_away(sweep: Callable[..., Sweep]) -> None:
    own, without = sweep("kv_cache_dtype: [int8]\nengine_args: {step_us: [null], sleep: [true, null]}").configurations

    assert own.spec.max_batch_size == 4
    assert own.spec.kv_cache_dtype is KvDtype.INT8
    assert dict(own.spec.engine_args) == {"sleep": True}
    assert without.spec.engine_args == ()
    assert (own.name, without.name) == ("kv-int8-own_step_us-sleep", "kv-int8-own_step_us-own_sleep")


def test_mappings_paths_and_flags_are_values_too(sweep: Callable[..., Sweep], tmp_path: Path) -> None:
    axes = "speculative: [null, {method: ngram, draft_len: 4}]\nmodel: [a/one, b/one]\nprefix_caching: [true, false]"

    found = sweep(axes).configurations

    assert len({one.name for one in found}) == 8
    drafted = found[-1].spec
    assert drafted.speculative is not None
    assert (drafted.speculative.method, drafted.speculative.draft_len) == (Drafting.NGRAM, 4)
    assert drafted.model == (tmp_path / "b" / "one").resolve()
    assert found[-1].name == "ngram_4-b_one-no_prefix_caching"


def test_a_sweep_builds_even_where_the_suite_has_no_build_workload(sweep: Callable[..., Sweep]) -> None:
    found = sweep("precision: [fp32]", more="workloads: [b1]")

    assert [work.name for work in found.works] == ["build", "b1"]
    assert (found.traffic, found.text_work) == ("b1", None)


def test_only_and_skip_leave_out_and_are_counted(sweep: Callable[..., Sweep]) -> None:
    conditions = """only:
    - {precision: [fp32, int8_wo]}
  skip:
    - {precision: int8_wo, max_batch_size: [2, 4], reason: too small}"""

    found = sweep("precision: [fp32, int8_wo, fp16]\nmax_batch_size: [2, 4, 8]", more=conditions)

    assert [one.name for one in found.configurations] == ["fp32-bs2", "fp32-bs4", "fp32-bs8", "int8_wo-bs8"]
    assert dict(found.left_out) == {"not among sweep.only": 3, "too small": 2}


def test_what_contradicts_itself_in_some_configurations_is_a_skip_with_its_reason(
    sweep: Callable[..., Sweep],
) -> None:
    found = sweep("batching: [inflight, static]\nspeculative: [null, {method: ngram}]").configurations

    assert [bool(one.refusal) for one in found] == [False, False, False, True]
    assert found[-1].refusal == "speculative decoding runs with in-flight batching; remove one of the two"


FAULTS = {
    "precision: [fp32, fp31]": "sweep.axes.precision[1]: found 'fp31', allowed: fp32",
    "precison: [fp32]": "sweep.axes.precison: unknown key",
    "precision: [fp32, fp32]": "sweep.axes.precision: 'fp32' stands twice",
    "precision: []": "sweep.axes.precision: has no value",
    "max_batch_size: [0]": "sweep.axes.max_batch_size[0]: found '0', expected a whole number from 1",
    "speculative: [{method: draft_model}]": "sweep.axes: no configuration is possible: draft_model needs the key",
}


@pytest.mark.parametrize("axes", FAULTS)
def test_a_fault_of_an_axis_is_told_with_its_place(tmp_path: Path, axes: str) -> None:
    (fault,) = _faults(tmp_path, with_sweep(axes)(SUITE.format(engines="")))

    assert fault.startswith(FAULTS[axes])


MORE = {
    "engine: tow": "sweep.engine: no 'tow' under engines; there: one, two; did you mean 'two'?",
    "": "sweep: which engine do the axes change? Name it: engine: one",
    "engine: one\n  workloads: [text]": "sweep.workloads: there is no latency or serving workload",
    "engine: one\n  workloads: [b2]": "sweep.workloads: no 'b2' under workloads",
    "engine: one\n  traffic: text": "sweep.traffic: no 'text' under the latency and serving workloads",
    "engine: one\n  skip: [{tp: 2}]": "sweep.skip[0].tp: no 'tp' under sweep.axes; there: precision",
    "engine: one\n  skip: [{precision: fp16}]": "sweep.skip[0].precision: 'fp16' is no value of this axis; there: fp32",
    "engine: one\n  only: [{}]": "sweep.only[0]: names no axis",
    "engine: one\n  skip: [{precision: fp32}]": "sweep: only and skip leave no configuration",
}


@pytest.mark.parametrize("more", MORE)
def test_a_name_that_is_not_there_is_a_fault(tmp_path: Path, more: str) -> None:
    (fault,) = _faults(tmp_path, with_sweep("precision: [fp32]", more=more)(SUITE.format(engines="  two: {}")))

    assert fault.startswith(MORE[more])


def test_faults_come_all_at_once(tmp_path: Path) -> None:
    text = with_sweep("precision: [fp32, fp32]", more="workloads: [b2]\n  skip: [{tp: 2}]")(SUITE.format(engines=""))

    assert len(_faults(tmp_path, text)) == 3


def test_a_product_that_nobody_meant_is_refused(tmp_path: Path) -> None:
    axes = "\n".join(f"{key}: [{', '.join(map(str, range(1, 31)))}]" for key in ("tp", "pp", "max_batch_size"))

    (fault,) = _faults(tmp_path, with_sweep(axes)(SUITE.format(engines="")))

    assert fault == "sweep.axes: come to 27,000 configurations; a sweep has at most 2,000"


def test_a_suite_without_cases_and_without_a_sweep_is_still_a_fault(small_project: Project) -> None:
    with pytest.raises(SuiteError, match="comes to no case"):
        load_suite(small_project(edit=lambda text: text + "cases: []\n"))


@pytest.mark.parametrize("name", ["tradeoffs", "tradeoffs_tensorrt_llm"])
def test_the_shipped_sweeps_are_read(name: str) -> None:
    found = load_suite(ROOT / "fixtures" / "suites" / f"{name}.yaml").sweep

    assert found is not None
    assert len(found.configurations) >= 9


counts = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4), min_size=1)


@given(counts, st.data())
def test_kept_and_left_out_are_the_whole_product(sizes: dict[str, int], data: st.DataObject) -> None:
    axes = tuple(Axis(name, tuple(range(size))) for name, size in sizes.items())
    some = {axis.name: data.draw(st.lists(st.sampled_from(axis.values), unique=True)) for axis in axes}
    skip = Condition(tuple((name, tuple(values)) for name, values in some.items()))

    span = Span({}, axes, skip=(skip,))

    assert len(span.kept()) + sum(number for _, number in span.left_out()) == span.size
    assert not any(all(one[name] in values for name, values in some.items()) for one in span.kept())


def test_unset_is_a_value_of_its_own() -> None:
    span = Span({"tp": 2}, (Axis("tp", (Unset.UNSET, 4)),))

    assert [span.raw(one).get("tp") for one in span.kept()] == [None, 4]
