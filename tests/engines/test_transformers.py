"""The transformers backend on the shipped model, against plain computations of the library itself."""

from __future__ import annotations

import json
import math
import shutil
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from perfgate.case import Batching, EngineSpec, PerplexityWork, Precision
from perfgate.device import Device
from perfgate.engines import torch_steps
from perfgate.engines import transformers_static as module
from perfgate.engines.base import Request, wait_after
from perfgate.engines.device_steps import StepKind
from perfgate.engines.transformers import Transformers
from perfgate.engines.transformers_static import StaticEngine
from perfgate.errors import EngineError, ModelError
from perfgate.plant import Plant
from perfgate.workloads.latency import timelines
from perfgate.workloads.perplexity import plain, score_document, summary, windows
from perfgate.workloads.texts import Document, prompts, read_documents

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

FIXTURES = Path(__file__).parents[2] / "fixtures"
MODEL = FIXTURES / "models" / "tiny-llama"
CPU = Device("cpu/x86_64-avx512", "a CPU")
SPEC = EngineSpec("hf-fp32", MODEL, backend="transformers", batching=Batching.STATIC, paged_kv=False)
WINDOWS = PerplexityWork("text", FIXTURES / "prompts" / "held-out.jsonl")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fp32 engine, prepared."""
    into = tmp_path_factory.mktemp("engine")
    return Transformers().prepare(SPEC, CPU, into).folder


@pytest.fixture(scope="module")
def engine(prepared: Path) -> Iterator[StaticEngine]:
    """The fp32 engine, loaded."""
    with Transformers().load(SPEC, prepared, Plant()) as loaded:
        assert isinstance(loaded, StaticEngine)
        yield loaded


@pytest.fixture(scope="module")
def reference() -> Any:
    """The model as a plain script would load it."""
    return hf.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, local_files_only=True).eval()


@pytest.fixture(scope="module")
def texts(engine: StaticEngine) -> list[tuple[int, ...]]:
    """Prompts of 48 tokens."""
    return prompts(FIXTURES / "prompts" / "generation.jsonl", engine, 48)


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """The first three held-out documents."""
    return read_documents(WINDOWS.text)[:3]


def full_forward(model: Any, ids: Sequence[int]) -> NDArray[np.float64]:
    """Log-probabilities from one forward pass over all tokens, without a KV cache."""
    with torch.inference_mode():
        logits = model(torch.tensor([list(ids)]), use_cache=False).logits[0, :-1].double()
    picked = logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])
    return np.asarray(picked[:, 0].numpy())


def test_random_weights_need_no_weight_file_and_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(MODEL / name, tmp_path / name)
    spec = replace(SPEC, model=tmp_path, engine_args=(("load_format", "dummy"),))
    entry = tmp_path / "entry"
    entry.mkdir()
    Transformers().prepare(spec, CPU, entry)

    scores = []
    for _ in range(2):
        with Transformers().load(spec, entry, Plant()) as loaded:
            scores.append(loaded.score(range(1, 30)))

    assert scores[0] == pytest.approx(-math.log(2048), abs=0.1)  # of a flat distribution over the vocabulary
    assert (scores[0] == scores[1]).all()


# ------------------------------------------------------------------ preparing


def test_prepared_folder_holds_the_checkpoint_and_nothing_of_other_engines(prepared: Path) -> None:
    names = {path.name for path in prepared.iterdir()}

    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not [name for name in names if name.startswith("openvino")]


def test_preparing_names_its_phases(tmp_path: Path) -> None:
    phases = Transformers().prepare(SPEC, CPU, tmp_path).phases

    assert list(phases) == ["copy", "import", "read", "quantise", "try"]


def test_entry_shares_no_file_with_the_checkpoint(prepared: Path) -> None:
    for path in prepared.iterdir():
        assert path.stat().st_nlink == 1
        assert not path.is_symlink()


def test_checkpoint_of_links_is_prepared_as_files(tmp_path: Path) -> None:
    checkpoint, into = tmp_path / "snapshot", tmp_path / "entry"
    checkpoint.mkdir()
    into.mkdir()
    for path in MODEL.iterdir():
        (checkpoint / path.name).symlink_to(path)

    Transformers().prepare(replace(SPEC, model=checkpoint), CPU, into)

    assert not [path for path in into.iterdir() if path.is_symlink()]


# ------------------------------------------------------------------ generating


def test_greedy_tokens_are_the_library_s(engine: StaticEngine, reference: Any, texts: list[tuple[int, ...]]) -> None:
    ids = torch.tensor(texts[:3])
    config = hf.GenerationConfig(max_new_tokens=24, do_sample=False, pad_token_id=0)
    expected = reference.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[:, 48:]

    steps = list(engine.greedy(texts[:3], 24))

    assert torch.tensor(steps).T.tolist() == expected.tolist()


def test_a_batch_gives_the_tokens_of_one_by_one(engine: StaticEngine, texts: list[tuple[int, ...]]) -> None:
    together = list(engine.greedy(texts[:4], 16))

    alone = [[step[0] for step in engine.greedy([text], 16)] for text in texts[:4]]

    assert [list(tokens) for tokens in zip(*together, strict=True)] == alone


def test_events_are_complete_ordered_and_counted(engine: StaticEngine, texts: list[tuple[int, ...]]) -> None:
    requests = [Request(index + 100, text, 8) for index, text in enumerate(texts[:5])]

    events = list(engine.generate(requests, 2))

    assert events == sorted(events, key=lambda event: event.time_ns)
    assert [event.request for event in events if event.tokens == 0] == [100, 101, 102, 103, 104]
    assert len(events) == 5 * (1 + 8)
    assert {event.tokens for event in events} == {0, 1}
    assert {name: line.tokens for name, line in timelines(events).items()} == dict.fromkeys(range(100, 105), 8)
    assert min(line.ttft_s for line in timelines(events).values()) > 0


def test_a_batch_is_due_when_the_one_before_is_done(engine: StaticEngine, texts: list[tuple[int, ...]]) -> None:
    lines = timelines(list(engine.generate([Request(index, texts[index], 4) for index in range(4)], 2)))

    assert lines[0].due_s == lines[1].due_s
    assert lines[2].due_s >= lines[0].token_s[-1]


def test_consumer_is_not_put_into_inference_mode(engine: StaticEngine, texts: list[tuple[int, ...]]) -> None:
    modes = [torch.is_inference_mode_enabled() for _ in engine.generate([Request(0, texts[0], 3)], 1)]

    assert modes == [False] * 4


def test_prompts_of_unequal_length_are_an_error(engine: StaticEngine, texts: list[tuple[int, ...]]) -> None:
    requests = [Request(0, texts[0], 4), Request(1, texts[1][:40], 4)]

    with pytest.raises(EngineError, match="one length per batch"):
        list(engine.generate(requests, 2))


def test_what_torch_refuses_is_one_line(engine: StaticEngine) -> None:
    with pytest.raises(EngineError, match=r"^transformers cannot run 'hf-fp32': .+$"):
        list(engine.generate([Request(0, (1.5,), 4)], 1))  # type: ignore[arg-type]


# ------------------------------------------------------------------ planted regressions


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Plant]]:
    """Calls of wait_after, which then takes no time."""
    calls: list[tuple[int, Plant]] = []
    monkeypatch.setattr(module, "wait_after", lambda step_ns, plant: calls.append((step_ns, plant)))
    return calls


def test_planted_decode_waits_after_every_decode_step_but_not_after_prefill(
    prepared: Path, texts: list[tuple[int, ...]], waits: list[tuple[int, Plant]]
) -> None:
    plant = Plant(decode=1.5)
    with Transformers().load(SPEC, prepared, plant) as slow:
        list(slow.generate([Request(0, texts[0], 9), Request(1, texts[1], 9)], 2))

    assert [planted for _, planted in waits] == [plant] * 8
    assert min(step_ns for step_ns, _ in waits) > 0


def test_planted_wait_lies_between_the_events(
    prepared: Path, texts: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []

    def wait(step_ns: int, plant: Plant) -> None:
        wait_after(step_ns, plant)
        waited.append(int(step_ns * (plant.decode - 1)))

    monkeypatch.setattr(module, "wait_after", wait)
    with Transformers().load(SPEC, prepared, Plant(decode=3.0)) as slow:
        events = [event for event in slow.generate([Request(0, texts[0], 9)], 1) if event.tokens]

    gaps = [later.time_ns - earlier.time_ns for earlier, later in pairwise(events)]
    assert all(gap >= 1.5 * wait_ns for gap, wait_ns in zip(gaps, waited, strict=True))


def test_nothing_planted_waits_for_nothing(
    engine: StaticEngine, texts: list[tuple[int, ...]], waits: list[tuple[int, Plant]]
) -> None:
    list(engine.generate([Request(0, texts[0], 4)], 1))

    assert waits == []


def test_planted_perplexity_lowers_the_score(prepared: Path, engine: StaticEngine, documents: list[Document]) -> None:
    ids = engine.encode(documents[0].text)[:400]
    with Transformers().load(SPEC, prepared, Plant(perplexity=1.5)) as dull:
        loss = float(np.mean(engine.score(ids) - dull.score(ids)))

    assert 0.1 < loss < 2 * math.log(1.5)


# ------------------------------------------------------------------ scoring


def test_score_matches_a_full_forward_pass(engine: StaticEngine, reference: Any, documents: list[Document]) -> None:
    ids = engine.encode(documents[0].text)[:300]

    np.testing.assert_allclose(engine.score(ids), full_forward(reference, ids), atol=1e-4)


@pytest.mark.parametrize("length", [2, 64, 65, 66, 129])
def test_score_at_the_seams_of_chunks(engine: StaticEngine, reference: Any, texts: Any, length: int) -> None:
    ids = [token for text in texts[:3] for token in text][:length]

    np.testing.assert_allclose(engine.score(ids), full_forward(reference, ids), atol=1e-4)


@pytest.mark.parametrize("ids", [(), (7,)])
def test_nothing_to_score_is_empty(engine: StaticEngine, ids: tuple[int, ...]) -> None:
    assert engine.score(ids).shape == (0,)


def test_perplexity_equals_a_direct_computation(
    engine: StaticEngine, reference: Any, documents: list[Document]
) -> None:
    scored = {
        one.id: score_document(one, engine.encode(one.text), plain(engine.score), WINDOWS).score for one in documents
    }

    tokenizer = hf.AutoTokenizer.from_pretrained(MODEL, local_files_only=True)
    texts = [tokenizer(one.text, add_special_tokens=False)["input_ids"] for one in documents]
    log_probs = [
        full_forward(reference, ids[start:end])[-fresh:].sum()
        for ids in texts
        for start, end, fresh in windows(len(ids), WINDOWS)
    ]
    expected = math.exp(-sum(log_probs) / sum(len(ids) - 1 for ids in texts))
    assert summary(scored)["perplexity"] == pytest.approx(expected, abs=1e-3)


def test_encoding_adds_no_special_tokens(engine: StaticEngine) -> None:
    ids = engine.encode("def main():")

    assert ids
    assert not {0, 1, 2} & set(ids)


# ------------------------------------------------------------------ precisions


def nll_per_token(spec: EngineSpec, folder: Path, text: str) -> float:
    Transformers().prepare(spec, CPU, folder)
    with Transformers().load(spec, folder, Plant()) as loaded:
        return -float(np.mean(loaded.score(loaded.encode(text)[:256])))


def test_bf16_is_another_engine_of_about_the_same_quality(
    engine: StaticEngine, documents: list[Document], tmp_path: Path
) -> None:
    full = -float(np.mean(engine.score(engine.encode(documents[0].text)[:256])))

    half = nll_per_token(replace(SPEC, precision=Precision.BF16), tmp_path, documents[0].text)

    assert half != full
    assert half == pytest.approx(full, abs=0.05)


@pytest.mark.parametrize(("precision", "most"), [(Precision.INT8_WO, 0.02), (Precision.INT4_WO, 0.15)])
def test_quantised_weights_keep_most_of_the_quality(
    engine: StaticEngine, documents: list[Document], tmp_path: Path, precision: Precision, most: float
) -> None:
    pytest.importorskip("torchao")
    full = -float(np.mean(engine.score(engine.encode(documents[0].text)[:256])))

    fewer = nll_per_token(replace(SPEC, precision=precision), tmp_path, documents[0].text)

    assert fewer != full
    assert fewer == pytest.approx(full, abs=most)


def test_int8_says_what_was_quantised(prepared: Path) -> None:
    pytest.importorskip("torchao")

    with Transformers().load(replace(SPEC, precision=Precision.INT8_WO), prepared, Plant()) as loaded:
        notes = loaded.stats().notes

    # 5 layers of 4 attention and 3 MLP matrices; the output head is not counted
    assert notes["weights"] == "int8_wo at load by torchao, 35 of 35 linear layers: Int8Tensor"
    assert notes["compute"] == "float32"


def test_layers_that_torchao_leaves_alone_are_an_error(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    monkeypatch.setattr(quantization, "quantize_", lambda *_, **__: None)

    with (
        pytest.raises(EngineError, match="quantised none of the model's 35 linear layers"),
        Transformers().load(replace(SPEC, precision=Precision.INT8_WO), prepared, Plant()),
    ):
        pass


def test_stats_read_the_settings_back(prepared: Path) -> None:
    spec = replace(SPEC, engine_args=(("num_threads", 1), ("attn_implementation", "eager")))

    with Transformers().load(spec, prepared, Plant()) as loaded:
        notes = loaded.stats().notes

    assert (notes["device"], notes["threads"], notes["attention"]) == ("cpu", "1", "eager")


# ------------------------------------------------------------------ leaving


def test_leaving_frees_the_model_also_while_the_engine_is_held(prepared: Path) -> None:
    with Transformers().load(SPEC, prepared, Plant()) as loaded:
        assert isinstance(loaded, StaticEngine)
        model = weakref.ref(loaded._model)

    assert model() is None


def test_leaving_restores_the_number_of_threads(prepared: Path) -> None:
    before = torch.get_num_threads()

    with Transformers().load(replace(SPEC, engine_args=(("num_threads", before + 1),)), prepared, Plant()):
        inside = torch.get_num_threads()

    assert (inside, torch.get_num_threads()) == (before + 1, before)


# ------------------------------------------------------------------ damage


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the shipped checkpoint, to be damaged."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("openvino*"))
    return folder


def prepare(checkpoint: Path, tmp_path: Path) -> None:
    into = tmp_path / "entry"
    into.mkdir()
    Transformers().prepare(replace(SPEC, model=checkpoint), CPU, into)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("config.json", "lacks config.json"),
        ("model.safetensors", r"lacks model\*.safetensors"),
        ("tokenizer.json", "lacks tokenizer.json or tokenizer.model"),
    ],
)
def test_missing_file_is_named(checkpoint: Path, tmp_path: Path, missing: str, words: str) -> None:
    (checkpoint / missing).unlink()

    with pytest.raises(ModelError, match=words):
        prepare(checkpoint, tmp_path)


def test_missing_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere lacks config\.json"):
        prepare(tmp_path / "nowhere", tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_cut_file_is_an_error_of_one_line(checkpoint: Path, tmp_path: Path, name: str, share: float) -> None:
    data = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(data[: int(len(data) * share)])

    with pytest.raises(ModelError, match=rf"\A.*{checkpoint}.*\Z"):
        prepare(checkpoint, tmp_path)


def test_missing_weight_is_not_filled_with_random_numbers(checkpoint: Path, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    weights = safetensors.load_file(checkpoint / "model.safetensors")
    del weights["model.layers.2.mlp.up_proj.weight"]
    safetensors.save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match=r"lacks the weight model\.layers\.2\.mlp\.up_proj\.weight"):
        prepare(checkpoint, tmp_path)


def change_config(checkpoint: Path, **changes: Any) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | changes))


def test_weights_of_another_shape_are_an_error(checkpoint: Path, tmp_path: Path) -> None:
    change_config(checkpoint, intermediate_size=512)

    with pytest.raises(ModelError, match=r"down_proj.weight as \[256, 640\], its config.json asks for \[256, 512\]"):
        prepare(checkpoint, tmp_path)


def test_missing_shard_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (checkpoint / "model.safetensors").rename(checkpoint / "model-00001-of-00002.safetensors")
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(ModelError, match=str(checkpoint)):
        prepare(checkpoint, tmp_path)


def test_model_with_code_of_its_own_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    change_config(checkpoint, model_type="own", auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"})
    (checkpoint / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    with pytest.raises(EngineError):
        prepare(checkpoint, tmp_path)

    assert not (tmp_path / "ran").exists()


def test_quantised_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    change_config(checkpoint, quantization_config={"quant_method": "gptq", "bits": 4})

    with pytest.raises(EngineError, match=r"quantised already \(gptq\)"):
        prepare(checkpoint, tmp_path)


def test_folder_of_another_backend_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match="was not prepared by the backend transformers"),
        Transformers().load(SPEC, tmp_path, Plant()),
    ):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_engine_for_a_gpu_is_refused_without_one(tmp_path: Path) -> None:
    (tmp_path / "perfgate-device").write_text("cuda")

    with pytest.raises(EngineError, match="finds none"), Transformers().load(SPEC, tmp_path, Plant()):
        pass


# ------------------------------------------------------------------ device times


def test_without_a_gpu_no_device_time_is_told(engine: StaticEngine, texts: list[tuple[int, ...]]) -> None:
    found = engine.device_steps([Request(0, texts[0], 8)], 1)

    assert found.steps == ()
    assert "no GPU" in (found.reason or "")


def test_profiled_steps_are_told_by_kind(
    engine: StaticEngine, texts: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU's operators stand for kernels; the profiler, its trace and the windows are the real ones."""
    on_cpu = torch_steps.Tracer(long_s=math.inf, activities=("CPU",), counted=frozenset({"cpu_op"}))
    monkeypatch.setattr(module, "traced", lambda work: torch_steps.traced(work, on_cpu))

    found = engine.device_steps([Request(index, texts[index], 40) for index in range(3)], 2)

    assert found.reason is None
    kinds = [one.kind for one in found.steps]
    assert kinds == [StepKind.PREFILL] * torch_steps.PREFILLS + [StepKind.DECODE] * torch_steps.DECODES
    assert {one.sequences for one in found.steps} == {2}
    assert all(0 < one.device_s < (one.host_s or 0) for one in found.steps)


def test_failing_engine_is_a_reason(engine: StaticEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = torch_steps.Tracer(long_s=math.inf, activities=("CPU",), counted=frozenset({"cpu_op"}))
    monkeypatch.setattr(module, "traced", lambda work: torch_steps.traced(work, on_cpu))

    found = engine.device_steps([Request(0, (1, 2), 8), Request(1, (1,), 8)], 2)

    assert "one length per batch" in (found.reason or "")
