"""OpenVINO GenAI: the embedded default, a production engine for CPUs.

Preparing makes an IR of the asked-for weight precision (NNCF), tries it, and compiles it ahead of
time for the stateful model; the paged pipeline compiles at load, because its blob is written anew
by every load (GenAI 2026.4.1: 0.9 to 1.2 s with a blob cache, 0.5 to 0.9 s without). In-flight
batching is GenAI's paged pipeline, driven step by step so that every token is stamped when it can
be read. Static batching is a greedy loop over the
stateful model (contiguous KV cache, SDPA): GenAI's own static pipeline streams only one request, so
its tokens could not be stamped at batch 8.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfgate.case import Batching, Drafting, EngineSpec, KvDtype, Precision, WorkKind
from perfgate.device import Device
from perfgate.engines.base import (
    ClosedLoop,
    Engine,
    EngineStats,
    Prepared,
    Request,
    Scored,
    Source,
    Support,
    TokenEvent,
    check_one_length,
    first_line,
    joined,
    log_probs,
    scored,
    try_out,
    wait_after,
)
from perfgate.engines.cache import Phases
from perfgate.engines.openvino_quantising import CALIBRATED, INT4_GROUP, TAKEN, compressed
from perfgate.errors import EngineError, ModelError
from perfgate.plant import Plant

_PACKAGES = ("openvino", "openvino-genai", "openvino-tokenizers", "nncf")
_COMPUTE = {
    Precision.FP32: "f32",
    Precision.BF16: "bf16",
    **dict.fromkeys((Precision.INT8_WO, Precision.INT8_SQ), "f32"),
    **dict.fromkeys((Precision.INT4_WO, Precision.INT4_AWQ, Precision.INT4_GPTQ), "f32"),
}
_KV = {KvDtype.FP32: "f32", KvDtype.FP16: "f16", KvDtype.BF16: "bf16", KvDtype.INT8: "u8", KvDtype.INT4: "u4"}
_SCORE_CHUNK = 64  # tokens fed at once when scoring, so that later ones read the KV cache as stored
_TOKENIZER_FILES = (
    "openvino_tokenizer.xml",
    "openvino_tokenizer.bin",
    "openvino_detokenizer.xml",
    "openvino_detokenizer.bin",
)


class OpenVino:
    """The backend `openvino`."""

    name = "openvino"
    kinds = frozenset(WorkKind)
    runs_on = seen_on = frozenset({"cpu"})
    quantising, calibrated, int4_group_size = TAKEN, CALIBRATED, INT4_GROUP

    def versions(self) -> Mapping[str, str]:
        return {package: metadata.version(package) for package in _PACKAGES}

    def support(self, spec: EngineSpec, device: Device) -> Support:  # noqa: ARG002 - runs on the CPU beside any device
        """Everything this backend cannot do, in words."""
        reasons = {
            f"precision {spec.precision} has no kernel in OpenVINO on a CPU": spec.precision not in _COMPUTE,
            f"KV cache {spec.kv_cache_dtype} is refused by OpenVINO on a CPU": spec.kv_cache_dtype
            not in (*_KV, KvDtype.AUTO),
            "an fp32 KV cache needs fp32 compute": spec.kv_cache_dtype is KvDtype.FP32
            and spec.precision is Precision.BF16,
            "OpenVINO on a CPU runs on one device: tp and pp must be 1": (spec.tp, spec.pp) != (1, 1),
            "CUDA graphs need an NVIDIA GPU": bool(spec.cuda_graphs),
            "the overlap scheduler is TensorRT-LLM's": spec.overlap_scheduler is not None,
            "context FMHA and input padding are TensorRT-LLM's": (spec.context_fmha, spec.remove_input_padding)
            != (None, None),
            "static batching has a contiguous KV cache: set paged_kv: false": spec.batching is Batching.STATIC
            and spec.paged_kv,
            "speculative decoding needs in-flight batching": spec.batching is Batching.STATIC
            and spec.speculative is not None,
            "in-flight batching needs the paged KV cache": spec.batching is Batching.INFLIGHT and not spec.paged_kv,
        }
        if refused := next((reason for reason, is_so in reasons.items() if is_so), None):
            return Support(refused)
        if find_spec("openvino_genai") is None:
            return Support("openvino-genai is not installed: pip install 'pytest-perfgate[embedded]'", is_missing=True)
        return Support()

    def prepare(self, spec: EngineSpec, device: Device, into: Path) -> Prepared:  # noqa: ARG002
        phases = Phases()
        with phases("import"):
            import nncf  # noqa: F401 - heavy, its time is a phase of its own
            import openvino  # noqa: F401
        _write_ir(spec.model, spec, into / "target", phases)
        if draft := _draft_folder(spec):
            _write_ir(draft, spec, into / "draft", phases)
        with phases("compile"), self.load(spec, into, Plant()) as engine:
            try_out(engine)
        return Prepared(into, phases.seconds)

    @contextmanager
    def load(self, spec: EngineSpec, prepared: Path, plant: Plant) -> Iterator[Engine]:
        with _clear_errors(f"cannot load '{spec.name}'"):
            engine = _load(spec, prepared, plant)
        yield engine


def _draft_folder(spec: EngineSpec) -> Path | None:
    return spec.speculative.model if spec.speculative else None


@contextmanager
def _clear_errors(what: str) -> Iterator[None]:
    """The library's errors as ours, one line each."""
    try:
        yield
    except RuntimeError as exc:
        raise EngineError(f"OpenVINO {what}: {first_line(exc)}") from exc


# ------------------------------------------------------------------ preparing


def _write_ir(checkpoint: Path, spec: EngineSpec, into: Path, phases: Phases) -> None:
    """The checkpoint as IR of the spec's weight precision; the tokenizer is the target's, also for a draft."""
    import openvino

    into.mkdir(parents=True)
    with phases(f"read {into.name}"):
        model = read_checkpoint(checkpoint)
    with phases(f"quantise {into.name}"):
        model = compressed(model, spec, spec.model, into.parent)
    with phases(f"save {into.name}"):
        openvino.save_model(model, into / "openvino_model.xml", compress_to_fp16=False)
        for source in [*(spec.model / name for name in _TOKENIZER_FILES), checkpoint / "config.json"]:
            _copy(source, into)


def read_checkpoint(folder: Path) -> Any:
    """The model of a checkpoint folder that holds `openvino_model.xml`.

    Its constants lie in `model.safetensors`, followed by `openvino_constants.bin`: one copy of
    the weights serves HuggingFace and OpenVINO. A plain IR with its .bin is read too.

    Raises:
        ModelError: a file is missing or damaged.
    """
    import openvino

    xml, weights, rest = (
        folder / name for name in ("openvino_model.xml", "model.safetensors", "openvino_constants.bin")
    )
    try:
        if (folder / "openvino_model.bin").exists():
            return openvino.Core().read_model(xml)
        return openvino.Core().read_model(model=xml.read_bytes(), weights=weights.read_bytes() + rest.read_bytes())
    except OSError as exc:
        raise ModelError(f"the checkpoint {folder} lacks {exc.filename}; scripts/export_openvino.py makes it") from exc
    except RuntimeError as exc:
        raise ModelError(f"the checkpoint {folder} is damaged: {first_line(exc)}") from exc


def _copy(source: Path, into: Path) -> None:
    try:
        shutil.copyfile(source, into / source.name)
    except OSError as exc:
        raise ModelError(f"the checkpoint lacks {source}; scripts/export_openvino.py makes it") from exc


# ------------------------------------------------------------------ loading


def _properties(spec: EngineSpec) -> dict[str, Any]:
    out: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _COMPUTE[spec.precision]}
    if spec.kv_cache_dtype in _KV:
        out["KV_CACHE_PRECISION"] = _KV[spec.kv_cache_dtype]
    return out | dict(spec.engine_args)


def _load(spec: EngineSpec, prepared: Path, plant: Plant) -> Engine:
    import openvino_genai as genai

    properties = _properties(spec)
    base = _Base(spec, prepared, properties, plant, genai.Tokenizer(str(prepared / "target")))
    if spec.batching is Batching.STATIC:
        return StaticEngine(base)
    drafting: dict[str, Any] = {}
    if _draft_folder(spec):
        drafting["draft_model"] = genai.draft_model(str(prepared / "draft"), "CPU", **properties)
    if spec.speculative and spec.speculative.method is Drafting.NGRAM:
        drafting["prompt_lookup"] = True
    target, scheduler = str(prepared / "target"), _scheduler(spec)
    return InflightEngine(base, genai.ContinuousBatchingPipeline(target, scheduler, "CPU", properties | drafting))


def _scheduler(spec: EngineSpec) -> Any:
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1
    scheduler.max_num_seqs = spec.max_batch_size
    scheduler.max_num_batched_tokens = spec.max_num_tokens
    scheduler.enable_prefix_caching = spec.prefix_caching
    scheduler.dynamic_split_fuse = spec.chunked_prefill
    return scheduler


@dataclass(frozen=True, slots=True)
class _Base:
    """What both engines share."""

    spec: EngineSpec
    prepared: Path
    properties: Mapping[str, Any]
    plant: Plant
    tokenizer: Any

    def encode(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text, add_special_tokens=False).input_ids.data
        return [int(token) for token in ids[0]]


class _Stateful:
    """The target model as plain inference: token ids in, logits out, KV cache inside."""

    def __init__(self, base: _Base) -> None:
        import openvino

        core = openvino.Core()
        # Read, then compile: a blob compiled by path is cached under that path and lost when the entry moves.
        model = core.read_model(base.prepared / "target" / "openvino_model.xml")
        properties = {**base.properties, "CACHE_DIR": str(base.prepared / "compiled")}
        self._request = core.compile_model(model, "CPU", properties).create_infer_request()
        self._inputs = {name for port in self._request.model_inputs for name in port.get_names()}

    def reset(self) -> None:
        self._request.reset_state()

    def infer(self, ids: NDArray[np.int64], start: int) -> NDArray[np.float32]:
        """Logits [batch, n, vocabulary] of ids [batch, n] at positions start..start+n; valid until the next call."""
        batch, end = len(ids), start + ids.shape[1]
        given = {
            "input_ids": ids,
            "attention_mask": np.ones((batch, end), dtype=np.int64),
            "position_ids": np.broadcast_to(np.arange(start, end, dtype=np.int64), ids.shape),
            "beam_idx": np.arange(batch, dtype=np.int32),
        }
        with _clear_errors("failed at an inference"):
            self._request.infer({name: value for name, value in given.items() if name in self._inputs})
        return np.asarray(self._request.get_tensor("logits").data)


class _Scoring:
    """Tokenizing, and scoring on the target model's own logits; the model is compiled when first asked for."""

    def __init__(self, base: _Base) -> None:
        self._base = base
        self._random = np.random.default_rng(20)
        self._stateful: _Stateful | None = None

    @property
    def _model(self) -> _Stateful:
        self._stateful = self._stateful or _Stateful(self._base)
        return self._stateful

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        return self._base.encode(text)

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float64]:
        """Natural-log probability of each token but the first."""
        plant, random = self._base.plant, self._random
        chunks = [log_probs(logits, targets, plant, random) for logits, targets in self._chunks(token_ids)]
        return np.concatenate(chunks) if chunks else np.zeros(0)

    def score_top(self, token_ids: Sequence[int], count: int, top: int) -> Scored:
        """The same of the last tokens, with the likeliest beside each."""
        plant, random, left, parts = self._base.plant, self._random, len(token_ids) - 1, []
        for logits, targets in self._chunks(token_ids):
            wanted = min(len(targets), max(count - left + len(targets), 0))  # of this chunk's last
            left -= len(targets)
            if wanted:
                parts.append(scored(logits[-wanted:], targets[-wanted:], top, plant, random))
        return joined(parts)

    def _chunks(self, token_ids: Sequence[int]) -> Iterator[tuple[NDArray[np.float32], list[int]]]:
        """Logits [n, vocabulary] and the tokens that follow; valid until the next chunk."""
        self._model.reset()
        ids = np.asarray(token_ids, dtype=np.int64)
        for start in range(0, len(ids) - 1, _SCORE_CHUNK):
            end = min(start + _SCORE_CHUNK, len(ids) - 1)
            yield self._model.infer(ids[None, start:end], start)[0], ids[start + 1 : end + 1].tolist()


def _generation_config(spec: EngineSpec, tokens: int) -> Any:
    import openvino_genai as genai

    config = genai.GenerationConfig()
    config.max_new_tokens = config.min_new_tokens = tokens
    config.ignore_eos = True
    config.do_sample = False
    if spec.speculative:
        config.num_assistant_tokens = spec.speculative.draft_len
        if spec.speculative.method is Drafting.NGRAM:
            config.max_ngram_size = 3
    return config


@dataclass(slots=True)
class _Running:
    """A request inside the pipeline."""

    handle: Any
    asked: int
    got: int = 0

    def read(self) -> tuple[int, ...]:
        """Tokens that came since the last look."""
        if not self.handle.can_read():
            return ()
        new = tuple(token for output in self.handle.read().values() for token in output.generated_ids)
        self.got += len(new)
        return new


class InflightEngine(_Scoring):
    """In-flight batching on the paged KV cache, driven step by step."""

    def __init__(self, base: _Base, pipeline: Any) -> None:
        super().__init__(base)
        self._pipeline = pipeline
        self._next_id = 0

    def generate(self, requests: Sequence[Request], concurrency: int) -> Iterator[TokenEvent]:
        """Closed loop: a request joins at the step after another one ended."""
        ready = {request.id: self._input(request) for request in requests}  # made before anything is timed
        return self._run(ClosedLoop(requests), concurrency, lambda request: ready[request.id])

    def generate_live(self, source: Source, concurrency: int) -> Iterator[TokenEvent]:
        """A request joins at the first step that begins after it came, where a place is free."""
        return self._run(source, concurrency, self._input)

    def _input(self, request: Request) -> tuple[Any, Any]:
        """What the pipeline takes: the prompt's tensor and the generation's configuration."""
        import openvino

        prompt = np.asarray([request.prompt], dtype=np.int64)
        return openvino.Tensor(prompt), _generation_config(self._base.spec, request.output_len)

    def _run(
        self, source: Source, concurrency: int, input_of: Callable[[Request], tuple[Any, Any]]
    ) -> Iterator[TokenEvent]:
        running: dict[int, _Running] = {}
        while (joining := source.join(concurrency - len(running), is_idle=not running)) is not None or running:
            for name in source.left():
                if one := running.pop(name, None):
                    one.handle.cancel()
            for request in joining or ():
                yield TokenEvent(request.id, time.perf_counter_ns(), 0)
                handle = self._pipeline.add_request(self._next_id, *input_of(request))
                running[request.id] = _Running(handle, request.output_len)
                self._next_id += 1
            if running:
                yield from self._step(running)

    def _step(self, running: dict[int, _Running]) -> Iterator[TokenEvent]:
        """One step of the engine, and what every request got from it."""
        decoding = any(one.got for one in running.values())
        begin_ns = time.perf_counter_ns()
        with _clear_errors("failed at a step"):
            self._pipeline.step()
        if self._base.plant.decode > 1 and decoding:
            wait_after(time.perf_counter_ns() - begin_ns, self._base.plant)
        now_ns = time.perf_counter_ns()
        for name, one in list(running.items()):
            new = one.read()
            if one.got >= one.asked:
                del running[name]
            if new:
                yield TokenEvent(name, now_ns, len(new), new)

    def stats(self) -> EngineStats:
        return EngineStats(is_speculative=self._base.spec.speculative is not None)


class StaticEngine(_Scoring):
    """Static batching: a batch of equally long prompts starts and ends together."""

    def __init__(self, base: _Base) -> None:
        super().__init__(base)
        self._model.reset()

    def generate(self, requests: Sequence[Request], concurrency: int) -> Iterator[TokenEvent]:
        """Batches of `concurrency` requests, one after the other.

        Raises:
            EngineError: prompts of a batch differ in length, which static batching would have to pad.
        """
        for start in range(0, len(requests), concurrency):
            yield from self._batch(requests[start : start + concurrency])

    def _batch(self, batch: Sequence[Request]) -> Iterator[TokenEvent]:
        check_one_length(batch)
        due_ns = time.perf_counter_ns()
        yield from (TokenEvent(request.id, due_ns, 0) for request in batch)
        self._model.reset()
        ids = np.asarray([request.prompt for request in batch], dtype=np.int64)
        position = 0
        for step in range(batch[0].output_len):
            begin_ns = time.perf_counter_ns()
            logits = self._model.infer(ids, position)
            position += ids.shape[1]
            ids = logits[:, -1].argmax(axis=-1, keepdims=True).astype(np.int64)
            if step and self._base.plant.decode > 1:
                wait_after(time.perf_counter_ns() - begin_ns, self._base.plant)
            now_ns = time.perf_counter_ns()
            pairs = zip(batch, ids[:, 0].tolist(), strict=True)
            yield from (TokenEvent(request.id, now_ns, 1, (token,)) for request, token in pairs)

    def stats(self) -> EngineStats:
        return EngineStats()
