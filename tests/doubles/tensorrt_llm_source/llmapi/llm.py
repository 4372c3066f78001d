"""The two `LLM` classes: arguments checked in the order of the real ones, then a small runtime."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .._embedded import tokenizer_of, weights_of
from .._runtime import Runtime
from .._tables import HAS_ENGINES, VERSION
from ..sampling_params import SamplingParams
from . import llm_args


class RequestError(RuntimeError):
    pass


class Tokenizer:
    """The checkpoint's own with the embedded engine; else bytes are tokens, and 256 begins a text where asked for."""

    def __init__(self, folder):
        if not (Path(folder) / "tokenizer.json").exists():
            raise OSError(f"Can't load tokenizer for '{folder}'")
        found = weights_of(folder)
        self._own = tokenizer_of(found) if found else None

    def encode(self, text, add_special_tokens=True):
        if self._own:
            return self._own.encode(text, add_special_tokens=add_special_tokens).input_ids.data[0].tolist()
        return ([256] if add_special_tokens else []) + list(text.encode())


class BaseLLM:
    ARGS: type

    def __init__(self, model, tokenizer=None, tokenizer_mode="auto", skip_tokenizer_init=False,
                 trust_remote_code=False, tensor_parallel_size=1, dtype="auto", revision=None,
                 tokenizer_revision=None, **kwargs):
        self._runtime, self._workers = None, []
        for key in kwargs:
            if key not in self.ARGS.FIELDS:
                raise ValueError(f"LLM got invalid argument: {key}")
        self.args = self.ARGS(
            model=model, tokenizer=tokenizer, tokenizer_mode=tokenizer_mode,
            skip_tokenizer_init=skip_tokenizer_init, trust_remote_code=trust_remote_code,
            tensor_parallel_size=tensor_parallel_size, dtype=dtype, revision=revision,
            tokenizer_revision=tokenizer_revision, **kwargs,
        )
        self._start_workers()
        self._build()
        self.tokenizer = None if skip_tokenizer_init else Tokenizer(tokenizer or self.args.model)
        reuse = self.args.kv_cache_config.enable_block_reuse
        if not reuse:
            sys.stderr.write("[TensorRT-LLM] double: block reuse is off\n")
        self._runtime = Runtime(self.args, is_engine=isinstance(self, TrtLLM), folder=self._built_from)

    def _start_workers(self):
        world = self.args.tensor_parallel_size * self.args.pipeline_parallel_size
        gpus = int(os.environ.get("DOUBLE_GPUS", "1"))
        if world > gpus:
            raise RuntimeError(f"Only {gpus} GPUs are available, but {world} are required.")
        if world > 1:  # in sessions of their own, as MPI's are
            command = [sys.executable, "-c", "import time; time.sleep(600)"]
            self._workers = [subprocess.Popen(command, start_new_session=True) for _ in range(world)]

    def generate_async(self, inputs, sampling_params=None, lora_request=None, streaming=False):
        if self._runtime is None:
            raise RuntimeError("LLM is shutting down")
        if not isinstance(inputs, list) or not all(type(token) is int for token in inputs):
            raise TypeError("inputs must be a list of token ids")
        if not isinstance(sampling_params, SamplingParams):
            raise TypeError(f"The sampling_params must be type SamplingParams, but got {type(sampling_params)}")
        self._check_arguments(len(inputs), sampling_params)
        return self._runtime.submit(inputs, sampling_params, streaming)

    def get_stats(self, timeout=2):
        return self._runtime.drain_stats()

    def shutdown(self):
        if self._runtime is not None:
            self._runtime.stop()
            self._runtime = None
        if not os.environ.get("DOUBLE_LEAVES_WORKERS"):
            for worker in self._workers:
                worker.kill()
                worker.wait()
        self._workers = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()


class TorchLLM(BaseLLM):
    ARGS = llm_args.TorchLlmArgs

    def __init__(self, model, *args, **kwargs):
        for key in kwargs:
            if key in self.ARGS.ENGINE_ONLY:
                raise ValueError(
                    f"LLM got invalid argument: {key}"
                    + (": it is of tensorrt_llm._tensorrt_engine.LLM" if HAS_ENGINES else "")
                )
        backend = kwargs.pop("backend", "pytorch")
        if backend not in ("pytorch", "_autodeploy"):
            raise ValueError(f"backend '{backend}' is not supported")
        super().__init__(model, *args, backend=backend, **kwargs)

    @property
    def _built_from(self):
        return self.args.model

    def _build(self):
        config = json.loads((Path(self.args.model) / "config.json").read_text())
        if "architectures" not in config:
            raise ValueError(f"{self.args.model} is no HuggingFace checkpoint")
        path = os.environ.get("TLLM_AUTOTUNER_CACHE_PATH")
        if path and self.args.enable_autotuner:
            known = json.loads(Path(path).read_text()) if Path(path).exists() else {"metadata": {}, "loads": 0}
            known["loads"] += 1  # as the real one, it writes to what it was given
            Path(path).write_text(json.dumps(known))
            sys.stderr.write(f"[TensorRT-LLM] double: autotuner, load {known['loads']}\n")

    def _check_arguments(self, prompt_len, params):
        if not self.args.enable_chunked_prefill and prompt_len > (self.args.max_num_tokens or 8192):
            raise RequestError(
                f"The sum of prompt length ({prompt_len}), query length (0) should not exceed "
                f"max_num_tokens ({self.args.max_num_tokens})"
            )
        if prompt_len + params.max_tokens > self.args.max_seq_len:
            raise RequestError(f"prompt ({prompt_len}) and max_tokens exceed max_seq_len ({self.args.max_seq_len})")
        if params.return_context_logits and self.args.enable_chunked_prefill:
            raise RequestError("context logits with chunked prefill were not verified")


class TrtLLM(BaseLLM):
    ARGS = getattr(llm_args, "TrtLlmArgs", None)

    @property
    def _built_from(self):
        return self._engine_dir

    def _build(self):
        if getattr(self.args.kv_cache_config, "dtype", "auto") != "auto":
            raise ValueError("kv_cache_config.dtype must be 'auto' with the TensorRT backend")
        if type(self.args.speculative_config).__name__ in ("NGramDecodingConfig", "DraftTargetDecodingConfig"):
            raise AssertionError("this decoding is of the PyTorch backend")
        folder = Path(self.args.model)
        config = json.loads((folder / "config.json").read_text())
        if "build_config" in config:
            self._load_engine(folder, config)
        else:
            self._build_engine(config)
        for name in ("max_batch_size", "max_num_tokens"):
            limit = self._built[name]
            if getattr(self.args, name) and getattr(self.args, name) > limit:
                raise ValueError(f"{name} [{getattr(self.args, name)}] is greater than build_config.{name} [{limit}]")

    def _load_engine(self, folder, config):
        if self.args.build_config is not None:
            raise ValueError("the double refuses a build_config beside a built engine (the real one ignores it)")
        mapping = config["pretrained_config"]["mapping"]
        if mapping["tp_size"] != self.args.tensor_parallel_size:
            raise ValueError(f"tp_size {self.args.tensor_parallel_size} is not the engine's {mapping['tp_size']}")
        rank = (folder / "rank0.engine").read_text()
        if not rank.startswith(f"double {VERSION}"):
            raise RuntimeError("The engine plan file is not compatible with this version of TensorRT")
        self._engine_dir, self._built = folder, config["build_config"]

    def _build_engine(self, config):
        if "architectures" not in config:
            raise ValueError(f"{self.args.model} is no HuggingFace checkpoint")
        build, quant = self.args.build_config or llm_args.BuildConfig(), self.args.quant_config
        known = Path(build.input_timing_cache).read_text() if build.input_timing_cache else ""
        Path(build.output_timing_cache).write_text(known + "double timings\n")
        self._built = {name: getattr(build, name) for name in build.FIELDS if name != "plugin_config"}
        self._built["plugin_config"] = vars(build.plugin_config)
        self._folder = tempfile.TemporaryDirectory(suffix="-llm-workspace")
        self._engine_dir = Path(self._folder.name)
        world = self.args.tensor_parallel_size * self.args.pipeline_parallel_size
        pretrained = {
            "architecture": config["architectures"][0],
            "dtype": self.args.dtype if self.args.dtype != "auto" else "bfloat16",
            "mapping": {
                "world_size": world,
                "tp_size": self.args.tensor_parallel_size,
                "pp_size": self.args.pipeline_parallel_size,
            },
            "quantization": {
                "quant_algo": quant.quant_algo.value if quant and quant.quant_algo else None,
                "kv_cache_quant_algo": (
                    quant.kv_cache_quant_algo.value if quant and quant.kv_cache_quant_algo else None
                ),
            },
        }
        told = {"version": VERSION, "pretrained_config": pretrained, "build_config": self._built}
        (self._engine_dir / "config.json").write_text(json.dumps(told))
        found = weights_of(self.args.model)
        weights = f"weights {found.resolve()}\n" if found else ""
        for rank in range(world):
            (self._engine_dir / f"rank{rank}.engine").write_text(f"double {VERSION} rank {rank}\n" * 50 + weights)

    def save(self, engine_dir):
        shutil.copytree(self._engine_dir, engine_dir, dirs_exist_ok=True)

    def _check_arguments(self, prompt_len, params):
        if prompt_len + params.max_tokens > self._built["max_seq_len"]:
            raise ValueError(f"The sum of prompt length ({prompt_len}) and max_tokens should not exceed max_seq_len")
        if params.prompt_logprobs and not self._built["gather_context_logits"]:
            raise ValueError(
                f"`sampling_params's prompt_logprobs={params.prompt_logprobs}` requires "
                "`gather_context_logits=True` in the `BuildConfig` when constructing the LLM."
            )
        params.gathers = self._built["gather_context_logits"]
