"""HuggingFace transformers on PyTorch: the comparator of the compiled engines, on CPUs and NVIDIA GPUs.

Preparing copies the checkpoint's files into the cache entry and sees that they load. Nothing is compiled;
weights are quantised by torchao at every load, so load_s holds it and engine_bytes is the checkpoint's
size at every precision. Generation is a greedy loop of our own over a contiguous KV cache (static
batching), so that every token can be stamped when the host has it.
"""

from __future__ import annotations

import gc
import inspect
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfgate.case import Batching, EngineSpec, KvDtype, Precision, WorkKind
from perfgate.device import Device
from perfgate.engines.base import (
    Engine,
    EngineStats,
    Prepared,
    Request,
    Support,
    TokenEvent,
    check_one_length,
    first_line,
    log_probs,
    wait_after,
)
from perfgate.engines.cache import Phases
from perfgate.errors import EngineError, ModelError
from perfgate.plant import Plant

_PACKAGES = ("transformers", "torch", "safetensors", "tokenizers", "torchao")
_TORCH_NAMES = {Precision.FP32: "float32", Precision.FP16: "float16", Precision.BF16: "bfloat16"}
_QUANTISED = (Precision.INT8_WO, Precision.INT4_WO)
_BF16_SM = 80  # the first architecture that multiplies bf16
_GROUP = 32  # int4: weights that share a scale
_SCORE_CHUNK = 64  # tokens fed at once when scoring, so that later ones read the KV cache
_ATTENTION = ("sdpa", "eager")  # others fetch kernels or need packages of their own
_WEIGHTS = "model*.safetensors"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")  # one of these must be there
_FILES = (
    *("config.json", _WEIGHTS, "model.safetensors.index.json", *_TOKENIZERS),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
)
_DEVICE_FILE = "perfgate-device"  # "cpu" or "cuda": a loader does not choose again
_LOCAL: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}


class Transformers:
    """The backend `transformers`."""

    name = "transformers"
    kinds = frozenset(WorkKind)

    def versions(self) -> Mapping[str, str]:
        """Versions of the packages that are installed."""
        found = {package: _version(package) for package in _PACKAGES}
        return {package: version for package, version in found.items() if version}

    def support(self, spec: EngineSpec, device: Device) -> Support:
        """Everything this backend cannot do, in words."""
        reasons = _lacking(spec, device) | _refused_numbers(spec, device) | _refused_features(spec)
        return Support(next((reason for reason, is_so in reasons.items() if is_so), None))

    def prepare(self, spec: EngineSpec, device: Device, into: Path) -> Prepared:
        phases = Phases()
        with phases("copy"):
            _copy_checkpoint(spec.model, into)
            (into / _DEVICE_FILE).write_text("cuda" if device.is_gpu else "cpu")
        with _loaded(spec, into, Plant(), phases) as engine, phases("try"):
            words = engine.encode("def main():")
            list(engine.generate([Request(0, tuple(words), 4)], 1))
            engine.score(words)
        return Prepared(into, phases.seconds)

    @contextmanager
    def load(self, spec: EngineSpec, prepared: Path, plant: Plant) -> Iterator[Engine]:
        with _loaded(spec, prepared, plant, Phases()) as engine:
            yield engine


# ------------------------------------------------------------------ what is supported


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _lacking(spec: EngineSpec, device: Device) -> dict[str, bool]:
    """Packages that the spec needs."""
    extra = "pip install 'pytest-perfgate[transformers]'"
    return {
        f"transformers is not installed: {extra}": _version("transformers") is None,
        f"torch is not installed: {extra}": _version("torch") is None,
        "torch is a build for CPUs (+cpu): install one for CUDA, see https://pytorch.org/get-started/locally": (
            device.is_gpu and "+cpu" in (_version("torch") or "")
        ),
        f"{spec.precision} weights are made by torchao, which is not installed: pip install torchao": (
            spec.precision in _QUANTISED and _version("torchao") is None
        ),
    }


def _refused_numbers(spec: EngineSpec, device: Device) -> dict[str, bool]:
    """Precisions, of weights, compute and the KV cache."""
    compute = _compute(spec.precision, is_gpu=device.is_gpu)
    allowed = ", ".join((*_TORCH_NAMES, *_QUANTISED))
    return {
        f"precision {spec.precision} is not made by this backend; it has {allowed}": (
            spec.precision not in (*_TORCH_NAMES, *_QUANTISED)
        ),
        "fp16 is for GPUs here: on a CPU set precision to fp32 or bf16": (
            spec.precision is Precision.FP16 and not device.is_gpu
        ),
        f"{spec.precision} computes in bf16, which needs sm_80 or newer; this is {device.key}": (
            device.is_gpu and compute is Precision.BF16 and _sm(device) < _BF16_SM
        ),
        f"KV cache {spec.kv_cache_dtype}: transformers keeps it in the compute precision; set auto or {compute}": (
            spec.kv_cache_dtype not in (KvDtype.AUTO, KvDtype(compute))
        ),
    }


def _refused_features(spec: EngineSpec) -> dict[str, bool]:
    """Techniques that this backend does not have."""
    return {
        "in-flight batching is not in this backend: set batching: static, paged_kv: false": (
            spec.batching is Batching.INFLIGHT
        ),
        "static batching has a contiguous KV cache: set paged_kv: false": spec.paged_kv,
        "prefix caching is not in this backend: set prefix_caching: false": spec.prefix_caching,
        "chunked prefill is not in this backend: set chunked_prefill: false": spec.chunked_prefill,
        "speculative decoding is not in this backend: leave speculative out": spec.speculative is not None,
        "this backend runs on one device: tp and pp must be 1": (spec.tp, spec.pp) != (1, 1),
        "CUDA graphs are not in this backend, which runs eagerly: leave cuda_graphs out": bool(spec.cuda_graphs),
        "the overlap scheduler is TensorRT-LLM's": spec.overlap_scheduler is not None,
        "context FMHA and input padding are TensorRT-LLM's": (spec.context_fmha, spec.remove_input_padding)
        != (None, None),
    } | {
        f"engine_args {name}: {value} is not taken by this backend; it takes num_threads (1 or more) and "
        f"attn_implementation ({', '.join(_ATTENTION)})": not _is_allowed(name, value)
        for name, value in spec.engine_args
    }


def _is_allowed(name: str, value: object) -> bool:
    match name:
        case "num_threads":
            return isinstance(value, int) and not isinstance(value, bool) and value >= 1
        case "attn_implementation":
            return value in _ATTENTION
        case _:
            return False


def _compute(precision: Precision, *, is_gpu: bool) -> Precision:
    """What activations and the KV cache are in: fp32 on a CPU and bf16 on a GPU where only weights are named."""
    if precision in _TORCH_NAMES:
        return precision
    return Precision.BF16 if is_gpu else Precision.FP32  # torchao's int4 kernels on CUDA take bf16 only (0.18)


def _sm(device: Device) -> int:
    """90 of 'sm_90/h200-141gb'."""
    return int(device.key.partition("/")[0].removeprefix("sm_"))


# ------------------------------------------------------------------ preparing


def _copy_checkpoint(folder: Path, into: Path) -> None:
    """The files that loading reads; never code, pickles or files of other engines.

    Copies, not links: the entry outlives a change of the checkpoint, and damage to one spares the other.

    Raises:
        ModelError: there is no configuration, weight or tokenizer file, or one cannot be read.
    """
    files = [path for pattern in _FILES for path in sorted(folder.glob(pattern)) if path.is_file()]
    for patterns in (("config.json",), (_WEIGHTS,), _TOKENIZERS):
        if not any(path.match(pattern) for path in files for pattern in patterns):
            raise ModelError(f"the checkpoint {folder} lacks {' or '.join(patterns)}")
    for path in files:
        try:
            shutil.copyfile(path, into / path.name)
        except OSError as exc:
            raise ModelError(f"the checkpoint file {path} cannot be copied to {into}: {exc.strerror}") from exc


# ------------------------------------------------------------------ loading


@contextmanager
def _loaded(spec: EngineSpec, prepared: Path, plant: Plant, phases: Phases) -> Iterator[StaticEngine]:
    """The engine, on the device it was prepared for; leaving frees its memory, whoever still holds the engine."""
    with phases("import"):
        torch = _import_torch(spec)
    device = _device(prepared)
    threads = torch.get_num_threads()
    torch.set_num_threads(int(dict(spec.engine_args).get("num_threads", threads)))
    try:
        with phases("read"), _clear_errors(spec):
            model = _read_model(spec, prepared, device)
            tokenizer = _read_tokenizer(spec, prepared)
        with phases("quantise"), _clear_errors(spec):
            weights = _quantise(model, spec.precision, device)
        engine = StaticEngine(spec, tokenizer, model, plant, weights)
        del model, tokenizer  # the engine's are the only ones, so that it can free them
        try:
            yield engine
        finally:
            engine.free()
    finally:
        torch.set_num_threads(threads)


def _import_torch(spec: EngineSpec) -> Any:
    """Torch, with all that loading needs: its time belongs to no later phase."""
    try:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache  # noqa: F401
        from transformers.utils.logging import disable_progress_bar

        if spec.precision in _QUANTISED:
            import torchao.quantization  # noqa: F401
    except ImportError as exc:
        raise EngineError(f"transformers cannot load '{spec.name}': {first_line(exc)}") from exc
    disable_progress_bar()
    return torch


def _device(prepared: Path) -> str:
    import torch

    try:
        device = (prepared / _DEVICE_FILE).read_text()
    except OSError as exc:
        raise EngineError(f"{prepared} was not prepared by the backend transformers: no {_DEVICE_FILE} in it") from exc
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError(f"the engine in {prepared} is for a GPU, and torch {torch.__version__} finds none")
    return device


@contextmanager
def _clear_errors(spec: EngineSpec) -> Iterator[None]:
    """The libraries' errors as ours, one line each."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, json.JSONDecodeError) as exc:
        raise ModelError(f"the checkpoint {spec.model} is damaged or incomplete: {first_line(exc)}") from exc
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ImportError) as exc:
        raise EngineError(f"transformers cannot load '{spec.name}': {first_line(exc)}") from exc


def _read_model(spec: EngineSpec, folder: Path, device: str) -> Any:
    """The model in its compute precision, not quantised yet."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, **_LOCAL)
    if found := getattr(config, "quantization_config", None):
        method = found.get("quant_method") if isinstance(found, Mapping) else found
        raise EngineError(f"the checkpoint {spec.model} is quantised already ({method}): this backend takes plain ones")
    model, info = AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        dtype=getattr(torch, _TORCH_NAMES[_compute(spec.precision, is_gpu=device == "cuda")]),
        attn_implementation=dict(spec.engine_args).get("attn_implementation"),
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # reported below, with the missing ones
        output_loading_info=True,
        **_LOCAL,
    )
    _check_weights(spec, info)
    return model.to(device).eval()


def _check_weights(spec: EngineSpec, info: Mapping[str, Any]) -> None:
    """The library fills weights that do not fit with random numbers, and warns: here they are an error."""
    faults = [f"lacks the weight {name}" for name in sorted(info["missing_keys"])]
    for name, found, expected in sorted(info["mismatched_keys"]):
        faults.append(f"has the weight {name} as {list(found)}, its config.json asks for {list(expected)}")
    if faults:
        more = f" ({len(faults) - 1} more do not fit)" if len(faults) > 1 else ""
        raise ModelError(f"the checkpoint {spec.model} {faults[0]}{more}")


def _read_tokenizer(spec: EngineSpec, folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, **_LOCAL)
    except Exception as exc:  # the tokenizers library raises no narrower class
        raise ModelError(f"the tokenizer of {spec.model} cannot be read: {first_line(exc)}") from exc


def _quantise(model: Any, precision: Precision, device: str) -> str:
    """Quantise the linear layers but the output head, as transformers does; returns what was seen afterwards.

    Raises:
        EngineError: torchao left every layer as it was.
    """
    import torch

    if precision not in _QUANTISED:
        return str(precision)
    from torchao.quantization import quantize_

    head = model.get_output_embeddings()
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head]
    wanted = {id(layer) for layer in layers}
    quantize_(model, _recipe(precision, device), filter_fn=lambda module, _: id(module) in wanted)
    kinds = {type(layer.weight).__name__ for layer in layers if type(layer.weight) is not torch.nn.Parameter}
    done = sum(type(layer.weight) is not torch.nn.Parameter for layer in layers)
    if not done:
        raise EngineError(f"torchao {_version('torchao')} quantised none of the model's {len(layers)} linear layers")
    return f"{precision} at load by torchao, {done} of {len(layers)} linear layers: {', '.join(sorted(kinds))}"


def _recipe(precision: Precision, device: str) -> Any:
    """Torchao's configuration of a precision.

    On a CPU torchao 0.18 has no packed int4 kernel (each of its packing formats needs CUDA or XPU): the
    weights take int4 values but lie in int8, which costs the quality of int4 without its memory.
    """
    import torch
    from torchao import quantization as ao

    if precision is Precision.INT8_WO:
        return ao.Int8WeightOnlyConfig()
    if device == "cuda":
        return ao.Int4WeightOnlyConfig(group_size=_GROUP, int4_packing_format="tile_packed_to_4d")
    return ao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=ao.PerGroup(_GROUP))


# ------------------------------------------------------------------ running


class StaticEngine:
    """Static batching: a batch of equally long prompts starts and ends together."""

    def __init__(self, spec: EngineSpec, tokenizer: Any, model: Any, plant: Plant, weights: str) -> None:
        import torch
        from transformers import DynamicCache

        self._spec, self._tokenizer, self._model, self._plant = spec, tokenizer, model, plant
        self._torch, self._new_cache = torch, DynamicCache
        self._random = np.random.default_rng(20)
        # Prefill then makes the last position's logits alone; a few older architectures always make all.
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in _parameters(model) else {}
        self._notes = {
            "device": str(model.device),
            "weights": weights,
            "compute": str(model.dtype).removeprefix("torch."),
            "attention": str(model.config._attn_implementation),  # noqa: SLF001 - its only place
            "threads": str(torch.get_num_threads()),
        }

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        return [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False, verbose=False)]

    def generate(self, requests: Sequence[Request], concurrency: int) -> Iterator[TokenEvent]:
        """Batches of `concurrency` requests, one after the other.

        Raises:
            EngineError: prompts of a batch differ in length, which static batching would have to pad;
                or torch could not run the batch.
        """
        with self._clear_errors():
            for start in range(0, len(requests), concurrency):
                yield from self._batch(requests[start : start + concurrency])

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float64]:
        """Natural-log probability of each token but the first.

        Raises:
            EngineError: torch could not run the model.
        """
        with self._clear_errors():
            return np.concatenate([np.zeros(0), *self._score_chunks(token_ids)])

    def stats(self) -> EngineStats:
        """The settings as read back from the loaded model."""
        return EngineStats(notes=self._notes)

    def greedy(self, prompts: Sequence[Sequence[int]], output_len: int) -> Iterator[list[int]]:
        """The next token of each prompt, `output_len` times; EOS is a token like any other.

        Handing the tokens to the host waits for the device: when a step is yielded, its work is done.
        """
        ids = self._torch.tensor([list(prompt) for prompt in prompts], device=self._model.device)
        cache = self._new_cache(config=self._model.config)
        for step in range(output_len):
            begin_ns = time.perf_counter_ns()
            ids = self._forward(ids, cache, self._last_only)[:, -1].argmax(dim=-1, keepdim=True)
            tokens = ids[:, 0].tolist()
            if step and self._plant.decode > 1:
                wait_after(time.perf_counter_ns() - begin_ns, self._plant)
            yield tokens

    def free(self) -> None:
        """Give all memory back but cuBLAS's workspace (32 MiB on an H200); the engine is of no use afterwards."""
        self._model = self._tokenizer = None
        gc.collect()  # modules refer to each other in circles
        if self._torch.cuda.is_initialized():
            self._torch.cuda.empty_cache()

    def _batch(self, batch: Sequence[Request]) -> Iterator[TokenEvent]:
        check_one_length(batch)
        due_ns = time.perf_counter_ns()
        yield from (TokenEvent(request.id, due_ns, 0) for request in batch)
        for _ in self.greedy([request.prompt for request in batch], batch[0].output_len):
            now_ns = time.perf_counter_ns()
            yield from (TokenEvent(request.id, now_ns, 1) for request in batch)

    def _score_chunks(self, token_ids: Sequence[int]) -> Iterator[NDArray[np.float64]]:
        """Log-probabilities of tokens 1..64, 65..128, ..., each chunk reading the KV cache of those before."""
        cache = self._new_cache(config=self._model.config)
        last = len(token_ids) - 1
        for start in range(0, last, _SCORE_CHUNK):
            end = min(start + _SCORE_CHUNK, last)
            ids = self._torch.tensor([list(token_ids[start:end])], device=self._model.device)
            logits = self._forward(ids, cache, {})[0].float().cpu().numpy()
            yield log_probs(logits, [int(token) for token in token_ids[start + 1 : end + 1]], self._plant, self._random)

    def _forward(self, ids: Any, cache: Any, options: Mapping[str, int]) -> Any:
        """Logits of ids [batch, n] behind what the cache holds; entered per call, as the mode is the thread's."""
        with self._torch.inference_mode():
            return self._model(input_ids=ids, past_key_values=cache, use_cache=True, **options).logits

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as exc:
            raise EngineError(f"transformers cannot run '{self._spec.name}': {first_line(exc)}") from exc


def _parameters(model: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(model.forward).parameters
