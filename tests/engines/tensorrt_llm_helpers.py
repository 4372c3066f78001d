"""Models for TensorRT-LLM's doubles, and preparing and measuring with a double in real child processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doubles.tensorrt_llm_double import Double
from perfgate.builder import BuildJob, prepare
from perfgate.case import EngineSpec, LatencyWork, PerplexityWork
from perfgate.device import Device
from perfgate.engines.cache import Found
from perfgate.plant import Plant
from perfgate.process import Interpreter
from perfgate.record import Round, Side, decode, encode
from perfgate.turns import Launch, run_in_turns
from perfgate.worker import Job

H200 = Device("sm_90/h200-141gb", "NVIDIA H200", "580.1")
A100 = Device("sm_80/a100-80gb", "NVIDIA A100", "580.1")
T4 = Device("sm_75/t4-16gb", "Tesla T4", "580.1")
CPU = Device("cpu/x86_64-avx512", "a CPU")
SRC = Path(__file__).resolve().parents[2] / "src"


def hf_model(folder: Path, quant_algo: str | None = None) -> Path:
    """A HuggingFace checkpoint as far as the doubles read one."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "vocab_size": 257}))
    (folder / "tokenizer.json").write_text("{}")
    if quant_algo:
        told = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": quant_algo}}
        (folder / "hf_quant_config.json").write_text(json.dumps(told))
    return folder


def converted_model(folder: Path, *, tp: int = 1, **quantisation: str) -> Path:
    """A checkpoint for trtllm-build."""
    folder.mkdir(parents=True)
    mapping = {"world_size": tp, "tp_size": tp, "pp_size": 1}
    told = {
        "architecture": "LlamaForCausalLM",
        "dtype": "bfloat16",
        "mapping": mapping,
        "quantization": quantisation,
    }
    (folder / "config.json").write_text(json.dumps(told))
    (folder / "rank0.safetensors").write_text("weights")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def texts(path: Path, count: int = 4) -> Path:
    lines = [json.dumps({"id": f"d{index}", "text": "def f(x): return x " * 8 + str(index)}) for index in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass(frozen=True, slots=True)
class Bench:
    """A double, a folder to work in, and one that tests share: its model, and engines prepared from it once."""

    double: Double
    folder: Path
    common: Path
    known: dict[EngineSpec, Found]

    @property
    def model(self) -> Path:
        """The shared HuggingFace checkpoint."""
        folder = self.common / "model"
        return folder if folder.exists() else hf_model(folder)

    @property
    def interpreter(self) -> Interpreter:
        return Interpreter(Path(sys.executable), (str(SRC), str(self.double.site)))

    def prepared(self, spec: EngineSpec, device: Device = H200) -> Found:
        """The engine from the cache, prepared in a child process where it is not there."""
        is_shared = spec.model == self.common / "model"
        if not is_shared or spec not in self.known:
            cache = (self.common if is_shared else self.folder) / "cache"
            self.known[spec] = prepare(BuildJob(spec, device, cache, interpreter=self.interpreter), self.folder / "run")
        return self.known[spec]

    def measured(self, spec: EngineSpec, found: Found, plant: Plant | None = None, **works: Any) -> Round:
        """A round in a child process."""
        job = Job(spec, found.folder, Side.CANDIDATE, 0, 60.0, plant=plant or Plant(), **works)
        files = [self.folder / name for name in ("job.json", "round.json", "round.log")]
        files[0].write_bytes(encode(job))
        launch = Launch("perfgate.worker", (str(files[0]), str(files[1])), files[2], self.interpreter)
        run_in_turns([launch], 60.0)
        return decode(files[1].read_bytes(), Round, files[1])

    def latency(self, **changes: Any) -> LatencyWork:
        plain = {"input_len": 8, "output_len": 12, "concurrency": 2, "requests": 16, "warmup_requests": 2} | changes
        return LatencyWork("b", texts(self.folder / "texts.jsonl"), **plain)

    def perplexity(self) -> PerplexityWork:
        return PerplexityWork("text", texts(self.folder / "texts.jsonl"), window=64, stride=32)

    def python(self, script: str, *args: str | Path, **variables: str) -> Mapping[str, Any]:
        """The JSON that a script prints last, run with the double on its paths."""
        ended = subprocess.run(
            [sys.executable, "-c", script, *map(str, args)],
            env=self.double.variables(SRC, **variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        plain: Mapping[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return plain
