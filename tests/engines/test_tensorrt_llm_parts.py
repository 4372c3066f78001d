"""Logs, checkpoints, entries, timing caches and statistics of the TensorRT-LLM backend, each by itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from engines.tensorrt_llm_helpers import H200, converted_model, hf_model
from perfgate.case import EngineSpec, Flow, KvDtype, Precision
from perfgate.engines import tensorrt_llm_entry as entries
from perfgate.engines.device_steps import Step, StepKind
from perfgate.engines.supervisor import descendants
from perfgate.engines.tensorrt_llm_checkpoint import (
    Format,
    check_built,
    check_converted,
    check_hf_precision,
    format_of,
)
from perfgate.engines.tensorrt_llm_log import build_phases, reason
from perfgate.engines.tensorrt_llm_process import AUTOTUNER, FORCED_DRAFTS, _left, environment
from perfgate.engines.tensorrt_llm_stats import iteration_figures, request_figures, steps_told, told_late
from perfgate.engines.tensorrt_llm_timing import Timing
from perfgate.errors import EngineError, ModelError

SPEC = EngineSpec("e", Path("model"), "tensorrt_llm", Precision.BF16)
LOG = """
[08/27/2025-08:22:14] [TRT-LLM] [I] Total time of constructing network from module object 2.3651156425476074 seconds
[08/27/2025-08:22:19] [TRT-LLM] [I] Total time to initialize the weights in network Unnamed Network 0: 00:01:05
[08/27/2025-08:22:20] [TRT-LLM] [I] Build TensorRT engine Unnamed Network 0
[08/27/2025-08:22:30] [TRT] [I] Engine generation completed in 25.5 seconds.
[08/27/2025-08:22:30] [TRT-LLM] [I] Total time of building Unnamed Network 0: 00:00:30
[08/27/2025-08:22:33] [TRT-LLM] [I] Engine serialized. Total time: 00:00:03
[08/27/2025-08:22:34] [TRT-LLM] [I] Total time of building all engines: 00:01:40
"""

# ------------------------------------------------------------------ logs


def test_phases_are_read_from_the_log_and_add_up() -> None:
    phases = build_phases(LOG, 110.0)

    assert {name: round(seconds, 3) for name, seconds in phases.items()} == {
        "network": 2.365,
        "weights": 65.0,
        "compile": 25.5,
        "serialise": 3.0,
        "trtllm-build, the rest": 14.135,
    }
    assert sum(phases.values()) == pytest.approx(110.0)


def test_two_ranks_add_up_unless_they_were_built_at_the_same_time() -> None:
    assert build_phases(LOG * 2, 200.0)["compile"] == 51.0
    assert build_phases(LOG * 2, 110.0) == {"trtllm-build": 110.0}


def test_clock_times_stand_in_for_a_line_of_tensorrt_that_is_missing() -> None:
    assert build_phases("[TRT-LLM] [I] Total time of building Unnamed Network 0: 00:02:10\n", 150.0)["compile"] == 130.0


def test_log_of_other_words_leaves_the_whole() -> None:
    assert build_phases("it went well", 12.0) == {"trtllm-build": 12.0}


@given(st.text(), st.floats(0, 1e6))
def test_phases_of_any_log_add_up(log: str, whole_s: float) -> None:
    assert sum(build_phases(log, whole_s).values()) == pytest.approx(whole_s)


def test_reason_is_the_last_line_that_names_an_error() -> None:
    assert reason("a\n[TRT] [E] out of memory\nTraceback\nAssertionError: failed\nbye\n") == "AssertionError: failed"
    assert reason("started\nkilled\n") == "killed"
    assert reason("") == "(the log is empty)"


# ------------------------------------------------------------------ checkpoints


def test_format_of_a_folder_is_told_by_its_configuration(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.mkdir()
    (engine / "config.json").write_text('{"pretrained_config": {}, "build_config": {}}')

    assert format_of(hf_model(tmp_path / "hf")) is Format.HF
    assert format_of(converted_model(tmp_path / "converted")) is Format.TRTLLM
    assert format_of(engine) is Format.ENGINE


@pytest.mark.parametrize(
    ("text", "told"), [(None, "No such file"), ("{", "is not JSON"), ("[]", "holds no mapping")], ids=str
)
def test_folder_without_a_configuration_is_no_model(tmp_path: Path, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)

    with pytest.raises(ModelError, match=told):
        format_of(tmp_path)


@pytest.mark.parametrize(
    ("precision", "algorithm", "is_right"),
    [
        *((Precision.FP8, "FP8", True), (Precision.FP8, "FP8_BLOCK_SCALES", True), (Precision.FP8, None, False)),
        *((Precision.INT4_AWQ, "W4A16_AWQ", True), (Precision.INT4_GPTQ, "W4A16_AWQ", False)),
        (Precision.BF16, "FP8", True),
    ],
)
def test_precision_of_a_huggingface_checkpoint_is_its_own(
    tmp_path: Path,
    precision: Precision,
    algorithm: str | None,
    is_right: bool,  # noqa: FBT001
) -> None:
    spec = replace(SPEC, model=hf_model(tmp_path / "m", algorithm), precision=precision)

    if is_right:
        check_hf_precision(spec)
    else:
        with pytest.raises(ModelError, match="quantise it first"):
            check_hf_precision(spec)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"precision": Precision.FP16}, "has dtype bfloat16, the spec asks for float16"),
        ({"precision": Precision.FP8}, "has quant_algo None, the spec asks for FP8"),
        ({"kv_cache_dtype": KvDtype.FP8}, "has kv_cache_quant_algo None, the spec asks for FP8"),
        ({"pp": 2}, "has pp_size 1, the spec asks for 2"),
    ],
)
def test_converted_checkpoint_must_be_what_the_spec_asks_for(
    tmp_path: Path, changes: Mapping[str, Any], told: str
) -> None:
    spec = replace(SPEC, model=converted_model(tmp_path / "m"), **changes)

    with pytest.raises(ModelError, match=told):
        check_converted(spec)


BUILT = {
    "version": "1.2.1",
    "pretrained_config": {"dtype": "bfloat16", "mapping": {"tp_size": 1, "pp_size": 1}, "quantization": {}},
    "build_config": {"max_batch_size": 8, "max_num_tokens": 2048, "max_seq_len": 1024},
}


def built(folder: Path, config: Mapping[str, Any], ranks: int = 1) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    for rank in range(ranks):
        (folder / f"rank{rank}.engine").write_text("plan")
    return folder


def test_engine_that_fits_is_taken(tmp_path: Path) -> None:
    check_built(SPEC, built(tmp_path, BUILT), Version("1.2.1"))


@pytest.mark.parametrize(
    ("spec", "version", "told"),
    [
        (replace(SPEC, max_batch_size=16), "1.2.1", "built with max_batch_size 8, the spec asks for 16"),
        (replace(SPEC, precision=Precision.FP16), "1.2.1", "built with dtype bfloat16"),
        (SPEC, "1.2.0", "built with version 1.2.1, the spec asks for 1.2.0"),
        (replace(SPEC, tp=2), "1.2.1", "lacks rank1.engine; 2 ranks are asked for"),
    ],
)
def test_engine_that_does_not_fit_is_refused(tmp_path: Path, spec: EngineSpec, version: str, told: str) -> None:
    with pytest.raises(EngineError, match=told):
        check_built(spec, built(tmp_path, BUILT), Version(version))


def test_folder_without_an_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no TensorRT engine in"):
        check_built(SPEC, tmp_path, Version("1.2.1"))


# ------------------------------------------------------------------ entries and caches


def test_entry_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = entries.Record(Flow.ENGINE, "1.2.1", {"built by": "trtllm-build"})
    entries.write(tmp_path, record)

    assert entries.read(tmp_path) == record


def test_foreign_folder_is_no_entry(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="was not prepared by the backend tensorrt_llm"):
        entries.read(tmp_path)


@pytest.mark.parametrize(("size", "packed"), [(10, 1 << 20), (1_500_000, 1 << 21)])
def test_choices_of_the_autotuner_are_packed_into_a_size_that_tells_nothing(
    tmp_path: Path, size: int, packed: int
) -> None:
    with entries.tuned(tmp_path, keep=True) as path:
        path.write_bytes(b"x" * size)
        path.with_suffix(".rank1.json").write_text("of rank 1")
    with entries.tuned(tmp_path, keep=False) as path:
        again = path.read_bytes()
        beside = path.with_suffix(".rank1.json").read_text()
        path.write_bytes(b"changed by the load")

    assert (tmp_path / "autotuner.tar").stat().st_size == packed
    assert again == b"x" * size
    assert beside == "of rank 1"
    assert not path.parent.exists()


def test_nothing_tuned_is_nothing_kept(tmp_path: Path) -> None:
    with entries.tuned(tmp_path, keep=True):
        pass

    assert not entries.has_tuned(tmp_path)


def test_timing_cache_that_is_off_is_neither_read_nor_kept(tmp_path: Path) -> None:
    (tmp_path / "entry").mkdir()
    for is_used in (True, False):
        timing = Timing(tmp_path / "entry", H200, Version("1.2.1"), is_used=is_used)
        written = Path(timing.flags()[-1])
        written.write_text("timings")
        timing.keep()

    assert timing.told == "off"
    assert timing.flags()[0] == "--output_timing_cache"
    assert list((tmp_path / "entry").iterdir()) == []
    assert Timing(tmp_path / "entry", H200, Version("1.2.1"), is_used=True).told == "warm"
    assert Timing(tmp_path / "entry", H200, Version("1.2.0"), is_used=True).told == "cold"


def test_environment_is_ours_alone_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCED_DRAFTS, "7")
    monkeypatch.delenv(AUTOTUNER, raising=False)

    with environment({AUTOTUNER: "/x"}):
        inside = (os.environ.get(FORCED_DRAFTS), os.environ.get(AUTOTUNER))

    assert inside == (None, "/x")
    assert (os.environ.get(FORCED_DRAFTS), os.environ.get(AUTOTUNER)) == ("7", None)


def test_daemon_of_mpi_is_left_alone_and_a_worker_is_not(tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep
    shutil.copy(sleep, tmp_path / "orted")
    children = [subprocess.Popen([name, "60"]) for name in (tmp_path / "orted", sleep)]
    try:
        others = frozenset(descendants(os.getpid())) - {child.pid for child in children}

        assert _left(others) == [children[1].pid]
    finally:
        for child in children:
            child.kill()
            child.wait()


# ------------------------------------------------------------------ statistics


def perf(arrival: float, scheduled: float, first: float, last: float, **drafts: int) -> Any:
    times = {"arrival_time": arrival, "first_scheduled_time": scheduled, "first_token_time": first}
    timing = {name: timedelta(seconds=value) for name, value in (times | {"last_token_time": last}).items()}
    return SimpleNamespace(
        timing_metrics=SimpleNamespace(**timing),
        kv_cache_metrics=SimpleNamespace(num_reused_blocks=1, num_missed_blocks=3),
        speculative_decoding=SimpleNamespace(
            total_draft_tokens=drafts.get("drafts", 0), total_accepted_draft_tokens=drafts.get("accepted", 0)
        ),
    )


def test_times_of_requests_are_differences_in_seconds() -> None:
    figures = request_figures([perf(10.0, 10.1, 10.3, 11.0), perf(20.0, 20.1, 20.5, 22.0)])

    assert figures["engine_ttft_s"] == pytest.approx(0.4)
    assert figures["engine_e2el_s"] == pytest.approx(1.5)
    assert figures["queue_s"] == pytest.approx(0.1)
    assert figures["kv_reused_blocks"] == 2
    assert figures["kv_missed_blocks"] == 6
    assert "acceptance_rate" not in figures


def test_time_that_was_not_measured_is_no_zero() -> None:
    figures = request_figures([perf(10.0, 0.0, 10.3, 11.0)])

    assert "queue_s" not in figures
    assert request_figures([]) == {}


def test_accepted_drafts_are_counted_over_all_requests() -> None:
    figures = request_figures([perf(0, 1, 2, 3, drafts=6, accepted=3), perf(0, 1, 2, 3, drafts=2, accepted=1)])

    assert figures["acceptance_rate"] == 0.5
    assert figures["drafts"] == 8


def test_iterations_without_work_do_not_count() -> None:
    busy = {"numActiveRequests": 2, "iterLatencyMS": 10.0, "hostStepTimeMS": 9.0, "prevDeviceStepTimeMS": 8.0}
    cache = {"maxNumBlocks": 10, "tokensPerBlock": 32, "usedNumBlocks": 4, "cacheHitRate": 0.25}
    idle = {"numActiveRequests": 0, "iterLatencyMS": 900.0, "gpuMemUsage": 5, "kvCacheStats": cache}

    figures = iteration_figures([busy, idle, busy | {"iterLatencyMS": 20.0, "gpuForwardTimeMS": 6.0}])

    assert figures["iterations"] == 2
    assert figures["iteration_s"] == pytest.approx(0.015)
    assert figures["device_step_s"] == pytest.approx(0.007)
    assert figures["kv_tokens"] == 320
    assert figures["kv_hit_rate"] == 0.25
    assert figures["gpu_memory_bytes"] == 5


def iteration(prompts: int, decoding: int, **told: float) -> dict[str, Any]:
    ran = {"numContextRequests": prompts, "numGenRequests": decoding}
    return {"inflightBatchingStats": ran, "iterLatencyMS": 5.0, **told}


def test_device_time_of_an_iteration_is_told_by_the_next_one_or_by_itself() -> None:
    found = steps_told(
        [
            iteration(2, 0, hostStepTimeMS=4.0),
            iteration(1, 2, prevDeviceStepTimeMS=3.0),
            iteration(0, 3, prevDeviceStepTimeMS=9.0, gpuForwardTimeMS=2.0),
            iteration(0, 0, prevDeviceStepTimeMS=8.0),
            iteration(0, 3),  # the last one's time is not out yet
        ]
    )

    assert found.steps == (
        Step(StepKind.PREFILL, 2, 0.003, 0.004),
        Step(StepKind.MIXED, 3, 0.009, 0.005),
        Step(StepKind.DECODE, 3, 0.002, 0.005),
    )


def test_steps_that_are_told_late_are_of_what_ran_before() -> None:
    own = [iteration(1, 0), iteration(0, 1)]

    assert told_late([iteration(0, 3), iteration(0, 0), *own]) == 2
    assert told_late(own) == told_late([]) == told_late([{}, {}]) == 0


def test_versions_without_device_times_say_so() -> None:
    older, off = steps_told([iteration(0, 1)]), steps_told([])

    assert older.steps == off.steps == ()
    assert "tell no device time" in (older.reason or "")
    assert "off or were lost" in (off.reason or "")


def test_acceptance_length_is_upstreams_formula() -> None:
    drafting = {"numDraftTokens": 6, "numAcceptedTokens": 4, "numRequestsWithDraftTokens": 2}
    quiet = {"numDraftTokens": 0, "numAcceptedTokens": 0, "numRequestsWithDraftTokens": 0}
    iterations = [{"numActiveRequests": 2, "specDecodingStats": one} for one in (drafting, quiet, drafting)]

    assert iteration_figures(iterations)["engine_acceptance_len"] == (8 + 4) / 4
