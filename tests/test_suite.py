from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from perfgate.case import (
    Batching,
    BuildWork,
    Drafting,
    Flow,
    KvDtype,
    LatencyWork,
    PerplexityWork,
    Precision,
    Speculation,
)
from perfgate.engines import BACKENDS
from perfgate.errors import SuiteError
from perfgate.gpu.validity import GpuLimits, GpuWish
from perfgate.metrics import CATALOGUE
from perfgate.suite import SUITE_SCHEMA, Suite, load_suite
from perfgate.terms import Action, Gate, Noise, Policy, Reaction, Watch

EMBEDDED = Path(__file__).parent.parent / "fixtures" / "suites" / "embedded.yaml"

SMALL = """\
schema: 1
suite: small
engines:
  fp32: {model: models/tiny}
  int8: {model: models/tiny, precision: int8_wo}
workloads:
  build: {kind: build}
  chat: {kind: latency, prompts: prompts.jsonl}
gate:
  metrics: {ttft_p50: {}}
"""

FUZZ = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def test_the_shipped_suite_loads() -> None:
    suite = load_suite(EMBEDDED)

    assert suite.name == "embedded"
    assert len(suite.engines) >= 6
    assert {case.kind for case in suite.cases} == {"build", "latency", "perplexity"}
    assert {engine.backend for engine in suite.engines} <= set(BACKENDS)


def test_what_the_shipped_suite_names_is_there() -> None:
    suite = load_suite(EMBEDDED)

    works = [case.work for case in suite.cases]
    assert [engine.name for engine in suite.engines if not engine.model.is_dir()] == []
    assert [work.name for work in works if isinstance(work, LatencyWork) and not work.prompts.is_file()] == []
    assert [work.name for work in works if isinstance(work, PerplexityWork) and not work.text.is_file()] == []


def test_keys_of_tensorrt_llm_are_read(tmp_path: Path) -> None:
    engine = "{model: m, backend: tensorrt_llm, flow: engine, max_input_len: 512, builder_cmd: 'b {output_dir}'}"

    (spec, _) = _suite(tmp_path, SMALL.replace("{model: models/tiny}", engine)).engines

    assert (spec.flow, spec.max_input_len, spec.builder_cmd) == (Flow.ENGINE, 512, "b {output_dir}")


@pytest.mark.parametrize("key", ["flow: engine", "max_input_len: 512", "builder_cmd: make"])
@pytest.mark.parametrize("backend", ["", "backend: transformers, "])
def test_keys_of_tensorrt_llm_are_a_fault_elsewhere(tmp_path: Path, key: str, backend: str) -> None:
    faults = _faults(tmp_path, SMALL.replace("{model: models/tiny}", f"{{model: m, {backend}{key}}}"))

    assert len(faults) == 1
    assert "has no such key: it is tensorrt_llm's; remove it" in faults[0]


def test_cases_are_engines_times_workloads(tmp_path: Path) -> None:
    suite = _suite(tmp_path, SMALL)

    assert [case.id for case in suite.cases] == ["fp32-build", "fp32-chat", "int8-build", "int8-chat"]
    assert [engine.name for engine in suite.engines] == ["fp32", "int8"]


def test_case_blocks_choose_and_a_case_named_twice_counts_once(tmp_path: Path) -> None:
    blocks = "cases:\n- {engines: [int8], workloads: [chat]}\n- {engines: int8, workloads: [build, chat]}\n"

    suite = _suite(tmp_path, SMALL + blocks)

    assert [case.id for case in suite.cases] == ["int8-chat", "int8-build"]


def test_names_that_yaml_takes_for_numbers_are_names(tmp_path: Path) -> None:
    text = SMALL.replace("fp32:", "32:") + "cases: [{engines: 32, workloads: chat}]\n"

    assert [case.id for case in _suite(tmp_path, text).cases] == ["32-chat"]


def test_two_cases_that_would_share_an_id_are_a_fault(tmp_path: Path) -> None:
    text = SMALL.replace("fp32:", "a-b:").replace("int8:", "a:").replace("build:", "b-c:").replace("chat:", "c:")

    faults = _faults(tmp_path, text)

    assert any("a-b-c" in fault for fault in faults)


def test_a_suite_that_comes_to_no_case_is_a_fault(tmp_path: Path) -> None:
    faults = _faults(tmp_path, SMALL + "cases: [{engines: [], workloads: [chat]}]\n")

    assert len(faults) == 1


def test_every_key_of_an_engine_is_read(tmp_path: Path) -> None:
    engine = """{
        backend: own.module:Backend, model: ../m, precision: fp8, kv_cache_dtype: int8, batching: inflight,
        paged_kv: no, prefix_caching: yes, chunked_prefill: yes,
        speculative: {method: draft_model, draft_len: 5, model: d}, max_batch_size: 64, max_num_tokens: 8192,
        max_seq_len: 4096, cuda_graphs: yes, overlap_scheduler: no, context_fmha: yes, remove_input_padding: no,
        tp: 4, pp: 2, engine_args: {threads: 2, mode: fast, warm: true, share: 0.5}}"""

    spec = _suite(tmp_path, SMALL.replace("{model: models/tiny}", engine)).engines[0]

    here = tmp_path.resolve()
    assert (spec.name, spec.backend, spec.model) == ("fp32", "own.module:Backend", here.parent / "m")
    assert (spec.precision, spec.kv_cache_dtype, spec.batching) == (Precision.FP8, KvDtype.INT8, Batching.INFLIGHT)
    assert (spec.paged_kv, spec.prefix_caching, spec.chunked_prefill) == (False, True, True)
    assert spec.speculative == Speculation(Drafting.DRAFT_MODEL, 5, here / "d")
    assert (spec.max_batch_size, spec.max_num_tokens, spec.max_seq_len, spec.tp, spec.pp) == (64, 8192, 4096, 4, 2)
    assert (spec.cuda_graphs, spec.overlap_scheduler) == (True, False)
    assert (spec.context_fmha, spec.remove_input_padding) == (True, False)
    assert spec.engine_args == (("mode", "fast"), ("share", 0.5), ("threads", 2), ("warm", True))


def test_every_key_of_a_workload_is_read(tmp_path: Path) -> None:
    latency = (
        "{kind: latency, prompts: p, input_len: 5, output_len: 6, concurrency: 7, requests: 8, warmup_requests: 0}"
    )
    text = SMALL.replace("{kind: latency, prompts: prompts.jsonl}", latency).replace(
        "{kind: build}", "{kind: perplexity, text: t, window: 64, stride: 32}"
    )

    works = [case.work for case in _suite(tmp_path, text).cases[:2]]

    here = tmp_path.resolve()
    assert works == [PerplexityWork("build", here / "t", 64, 32), LatencyWork("chat", here / "p", 5, 6, 7, 8, 0)]


def test_a_workload_left_short_takes_its_defaults(tmp_path: Path) -> None:
    works = [case.work for case in _suite(tmp_path, SMALL).cases[:2]]

    assert works == [BuildWork("build"), LatencyWork("chat", tmp_path.resolve() / "prompts.jsonl")]


def test_every_key_of_the_gate_is_read(tmp_path: Path) -> None:
    gate = """{
        metrics: {ttft_p50: {margin: 5%, detect: 20%}, engine_bytes: {}}, noise: {round_sd: 3%, session_sd: 0.1},
        alpha: 0.1%, beta: 0.02, first_rounds: 2, most_rounds: 9, budget: 4min, round_timeout: 90s,
        max_foreign_cpu: 30%}"""

    found = _suite(tmp_path, SMALL.replace("\n  metrics: {ttft_p50: {}}", " " + gate)).gate

    metrics = (CATALOGUE["ttft_p50"].with_limits(0.05, 0.2), CATALOGUE["engine_bytes"])
    assert found == Gate(metrics, Noise(0.03, 0.1), 0.001, 0.02, 2, 9, 240.0, 90.0, 0.3, found.pairing)
    assert found.metric("ttft_p50").detect == 0.2


def test_a_suite_says_what_its_gpus_and_cores_may_do(tmp_path: Path) -> None:
    keys = "max_throttled: 5%, max_clock_move: 10%, shared_gpu: true, lock_clocks: 1500, client_cpus: [3], cpus: [1, 2]"
    text = SMALL.replace("\n  metrics: {ttft_p50: {}}", " {metrics: {ttft_p50: {}}, " + keys + "}")

    found = _suite(tmp_path, text).gate

    assert found.gpu == GpuWish(GpuLimits(0.05, 0.1, foreign=True), 1500)
    assert (found.cpus, found.client_cpus, found.pin) == ((1, 2), (3,), False)


def test_cores_are_named_or_chosen_and_belong_to_one(tmp_path: Path) -> None:
    text = SMALL.replace(
        "\n  metrics: {ttft_p50: {}}", " {metrics: {ttft_p50: {}}, cpus: [1], client_cpus: [1], pin: true}"
    )

    faults = _faults(tmp_path, text)

    assert any("gate.cpus" in one and "gate.pin chooses the cores" in one for one in faults)
    assert any("gate.client_cpus" in one and "core 1 is one of gate.cpus too" in one for one in faults)


def test_a_suite_says_which_signals_fail_the_gate(tmp_path: Path) -> None:
    found = _suite(tmp_path, SMALL + "  watch: {creep: fail}\n").gate.watch

    assert found == Watch(creep=Reaction.FAIL, suite_shift=Reaction.REPORT)


def test_a_signal_is_reported_or_fails_and_nothing_else(tmp_path: Path) -> None:
    (fault,) = _faults(tmp_path, SMALL + "  watch: {creep: warn}\n")

    assert "gate.watch.creep" in fault
    assert "allowed: report, fail" in fault


def test_a_thorough_suite_has_the_thorough_gate(tmp_path: Path) -> None:
    suite = _suite(tmp_path, SMALL)

    assert suite.thorough() == replace(suite, gate=suite.gate.thorough())


def test_a_gate_left_short_takes_its_defaults(tmp_path: Path) -> None:
    assert _suite(tmp_path, SMALL).gate == Gate((CATALOGUE["ttft_p50"],))


def test_shared_engine_keys_are_merged_into_each_engine(tmp_path: Path) -> None:
    shared = "defaults: {engine: {model: shared, precision: bf16, max_batch_size: 3}}\n"
    text = shared + SMALL.replace("fp32: {model: models/tiny}", "fp32: {}")

    fp32, int8 = _suite(tmp_path, text).engines

    here = tmp_path.resolve()
    assert (fp32.model, fp32.precision, fp32.max_batch_size) == (here / "shared", Precision.BF16, 3)
    assert (int8.model, int8.precision, int8.max_batch_size) == (here / "models" / "tiny", Precision.INT8_WO, 3)


def test_by_default_ci_fails_and_local_warns(tmp_path: Path) -> None:
    suite = _suite(tmp_path, SMALL)

    assert suite.policy("ci") == Policy(Action.FAIL, Action.FAIL, Action.FAIL)
    assert suite.policy("local") == Policy(Action.WARN, Action.WARN, Action.WARN)


def test_a_policy_changes_only_what_it_names(tmp_path: Path) -> None:
    suite = _suite(tmp_path, SMALL + "policy: {ci: {inconclusive: warn}, local: {no_baseline: record}}\n")

    assert suite.policy("ci") == Policy(Action.WARN, Action.FAIL, Action.FAIL)
    assert suite.policy("local") == Policy(Action.WARN, Action.WARN, Action.RECORD)


@pytest.mark.parametrize("verdict", ["inconclusive", "invalid"])
def test_only_a_missing_baseline_can_be_recorded(tmp_path: Path, verdict: str) -> None:
    faults = _faults(tmp_path, SMALL + f"policy: {{local: {{{verdict}: record}}}}\n")

    assert faults == [f"{tmp_path}/suite.yaml:11 policy.local.{verdict}: found 'record', allowed: fail, warn"]


MISTAKES = [
    ("suite: small", "suite: ../small", "2 suite: found '../small', expected a name of letters, digits"),
    ("schema: 1", "schema: 2", "1 schema: found '2', allowed: 1"),
    ("schema: 1\n", "", "1: the key 'schema' is missing"),
    ("precision: int8_wo", "precision: int8", "5 engines.int8.precision: found 'int8', allowed: fp32, fp16, bf16"),
    ("precision: int8_wo", "precision: int8", "did you mean 'int8_wo'?"),
    ("precision:", "precison:", "5 engines.int8.precison: unknown key; allowed: backend, batching"),
    ("precision:", "precison:", "did you mean 'precision'?"),
    ("precision: int8_wo", "backend: opnvino", "5 engines.int8.backend: found 'opnvino', allowed: openvino"),
    ("precision: int8_wo", "backend: opnvino", "did you mean 'openvino'?"),
    ("precision: int8_wo", "tp: 0", "5 engines.int8.tp: found '0', expected a whole number from 1 to 1024"),
    ("precision: int8_wo", "speculative: {}", "5 engines.int8.speculative: the key 'method' is missing"),
    ("kind: build", "kind: biuld", "7 workloads.build.kind: found 'biuld', allowed: build, latency, perplexity"),
    ("kind: build", "kind: build, text: t", "7 workloads.build.text: unknown key; allowed: kind"),
    (", prompts: prompts.jsonl", "", "8 workloads.chat: the key 'prompts' is missing"),
    ("prompts.jsonl", "p, output_len: 1", "8 workloads.chat.output_len: found '1', expected a whole number from 2"),
    ("{ttft_p50: {}}", "{ttft_p50: {margin: -1%}}", "10 gate.metrics.ttft_p50.margin: found '-1%', expected a share"),
    ("  metrics: {ttft_p50: {}}", "  alpha: 1%", "10 gate: the key 'metrics' is missing"),
    ("{ttft_p50: {}}", "{ttft_p50: {}}\n  budget: 10", "11 gate.budget: found '10', expected a duration such as"),
    ("suite: small", "suite: small\nsuite: large", "3 suite: stands twice in this mapping; keep one"),
]


@pytest.mark.parametrize(("right", "wrong", "words"), MISTAKES)
def test_a_mistake_is_shown_with_its_line_its_key_and_what_is_allowed(
    tmp_path: Path, right: str, wrong: str, words: str
) -> None:
    (fault,) = _faults(tmp_path, SMALL.replace(right, wrong))

    assert fault.startswith(f"{tmp_path}/suite.yaml:")
    assert words in fault


CONFLICTS = [
    (
        "precision: int8_wo",
        "speculative: {method: ngram}, batching: static",
        "engines.int8: speculative decoding runs with in-flight batching; remove one of the two",
    ),
    (
        "precision: int8_wo",
        "speculative: {method: draft_model}",
        "engines.int8.speculative: draft_model needs the key 'model': the draft checkpoint",
    ),
    (
        "precision: int8_wo",
        "speculative: {method: ngram, model: m}",
        "engines.int8.speculative: ngram drafts from the prompt; remove 'model'",
    ),
    (
        "model: models/tiny, precision",
        "precision",
        "engines.int8: the key 'model' is missing, here and in defaults.engine",
    ),
    (
        "{kind: build}",
        "{kind: perplexity, text: t, window: 64, stride: 65}",
        "workloads.build: stride is larger than window: tokens between windows would not be scored",
    ),
    (
        "{kind: build}",
        "{kind: perplexity, text: t, window: 255}",
        "workloads.build: stride is larger than window: tokens between windows would not be scored",
    ),
    (
        "prompts.jsonl",
        "p, concurrency: 9, requests: 8",
        "workloads.chat: concurrency is larger than requests: it could never be reached",
    ),
    (
        "prompts.jsonl",
        "p, concurrency: 17",
        "workloads.chat: concurrency is larger than requests: it could never be reached",
    ),
    (
        "gate:",
        "cases: [{engines: [int8, fp23], workloads: chat}]\ngate:",
        "cases[0].engines: no 'fp23' under engines; there: fp32, int8; did you mean 'fp32'?",
    ),
    (
        "gate:",
        "cases: [{engines: int8, workloads: chat}, {engines: int8, workloads: caht}]\ngate:",
        "cases[1].workloads: no 'caht' under workloads; there: build, chat; did you mean 'chat'?",
    ),
    ("{ttft_p50: {}}", "{ttft_p05: {}}", "gate.metrics.ttft_p05: no such metric; known: acceptance_len,"),
    ("{ttft_p50: {}}", "{output_token_per_s: {}}", "did you mean 'output_tokens_per_s'?"),
    (
        "{ttft_p50: {}}",
        "{ttft_p50: {margin: 5%, detect: 4%}}",
        "gate.metrics.ttft_p50: detect 4.000 % is below margin 5.000 %",
    ),
    (
        "{ttft_p50: {}}",
        "{ttft_p50: {margin: 6%}}",
        "gate.metrics.ttft_p50: detect 5.000 % is below margin 6.000 %",
    ),
    ("gate:", "gate:\n  first_rounds: 13", "gate: first_rounds is larger than most_rounds"),
    ("gate:", "gate:\n  first_rounds: 3\n  most_rounds: 2", "gate: first_rounds is larger than most_rounds"),
]


@pytest.mark.parametrize(("right", "wrong", "words"), CONFLICTS)
def test_keys_that_contradict_each_other_are_a_fault(tmp_path: Path, right: str, wrong: str, words: str) -> None:
    (fault,) = _faults(tmp_path, SMALL.replace(right, wrong))

    assert fault.startswith(f"{tmp_path}/suite.yaml")
    assert words in fault


def test_a_contradiction_is_shown_with_its_line(tmp_path: Path) -> None:
    (fault,) = _faults(tmp_path, SMALL.replace("{ttft_p50: {}}", "{ttft_p05: {}}"))

    assert fault.startswith(f"{tmp_path}/suite.yaml:10 gate.metrics.ttft_p05: ")


def test_a_contradiction_with_a_shared_key_is_found(tmp_path: Path) -> None:
    text = "defaults: {engine: {batching: static}}\n" + SMALL.replace(
        "precision: int8_wo", "speculative: {method: ngram}"
    )

    (fault,) = _faults(tmp_path, text)

    assert "engines.int8: speculative decoding runs with in-flight batching" in fault


def test_every_contradiction_is_reported_at_once(tmp_path: Path) -> None:
    text = SMALL.replace("precision: int8_wo", "speculative: {method: draft_model}, batching: static")

    faults = _faults(tmp_path, text.replace("prompts.jsonl", "p, concurrency: 17").replace("ttft_p50", "ttft"))

    assert [fault.split(" ")[1].rstrip(":") for fault in faults] == [
        "engines.int8.speculative",
        "engines.int8",
        "workloads.chat",
        "gate.metrics.ttft",
    ]


@pytest.mark.parametrize("group", ["engines", "workloads"])
def test_a_suite_without_engines_or_workloads_is_a_fault(tmp_path: Path, group: str) -> None:
    text = yaml.safe_dump({**yaml.safe_load(SMALL), group: {}})

    (fault,) = _faults(tmp_path, text)

    assert fault.endswith("the suite comes to no case: name at least one engine and one workload")


def test_two_reads_of_a_suite_are_equal(tmp_path: Path) -> None:
    assert _suite(tmp_path, SMALL) == _suite(tmp_path, SMALL)


def test_the_source_is_kept_as_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = _suite(tmp_path, SMALL)
    monkeypatch.chdir(tmp_path)

    assert load_suite(Path("suite.yaml")) == replace(suite, source=tmp_path.resolve() / "suite.yaml")


def test_the_json_schema_has_the_keys_of_the_shipped_suite() -> None:
    described = SUITE_SCHEMA.json_schema()
    shipped = yaml.safe_load(EMBEDDED.read_text())

    properties = described["properties"]
    assert set(shipped) <= set(properties)
    assert set(described["required"]) <= set(shipped)
    assert set(shipped["gate"]) <= set(properties["gate"]["properties"])
    assert set(shipped["defaults"]["engine"]) <= set(properties["engines"]["additionalProperties"]["properties"])
    assert properties["engines"]["additionalProperties"] == properties["defaults"]["properties"]["engine"]


def test_the_json_schema_allows_no_other_keys() -> None:
    described = SUITE_SCHEMA.json_schema()

    assert described["additionalProperties"] is False
    assert described["properties"]["gate"]["additionalProperties"] is False
    assert described["properties"]["engines"]["additionalProperties"]["additionalProperties"] is False


def test_the_json_schema_names_the_words_of_a_closed_set() -> None:
    engine = SUITE_SCHEMA.json_schema()["properties"]["engines"]["additionalProperties"]["properties"]

    assert engine["precision"]["enum"] == [member.value for member in Precision]
    assert engine["kv_cache_dtype"]["enum"] == [member.value for member in KvDtype]
    assert engine["backend"]["anyOf"][0]["enum"] == list(BACKENDS)


def test_the_json_schema_allows_the_schema_number_as_yaml_reads_it() -> None:
    shipped = yaml.safe_load(EMBEDDED.read_text())

    assert shipped["schema"] in SUITE_SCHEMA.json_schema()["properties"]["schema"]["enum"]


def test_the_json_schema_tells_workloads_apart_by_their_kind() -> None:
    records = SUITE_SCHEMA.json_schema()["properties"]["workloads"]["additionalProperties"]["oneOf"]

    kinds = [record["properties"]["kind"] for record in records]
    assert [kind for kind in kinds if "const" not in kind and "enum" not in kind] == []


@FUZZ
@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_but_a_suite_error(tmp_path: Path, data: bytes) -> None:
    source = tmp_path / "suite.yaml"
    source.write_bytes(data)

    with pytest.raises(SuiteError):
        load_suite(source)


@FUZZ
@given(st.text(max_size=400))
def test_no_text_raises_anything_but_a_suite_error(tmp_path: Path, text: str) -> None:
    source = tmp_path / "suite.yaml"
    source.write_bytes(text.encode())

    with pytest.raises(SuiteError):
        load_suite(source)


WORDS = st.sampled_from(
    ["engines", "workloads", "gate", "metrics", "cases", "policy", "kind", "latency", "build", "perplexity", "model",
     "text", "prompts", "fp32", "margin", "ttft_p50", "speculative", "method", "ngram", "ci", "window", "stride"]
)  # fmt: skip
SCALARS = WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12
)


@FUZZ
@given(st.sampled_from([*SUITE_SCHEMA.fields]), TREES)
@example("cases", [])
@example("cases", {"engines": [], "workloads": []})
@example("gate", {"metrics": {}})
def test_a_suite_with_any_one_key_changed_loads_or_is_a_suite_error(tmp_path: Path, key: str, tree: Any) -> None:
    source = tmp_path / "suite.yaml"
    source.write_text(yaml.safe_dump({**yaml.safe_load(SMALL), key: tree}, allow_unicode=True))

    outcome = _load_or_faults(source)

    assert isinstance(outcome, Suite) or outcome.faults


@FUZZ
@given(st.integers(0, len(SMALL)), st.integers(0, len(SMALL)), st.text(max_size=12))
def test_a_suite_with_a_stretch_overwritten_loads_or_is_a_suite_error(
    tmp_path: Path, start: int, end: int, text: str
) -> None:
    source = tmp_path / "suite.yaml"
    source.write_bytes((SMALL[:start] + text + SMALL[end:]).encode())

    outcome = _load_or_faults(source)

    assert isinstance(outcome, Suite) or outcome.faults


def _suite(folder: Path, text: str) -> Suite:
    source = folder / "suite.yaml"
    source.write_text(text)
    return load_suite(source)


def _faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(SuiteError) as caught:
        _suite(folder, text)
    return [str(fault) for fault in caught.value.faults]


def _load_or_faults(source: Path) -> Suite | SuiteError:
    try:
        return load_suite(source)
    except SuiteError as exc:
        return exc
