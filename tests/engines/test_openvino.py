"""The embedded engine, for real: the shipped model prepared, loaded, run and scored."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from perfgate.case import Batching, Drafting, EngineSpec, KvDtype, PerplexityWork, Precision, Speculation
from perfgate.device import Device
from perfgate.engines.base import Engine, Request, TokenEvent, wait_after
from perfgate.engines.cache import EngineCache
from perfgate.engines.openvino import OpenVino
from perfgate.errors import EngineError, ModelError
from perfgate.plant import Plant
from perfgate.workloads.perplexity import plain, score_document, summary
from perfgate.workloads.texts import read_documents

pytest.importorskip("openvino_genai")

FIXTURES = Path(__file__).parents[2] / "fixtures"
CPU = Device("cpu/test", "a CPU")
FP32 = EngineSpec("fp32", FIXTURES / "models" / "tiny-llama", kv_cache_dtype=KvDtype.FP32)
STATIC = replace(FP32, name="static", batching=Batching.STATIC, paged_kv=False)
DRAFT = Speculation(Drafting.DRAFT_MODEL, 2, FIXTURES / "models" / "tiny-llama-draft")
SPECS = {
    "fp32": FP32,
    "int8": replace(FP32, precision=Precision.INT8_WO),
    "int4": replace(FP32, precision=Precision.INT4_WO),
    "kv8": replace(FP32, kv_cache_dtype=KvDtype.INT8),
    "bf16": replace(FP32, precision=Precision.BF16, kv_cache_dtype=KvDtype.BF16),
    "spec": replace(FP32, speculative=DRAFT),
    "static": STATIC,
}
NGRAM = replace(FP32, speculative=Speculation(Drafting.NGRAM, 3))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> EngineCache:
    return EngineCache(tmp_path_factory.mktemp("engines"), lambda: "2026-01-01")


@pytest.fixture(params=SPECS)
def engine(request: pytest.FixtureRequest, cache: EngineCache) -> Iterator[Engine]:
    spec = SPECS[request.param]
    with OpenVino().load(spec, cache.get(spec, CPU, OpenVino()).folder, Plant()) as loaded:
        yield loaded


def _requests(engine: Engine, count: int, tokens: int = 12) -> list[Request]:
    texts = read_documents(FIXTURES / "prompts" / "generation.jsonl")
    return [Request(i, tuple(engine.encode(texts[i].text)[:32]), tokens) for i in range(count)]


def _tokens(events: list[TokenEvent], request: int) -> int:
    return sum(event.tokens for event in events if event.request == request)


def test_every_request_gets_its_tokens_in_the_order_of_time(engine: Engine) -> None:
    events = list(engine.generate(_requests(engine, 5), concurrency=2))

    assert [_tokens(events, i) for i in range(5)] == [12] * 5
    assert [event.time_ns for event in events] == sorted(event.time_ns for event in events)
    dues = [event.request for event in events if event.tokens == 0]
    assert sorted(dues) == list(range(5))


def test_scores_are_log_probabilities_of_all_tokens_but_the_first(engine: Engine) -> None:
    tokens = engine.encode("import os\n\n\ndef main():\n    return os.getcwd()\n" * 8)

    scores = engine.score(tokens)

    assert scores.shape == (len(tokens) - 1,)
    assert (scores < 0).all()
    assert scores == pytest.approx(engine.score(tokens))


def test_a_second_load_comes_from_the_cache_and_leaves_the_entry_whole(cache: EngineCache) -> None:
    first = cache.get(FP32, CPU, OpenVino())
    with OpenVino().load(FP32, first.folder, Plant()) as loaded:
        list(loaded.generate(_requests(loaded, 1), 1))
        loaded.score([1, 2, 3])

    again = cache.get(FP32, CPU, OpenVino())

    assert again.from_cache
    assert again.entry == first.entry


def test_prompts_in_chunks_a_cached_prefix_and_a_4_bit_cache_give_every_token(cache: EngineCache) -> None:
    spec = replace(
        FP32, name="all", prefix_caching=True, chunked_prefill=True, max_num_tokens=64, kv_cache_dtype=KvDtype.INT4
    )
    with OpenVino().load(spec, cache.get(spec, CPU, OpenVino()).folder, Plant()) as engine:
        text = read_documents(FIXTURES / "prompts" / "generation.jsonl")[0].text
        requests = [Request(index, tuple(engine.encode(text * 9)[:200]), 4) for index in range(3)]
        events = list(engine.generate(requests, 3))

    counts = {request.id: sum(event.tokens for event in events if event.request == request.id) for request in requests}
    assert counts == {0: 4, 1: 4, 2: 4}


def test_in_flight_a_request_joins_while_another_runs(cache: EngineCache) -> None:
    with OpenVino().load(FP32, cache.get(FP32, CPU, OpenVino()).folder, Plant()) as loaded:
        short, long, third = _requests(loaded, 3)

        events = list(loaded.generate([replace(short, output_len=4), replace(long, output_len=40), third], 2))

    order = [(event.request, event.tokens) for event in events]
    last_of_long = max(index for index, (request, _) in enumerate(order) if request == long.id)
    assert order.index((third.id, 0)) < last_of_long


def test_precision_moves_bytes_and_perplexity(cache: EngineCache) -> None:
    work = PerplexityWork("text", FIXTURES / "prompts" / "held-out.jsonl")
    documents = read_documents(work.text)[:6]
    perplexity, size = {}, {}
    for name in ("fp32", "int8", "int4"):
        found = cache.get(SPECS[name], CPU, OpenVino())
        size[name] = found.entry.engine_bytes
        with OpenVino().load(SPECS[name], found.folder, Plant()) as loaded:
            scores = {
                one.id: score_document(one, loaded.encode(one.text), plain(loaded.score), work).score
                for one in documents
            }
        perplexity[name] = summary(scores)["perplexity"]

    assert size["int4"] < size["int8"] < size["fp32"]
    assert perplexity["int8"] == pytest.approx(perplexity["fp32"], rel=0.005)
    assert perplexity["fp32"] * 1.01 < perplexity["int4"] < perplexity["fp32"] * 1.10


def test_batching_and_speculation_do_not_change_what_is_scored(cache: EngineCache) -> None:
    tokens = [5, 9, 200, 17, 300, 41]
    scores = []
    for name in ("fp32", "static", "spec"):
        with OpenVino().load(SPECS[name], cache.get(SPECS[name], CPU, OpenVino()).folder, Plant()) as loaded:
            scores.append(loaded.score(tokens))

    assert np.allclose(scores[0], scores[1])
    assert np.allclose(scores[0], scores[2])


@pytest.mark.parametrize("name", ["fp32", "static"])
def test_planted_decode_waits_once_a_decode_step_and_in_proportion(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    waits: list[tuple[int, float]] = []
    monkeypatch.setattr(
        "perfgate.engines.openvino.wait_after", lambda step_ns, plant: waits.append((step_ns, plant.decode))
    )
    spec = SPECS[name]

    with OpenVino().load(spec, cache.get(spec, CPU, OpenVino()).folder, Plant(decode=1.25)) as loaded:
        list(loaded.generate(_requests(loaded, 1), 1))

    assert len(waits) == 11  # 12 tokens: one from prefill
    assert all(step_ns > 0 and decode == 1.25 for step_ns, decode in waits)


def test_planted_perplexity_makes_the_model_dumber_but_not_more_than_asked(cache: EngineCache) -> None:
    found = cache.get(FP32, CPU, OpenVino())
    text = "def add(a, b):\n    return a + b\n" * 30
    with OpenVino().load(FP32, found.folder, Plant()) as clean:
        tokens = clean.encode(text)
        before = clean.score(tokens).mean()
    with OpenVino().load(FP32, found.folder, Plant(perplexity=1.5)) as noisy:
        after = noisy.score(tokens).mean()

    assert before - np.log(1.6) < after < before


def test_a_failing_step_is_an_engine_error_of_one_line(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """GenAI 2026.4.1 fails an assertion of its sampler in some n-gram runs: that must not look like a crash of ours."""
    with OpenVino().load(FP32, cache.get(FP32, CPU, OpenVino()).folder, Plant()) as loaded:
        requests = _requests(loaded, 1)
        failing = mock.Mock(**{"step.side_effect": RuntimeError("Check 'x' failed at sampler.cpp:1519\nmore")})
        monkeypatch.setattr(loaded, "_pipeline", failing)

        with pytest.raises(EngineError, match=r"^OpenVINO failed at a step: Check 'x' failed at sampler\.cpp:1519$"):
            list(loaded.generate(requests, 1))


def test_static_batching_refuses_prompts_of_different_lengths(cache: EngineCache) -> None:
    requests = [Request(0, (1, 2, 3), 4), Request(1, (1, 2), 4)]

    with (
        OpenVino().load(STATIC, cache.get(STATIC, CPU, OpenVino()).folder, Plant()) as loaded,
        pytest.raises(EngineError, match="one length per batch"),
    ):
        list(loaded.generate(requests, 2))


@pytest.mark.parametrize("lost", ["openvino_model.xml", "model.safetensors", "openvino_tokenizer.xml", "config.json"])
def test_a_missing_file_of_a_checkpoint_is_named(tmp_path: Path, lost: str) -> None:
    model = shutil.copytree(FP32.model, tmp_path / "model")
    (model / lost).unlink()

    with pytest.raises(ModelError, match=lost):
        OpenVino().prepare(replace(FP32, model=model), CPU, _empty(tmp_path))


@pytest.mark.parametrize("damage", [("openvino_model.xml", 100), ("model.safetensors", 1_000_000)])
def test_a_cut_checkpoint_is_one_clear_line(tmp_path: Path, damage: tuple[str, int]) -> None:
    model = shutil.copytree(FP32.model, tmp_path / "model")
    os.truncate(model / damage[0], damage[1])

    with pytest.raises(ModelError, match="is damaged: ") as caught:
        OpenVino().prepare(replace(FP32, model=model), CPU, _empty(tmp_path))

    assert "\n" not in str(caught.value)


def _empty(folder: Path) -> Path:
    (folder / "into").mkdir()
    return folder / "into"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (replace(FP32, precision=Precision.FP8), "precision fp8 has no kernel"),
        (replace(FP32, kv_cache_dtype=KvDtype.FP8), "KV cache fp8 is refused"),
        (replace(FP32, precision=Precision.BF16), "fp32 KV cache needs fp32 compute"),
        (replace(FP32, tp=2), "tp and pp must be 1"),
        (replace(FP32, cuda_graphs=True), "need an NVIDIA GPU"),
        (replace(FP32, batching=Batching.STATIC), "set paged_kv: false"),
        (replace(FP32, paged_kv=False), "needs the paged KV cache"),
        (replace(STATIC, speculative=DRAFT), "speculative"),
    ],
)
def test_what_it_cannot_do_is_said_with_what_to_change(spec: EngineSpec, reason: str) -> None:
    support = OpenVino().support(spec, CPU)

    assert support.reason is not None
    assert reason in support.reason


@pytest.mark.parametrize("spec", [*SPECS.values(), NGRAM], ids=[*SPECS, "ngram"])
def test_what_it_can_do_is_supported(spec: EngineSpec) -> None:
    assert OpenVino().support(spec, CPU).is_supported


def test_waiting_keeps_the_core_busy_for_its_share_of_the_step() -> None:
    begin = time.perf_counter_ns()

    wait_after(2_000_000, Plant(decode=1.5))

    assert time.perf_counter_ns() - begin >= 1_000_000
