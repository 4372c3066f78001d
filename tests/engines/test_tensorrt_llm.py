"""The TensorRT-LLM backend against strict doubles of 0.20 to 1.3, in real child processes."""

from __future__ import annotations

import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from doubles.tensorrt_llm_double import Double, install
from engines.tensorrt_llm_helpers import H200, Bench, converted_model, hf_model
from perfgate.builder import BuildJob
from perfgate.case import Batching, Drafting, EngineSpec, Flow, KvDtype, Precision, Speculation
from perfgate.engines.cache import Found
from perfgate.errors import EngineError, UsageError
from perfgate.process import Files, start_module
from perfgate.record import encode

SPEC = EngineSpec(
    "e", Path("model"), "tensorrt_llm", Precision.BF16, max_batch_size=4, max_num_tokens=256, max_seq_len=128
)
MakeBench = Callable[[str], Bench]


@pytest.fixture(scope="session")
def doubles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Double]:
    return cache(lambda version: install(tmp_path_factory.mktemp(f"trtllm-{version}"), version))


@pytest.fixture(scope="session")
def known() -> defaultdict[str, dict[EngineSpec, Found]]:
    """Engines that were prepared from the shared model, by version."""
    return defaultdict(dict)


@pytest.fixture
def bench(
    doubles: Callable[[str], Double],
    known: defaultdict[str, dict[EngineSpec, Found]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> MakeBench:
    def make(version: str) -> Bench:
        double = doubles(version)
        monkeypatch.setenv("PATH", os.pathsep.join([str(double.programs), os.environ["PATH"]]))
        return Bench(double, tmp_path, double.site.parent / "shared", known[version])

    return make


def engine_log(one: Bench) -> str:
    return (one.folder / "round.log").read_text()


# ------------------------------------------------------------------ whole rounds


@pytest.mark.parametrize("version", ["1.0.0", "1.2.1", "1.3.0rc21"])
def test_pytorch_flow_prepares_and_measures(bench: MakeBench, version: str) -> None:
    one = bench(version)
    spec = replace(SPEC, model=one.model, cuda_graphs=True, overlap_scheduler=True)

    found = one.prepared(spec)
    measured = one.measured(spec, found, latency=(one.latency(),), perplexity=(one.perplexity(),))

    assert measured.fault is None
    latency, text = measured.cases
    assert latency.faults == ()
    assert latency.values["output_tokens"] == 16 * 12
    assert 1 < text.values["perplexity"] < 1000
    device = {"device_prefill_p50", "device_decode_step_p50", "device_busy_share"}
    assert device & latency.values.keys() == (device if version == "1.3.0rc21" else set())
    assert ("tell no device time" in (one.folder / "round.log").read_text()) is (version != "1.3.0rc21")
    assert found.entry.versions["tensorrt-llm"] == f"{version}+double"
    assert set(found.entry.phases) == {"import", "try"}


@pytest.mark.parametrize(("version", "flow"), [("0.20.0", None), ("1.0.0", Flow.ENGINE), ("1.3.0rc20", Flow.ENGINE)])
def test_engine_flow_builds_by_the_api_and_measures(bench: MakeBench, version: str, flow: Flow | None) -> None:
    one = bench(version)
    model = one.model
    args = (("gather_context_logits", True), ("gemm_plugin", "auto"))
    spec = replace(SPEC, model=model, flow=flow, context_fmha=True, engine_args=args, cuda_graphs=True)

    found = one.prepared(spec)
    measured = one.measured(spec, found, latency=(one.latency(),), perplexity=(one.perplexity(),))

    assert measured.fault is None
    assert [case.faults for case in measured.cases] == [(), ()]
    assert set(found.entry.phases) == {"import", "build by the LLM API", "try"}
    built = json.loads((found.folder / "engine" / "config.json").read_text())
    assert built["build_config"]["max_num_tokens"] == 256
    assert built["build_config"]["max_seq_len"] == 128
    assert built["build_config"]["plugin_config"]["gemm_plugin"] == "auto"


@pytest.mark.parametrize("version", ["0.20.0", "1.2.1"])
def test_engine_flow_builds_a_converted_checkpoint_by_trtllm_build(bench: MakeBench, version: str) -> None:
    one = bench(version)
    model = converted_model(one.folder / "model", quant_algo="FP8", kv_cache_quant_algo="FP8")
    spec = replace(
        SPEC, model=model, flow=Flow.ENGINE, precision=Precision.FP8, kv_cache_dtype=KvDtype.FP8, max_input_len=100
    )

    found = one.prepared(spec)
    measured = one.measured(spec, found, latency=(one.latency(),))

    assert measured.cases[0].faults == ()
    assert {"network", "compile", "trtllm-build, the rest"} <= set(found.entry.phases)
    assert 0.04 < found.entry.phases["compile"] < 1
    built = json.loads((found.folder / "engine" / "config.json").read_text())
    assert built["build_config"]["max_input_len"] == 100
    assert sorted(path.name for path in found.folder.iterdir()) == [
        *("engine", "perfgate-engine.json", "perfgate-tensorrt-llm.json")
    ]


def test_checkpoint_is_quantised_by_the_script_and_then_built(bench: MakeBench) -> None:
    one = bench("1.2.1")
    args = (("quantize_script", str(one.double.programs / "quantize.py")),)
    spec = replace(
        SPEC,
        model=one.model,
        flow=Flow.ENGINE,
        precision=Precision.INT4_AWQ,
        kv_cache_dtype=KvDtype.INT8,
        engine_args=args,
    )

    found = one.prepared(spec)

    built = json.loads((found.folder / "engine" / "config.json").read_text())
    assert built["pretrained_config"]["quantization"] == {"quant_algo": "W4A16_AWQ", "kv_cache_quant_algo": "INT8"}
    assert "quantise" in found.entry.phases
    assert not (found.folder / "checkpoint").exists()


def test_own_command_builds_the_engine_without_a_shell(bench: MakeBench) -> None:
    one = bench("1.2.1")
    model = converted_model(one.folder / "a model; with $HOME")
    command = (
        "trtllm-build --checkpoint_dir {checkpoint_dir} --output_dir {output_dir} --max_batch_size {max_batch_size} "
        "--max_num_tokens {max_num_tokens} --max_seq_len {max_seq_len} --context_fmha {use_context_fmha} "
        "--gpt_attention_plugin {use_gpt_attention_plugin} --output_timing_cache {output_dir}/t"
    )
    spec = replace(SPEC, model=model, builder_cmd=command)

    found = one.prepared(spec)

    assert "builder_cmd" in found.entry.phases
    assert (found.folder / "engine" / "rank0.engine").exists()


def test_own_command_that_builds_something_else_is_refused(bench: MakeBench) -> None:
    one = bench("1.2.1")
    command = (
        "trtllm-build --checkpoint_dir {checkpoint_dir} --output_dir {output_dir} --max_seq_len 64 "
        "--output_timing_cache {output_dir}/t"
    )
    spec = replace(SPEC, model=converted_model(one.folder / "model"), builder_cmd=command)

    with pytest.raises(EngineError, match="was built with max_seq_len 64, the spec asks for 128"):
        one.prepared(spec)


# ------------------------------------------------------------------ what is kept


def test_second_preparation_is_a_hit_and_loading_leaves_the_entry_as_it_was(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=hf_model(one.folder / "model"))
    first = one.prepared(spec)

    one.measured(spec, first, latency=(one.latency(),))
    one.known.clear()
    second = one.prepared(spec)

    assert "autotuner, load 2" in engine_log(one)  # it was given what preparing had found
    assert second.from_cache
    assert second.entry.files == first.entry.files
    assert (first.folder / "autotuner.tar").stat().st_size == 1 << 20


def test_timing_cache_is_kept_per_device_and_used_by_the_next_build(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=converted_model(one.folder / "model"), flow=Flow.ENGINE)

    told = [
        json.loads((one.prepared(each).folder / "perfgate-tensorrt-llm.json").read_text())["told"]
        for each in (spec, replace(spec, max_batch_size=2))
    ]

    assert [each["timing cache"] for each in told] == ["cold", "warm"]
    (kept,) = (one.folder / "cache" / "tensorrt_llm-timing").iterdir()
    assert kept.name == "sm_90-h200-141gb-580.1-1.2.1-double.cache"
    assert kept.read_text() == "double timings\n" * 2


# ------------------------------------------------------------------ inside an engine

INSIDE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from perfgate.case import EngineSpec
from perfgate.engines.base import Request
from perfgate.engines.tensorrt_llm import TensorRtLlm
from perfgate.plant import Plant
from perfgate.record import decode
spec = decode(Path(sys.argv[1]).read_bytes(), EngineSpec, "spec")
plant = Plant(*json.loads(sys.argv[3]))
out = {}
with TensorRtLlm().load(spec, Path(sys.argv[2]), plant) as engine:
    def run(count=4, concurrency=2, length=12):
        asked = [Request(i, tuple(range(40, 40 + 8)), length) for i in range(count)]
        return [(e.request, e.time_ns, e.tokens) for e in engine.generate(asked, concurrency)]
    SCRIPT
print(json.dumps(out))
"""


def inside(one: Bench, spec: EngineSpec, script: str, plant: tuple[float, ...] = (), **variables: str) -> Any:
    """What a script leaves in `out` that runs with a loaded engine."""
    found = one.prepared(spec)
    (one.folder / "spec.json").write_bytes(encode(spec))
    body = INSIDE.replace("SCRIPT", script.strip().replace("\n", "\n    "))
    return one.python(body, one.folder / "spec.json", found.folder, json.dumps(plant), **variables)


def test_every_token_is_stamped_and_places_are_filled_again(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model)

    out = inside(one, spec, "out['events'] = run(count=5, concurrency=2)")

    events = out["events"]
    assert sum(tokens for _, _, tokens in events) == 5 * 12
    due = {request: time_ns for request, time_ns, tokens in events if tokens == 0}
    ends = {request: max(t for r, t, n in events if r == request and n) for request in due}
    assert len(due) == 5
    running = [sum(due[r] <= moment < ends[r] for r in due) for moment in due.values()]
    assert max(running) == 2
    assert len({time_ns for _, time_ns, tokens in events if tokens}) > 12  # not all at once


def test_static_batches_wait_for_each_other(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model, batching=Batching.STATIC)

    events = inside(one, spec, "out['events'] = run(count=4, concurrency=2)")["events"]

    due = [time_ns for _, time_ns, tokens in events if tokens == 0]
    first_ends = max(time_ns for request, time_ns, _ in events if request in (0, 1))
    assert due[2] >= first_ends


def test_request_that_the_engine_refuses_is_one_line_and_leaves_it_usable(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model)

    script = (
        "from perfgate.errors import EngineError\n"
        "try:\n"
        "    list(engine.generate([Request(0, (1,) * 8, 4), Request(1, (1,) * 300, 4)], 2))\n"
        "except EngineError as exc:\n"
        "    out['told'] = str(exc)\n"
        "out['tokens'] = sum(n for _, _, n in run())"
    )
    out = inside(one, spec, script)

    assert out["told"].startswith("TensorRT-LLM cannot run a request for 'e': The sum of prompt length (300)")
    assert out["tokens"] == 4 * 12


def test_static_batch_of_different_lengths_is_refused(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model, batching=Batching.STATIC)

    script = (
        "from perfgate.errors import EngineError\n"
        "try:\n"
        "    list(engine.generate([Request(0, (1,) * 8, 4), Request(1, (1,) * 9, 4)], 2))\n"
        "except EngineError as exc:\n"
        "    out['told'] = str(exc)"
    )

    assert "prompts and outputs of one length per batch" in inside(one, spec, script)["told"]


def test_statistics_and_settings_are_told(bench: MakeBench) -> None:
    one = bench("1.3.0rc21")
    spec = replace(SPEC, model=one.model)

    notes = inside(one, spec, "run(); out['notes'] = dict(engine.stats().notes)")["notes"]

    assert notes["flow"] == "pytorch"
    assert notes["autotuner"] == "choices from the engine cache"
    assert float(notes["engine_ttft_s"]) > 0
    assert float(notes["iteration_s"]) > float(notes["device_step_s"]) > 0.0005
    assert float(notes["kv_tokens"]) == 4 * (128 + 32)
    assert float(notes["kv_missed_blocks"]) == 8


def test_steps_are_told_by_kind_and_leave_the_statistics_as_they_are(bench: MakeBench) -> None:
    one = bench("1.3.0rc21")
    spec = replace(SPEC, model=one.model)
    script = (
        "run(); found = engine.device_steps([Request(i, (1,) * 8, 6) for i in range(3)], 2).steps\n"
        "out['steps'] = [(s.kind, s.sequences, s.device_s, s.host_s) for s in found]\n"
        "out['iterations'] = engine.stats().notes['iterations']\n"
    )

    plain = inside(one, spec, "run(); out['iterations'] = engine.stats().notes['iterations']")
    found = inside(one, spec, script)

    kinds = [kind for kind, *_ in found["steps"]]
    assert kinds[0] == "prefill"
    assert kinds.count("decode") >= 3
    assert all(0 < device_s <= 2 * host_s for _, _, device_s, host_s in found["steps"][:1])
    assert float(found["iterations"]) == pytest.approx(float(plain["iterations"]), abs=3)


def test_statistics_can_be_turned_off(bench: MakeBench) -> None:
    one = bench("1.0.0")
    spec = replace(SPEC, model=one.model, engine_args=(("enable_iter_perf_stats", False),))

    names = inside(one, spec, "run(); out['names'] = sorted(engine.stats().notes)")["names"]

    assert {"iterations", "iteration_s"}.isdisjoint(names)
    assert "engine_ttft_s" in names


def test_statistics_that_were_dropped_are_told(bench: MakeBench) -> None:
    one = bench("1.0.0")  # it keeps 1000 iterations, and has no argument for more
    spec = replace(SPEC, model=one.model, max_seq_len=2048)

    notes = inside(one, spec, "run(1, 1, 1100); out['notes'] = dict(engine.stats().notes)")["notes"]

    assert notes["statistics"] == "of the last 1000 iterations: earlier ones were dropped"


DRAFTS = Speculation(Drafting.NGRAM, 3)


def test_accepted_drafts_come_as_several_tokens_of_one_event(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model, speculative=DRAFTS)

    script = "out['counts'] = [n for _, _, n in run() if n]; s = engine.stats(); out['is'] = s.is_speculative\n"
    out = inside(one, spec, script + "out['notes'] = dict(s.notes)")

    assert max(out["counts"]) > 1
    assert out["is"] is True
    assert float(out["notes"]["accepted_drafts"]) > 0
    assert float(out["notes"]["engine_acceptance_len"]) == 2.0


def test_forced_acceptance_is_marked_and_gives_no_acceptance_length(bench: MakeBench) -> None:
    one = bench("1.2.1")
    args = (("force_accepted_tokens", 2),)
    spec = replace(SPEC, model=one.model, speculative=DRAFTS, engine_args=args)

    script = (
        "out['counts'] = [n for r, _, n in run(length=13) if n]; s = engine.stats(); out['is'] = s.is_speculative\n"
    )
    out = inside(one, spec, script + "out['note'] = s.notes['acceptance']")

    assert set(out["counts"]) == {1, 3}
    assert out["is"] is False
    assert out["note"].startswith("forced: 2 drafts a step")


def test_variable_of_the_shell_does_not_force_acceptance(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model, speculative=DRAFTS)

    script = "out['counts'] = [n for _, _, n in run() if n]"
    counts = inside(one, spec, script, TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS="3")["counts"]

    assert counts.count(4) < len(counts) / 2


SCORES = "out['scores'] = list(map(float, engine.score(list(range(40, 104)))))\n"
EXPECTED = (
    "import numpy as np; from tensorrt_llm._embedded import LOGITS\n"
    "rows = LOGITS[list(range(40, 103))].astype(float); rows -= np.log(np.exp(rows).sum(1))[:, None]\n"
    "out['expected'] = [float(rows[i][41 + i]) for i in range(63)]\n"
)


@pytest.mark.parametrize("scoring", ["context_logits", "prompt_logprobs"])
def test_scores_are_log_probabilities_of_each_next_token(bench: MakeBench, scoring: str) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model, engine_args=(("scoring", scoring),))

    out = inside(one, spec, SCORES + EXPECTED + "out['short'] = len(engine.score([1]))")

    assert out["scores"] == pytest.approx(out["expected"], abs=1e-5)
    assert out["short"] == 0


@pytest.mark.parametrize(
    "changes",
    [{"prefix_caching": True}, {"chunked_prefill": True}, {"speculative": DRAFTS}],
    ids=lambda changes: next(iter(changes)),
)
def test_scoring_turns_reuse_chunks_and_drafts_off_and_generating_on_again(
    bench: MakeBench, changes: dict[str, Any]
) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model, **changes)

    out = inside(one, spec, SCORES * 2 + "out['tokens'] = sum(n for _, _, n in run())")

    assert len(out["scores"]) == 63
    assert all(math.isfinite(score) and score < 0 for score in out["scores"])
    assert out["tokens"] == 4 * 12


def test_engine_without_context_logits_says_what_to_build_and_loses_the_text_alone(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model, flow=Flow.ENGINE)

    found = one.prepared(spec)
    measured = one.measured(spec, found, latency=(one.latency(),), perplexity=(one.perplexity(),))

    latency, text = measured.cases
    assert (measured.fault, latency.faults) == (None, ())
    assert "must be built with gather_context_logits" in text.faults[0]


def test_prompt_logprobs_without_the_token_are_an_error_and_not_a_zero(bench: MakeBench) -> None:
    one = bench("1.1.0")
    spec = replace(SPEC, model=one.model, engine_args=(("scoring", "prompt_logprobs"),))

    measured = one.measured(spec, one.prepared(spec), perplexity=(one.perplexity(),))

    assert "this version leaves it out; set engine_args scoring: context_logits" in str(measured.cases[0].faults)


@pytest.mark.parametrize(("version", "kind"), [("1.2.1", "Eagle3"), ("1.3.0rc21", "PARD")])
def test_decoding_of_the_users_own_is_a_class_of_the_package(bench: MakeBench, version: str, kind: str) -> None:
    one = bench(version)
    args: dict[str, str | int] = {"decoding_type": kind, "max_draft_len": 2, "speculative_model": "/models/draft"}
    spec = replace(
        SPEC, model=one.model, engine_args=tuple((f"speculative_config.{name}", value) for name, value in args.items())
    )

    out = inside(one, spec, "run(); out['notes'] = dict(engine.stats().notes)")

    assert float(out["notes"]["drafts"]) > 0


def test_planted_regressions_are_seen(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model)

    out = inside(one, spec, "out['events'] = run(count=1, length=24)\n" + SCORES + EXPECTED, (3.0, 1.2))

    times_ns = [time_ns for _, time_ns, tokens in out["events"] if tokens]
    assert times_ns[-1] - times_ns[0] > 2.9 * 23 * 1_000_000  # a step of the double sleeps 1 ms or more
    assert sum(out["scores"]) < sum(out["expected"])


# ------------------------------------------------------------------ processes


def test_workers_of_several_gpus_are_seen_ended(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model, tp=2)

    script = (
        "import os; from perfgate.engines.supervisor import descendants\n"
        "out['running'] = len(list(descendants(os.getpid())))\n"
        "import perfgate.engines.tensorrt_llm_process as p; p._GRACE_S = 0.2\n"
        "import atexit; atexit.register(lambda: print(json.dumps({**out, 'left': list(descendants(os.getpid()))})))"
    )
    os.environ["DOUBLE_GPUS"] = "2"
    try:
        out = inside(one, spec, script, DOUBLE_LEAVES_WORKERS="1")
    finally:
        del os.environ["DOUBLE_GPUS"]

    assert out == {"running": 2, "left": []}


def test_too_few_gpus_is_one_line(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model, tp=3)

    with pytest.raises(EngineError, match="cannot load 'e': Only 1 GPUs are available, but 3 are required"):
        one.prepared(spec)


def test_killed_builder_takes_its_program_along(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=converted_model(one.folder / "model"), flow=Flow.ENGINE)
    monkeypatch.setenv("DOUBLE_BUILD_WAITS", str(one.folder / "pid"))
    files = Files.of(one.folder, "prepare")
    files.job.write_bytes(encode(BuildJob(spec, H200, one.folder / "cache")))
    builder = start_module("perfgate.builder", files.args, files.log, interpreter=one.interpreter)
    try:
        while not (one.folder / "pid").exists():
            assert builder.process.poll() is None, files.log.read_text()
            time.sleep(0.01)
    finally:
        builder.end()

    pid = (one.folder / "pid").read_text()
    while (Path("/proc") / pid / "cmdline").exists() and (Path("/proc") / pid / "cmdline").read_bytes():
        time.sleep(0.01)  # a test that hangs here has found a program that lives on


def test_process_holds_one_engine(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model)

    script = (
        "from perfgate.errors import EngineError\n"
        "try:\n"
        "    with TensorRtLlm().load(spec, Path(sys.argv[2]), plant): pass\n"
        "except EngineError as exc:\n"
        "    out['told'] = str(exc)"
    )

    assert inside(one, spec, script)["told"] == "'e' cannot be loaded: 'e' is open in this process, which holds one"


def test_failed_build_tells_the_error_line_of_the_log(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=converted_model(one.folder / "model"), flow=Flow.ENGINE)
    monkeypatch.setenv("DOUBLE_BUILD_FAILS", "1")

    with pytest.raises(EngineError, match=r"trtllm-build ended with code 1: .*out of memory") as raised:
        one.prepared(spec)

    log = Path(str(raised.value).rpartition("log: ")[2].rstrip(")"))
    assert "trtllm-build double" in log.read_text()


# ------------------------------------------------------------------ refusals before anything is built


@pytest.mark.parametrize(
    ("version", "changes", "told"),
    [
        ("1.3.0rc21", {"flow": Flow.ENGINE}, "1.3.0rc21 has no flow engine: it is in 0.20 to before 1.3.0rc21"),
        ("0.20.0", {"flow": Flow.PYTORCH}, "0.20.0 has no flow pytorch: it is in 1.0 and newer"),
        (
            "1.0.0",
            {"engine_args": (("sampler_type", "auto"),)},
            "version 1.0.0, flow pytorch, has no 'sampler_type'; it is in 1.1 and newer",
        ),
        ("1.2.1", {"engine_args": (("build_config.opt_batch_size", 8),)}, "it is in 0.20 to before 1.3.0rc21 (flow"),
        ("1.2.1", {"engine_args": (("kv_cache_config.free_gpu_fraction", 0.5),)}, "takes no argument 'kv_cache_config"),
        ("1.2.1", {"engine_args": (("nonsense", 1),)}, "takes no argument 'nonsense': no version is known"),
        ("1.2.1", {"engine_args": (("attn_backend", 5),)}, "attn_backend: Input should be str"),
        (
            "1.2.1",
            {"engine_args": (("scheduler_config.capacity_scheduler_policy", "FAIR"),)},
            "capacity_scheduler_policy: found 'FAIR', tensorrt_llm as installed has GUARANTEED_NO_EVICT, MAX_UTIL",
        ),
        ("1.2.1", {"builder_cmd": "make {output_dir} {tp}"}, "the placeholder {tp}"),
    ],
)
def test_what_the_version_lacks_is_one_line(bench: MakeBench, version: str, changes: dict[str, Any], told: str) -> None:
    one = bench(version)
    spec = replace(SPEC, model=hf_model(one.folder / "model"), **changes)

    with pytest.raises((UsageError, EngineError)) as raised:
        one.prepared(spec)

    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list((one.folder / "cache").glob("*/*"))


def test_checkpoint_of_pickles_is_refused(bench: MakeBench) -> None:
    one = bench("1.2.1")
    model = hf_model(one.folder / "model")
    (model / "pytorch_model.bin").touch()
    (model / "model.safetensors").unlink(missing_ok=True)

    with pytest.raises(UsageError, match=r"are pickles \(pytorch_model\.bin\)"):
        one.prepared(replace(SPEC, model=model))


def test_checkpoint_of_another_precision_is_refused(bench: MakeBench) -> None:
    one = bench("1.2.1")
    model = hf_model(one.folder / "model", quant_algo="W4A16_AWQ")

    with pytest.raises(UsageError, match="precision fp8 needs a checkpoint with quant_algo FP8 or"):
        one.prepared(replace(SPEC, model=model, precision=Precision.FP8))


def test_converted_checkpoint_of_other_ranks_is_refused(bench: MakeBench) -> None:
    one = bench("1.2.1")
    model = converted_model(one.folder / "model", tp=2)

    with pytest.raises(UsageError, match="has tp_size 2, the spec asks for 1: convert it anew"):
        one.prepared(replace(SPEC, model=model, flow=Flow.ENGINE))


# ------------------------------------------------------------------ serving

SERVE = """
import json, sys
from pathlib import Path
from perfgate.case import EngineSpec
from perfgate.engines.tensorrt_llm import TensorRtLlm
from perfgate.plant import Plant
from perfgate.record import decode
spec = decode(Path(sys.argv[1]).read_bytes(), EngineSpec, "spec")
with TensorRtLlm().serve(spec, Path(sys.argv[2]), Plant(*json.loads(sys.argv[4])), Path(sys.argv[3])) as server:
    server.check()
    told = server.facts
    out = {"version": told.version, "info": told.answers["/server_info"], "notes": told.notes}
print(json.dumps(out))
"""


def served(one: Bench, spec: EngineSpec, plant: tuple[float, ...] = ()) -> Any:
    found = one.prepared(spec)
    (one.folder / "spec.json").write_bytes(encode(spec))
    return one.python(SERVE, one.folder / "spec.json", found.folder, one.folder / "serving", json.dumps(plant))


@pytest.mark.parametrize("version", ["1.0.0", "1.3.0rc21"])
def test_prepared_engine_is_served(bench: MakeBench, version: str) -> None:
    one = bench(version)
    args = (("force_accepted_tokens", 1),)
    spec = replace(SPEC, model=one.model, cuda_graphs=True, speculative=DRAFTS, engine_args=args)

    out = served(one, spec)

    assert out["version"] == f"{version}+double"
    assert out["info"]["config"]["kv_cache_config"]["max_tokens"] == 4 * (128 + 32)
    assert out["info"]["variables"]["TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"] == "1"
    assert out["info"]["variables"]["TLLM_AUTOTUNER_CACHE_PATH"].endswith("autotuner.json")


@pytest.mark.parametrize(
    ("version", "words"), [("0.20.0", []), ("1.2.1", ["--backend", "tensorrt"])], ids=["0.20.0", "1.2.1"]
)
def test_compiled_engine_is_served(bench: MakeBench, version: str, words: list[str]) -> None:
    one = bench(version)
    spec = replace(SPEC, model=converted_model(one.folder / "model"), flow=Flow.ENGINE)

    out = served(one, spec)

    argv = out["info"]["argv"]
    assert argv[0].endswith("/engine")
    assert [word for word in argv if word in {"--backend", "tensorrt"}] == words
    assert argv[argv.index("--tokenizer") + 1] == str(one.folder / "model")
    assert out["info"]["config"]["kv_cache_config"]["enable_block_reuse"] is False


def test_server_cannot_be_planted_with_a_regression(bench: MakeBench) -> None:
    one = bench("1.2.1")
    spec = replace(SPEC, model=one.model)

    with pytest.raises(AssertionError, match="plant regressions into cases without a server"):
        served(one, spec, (1.5,))
