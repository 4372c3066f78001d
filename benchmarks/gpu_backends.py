"""vLLM and transformers on a GPU: every technique once, through the ways that a gate takes (builder, worker, server).

    python benchmarks/gpu_backends.py --model vllm=DIR --model torch=DIR --out DIR [--only vllm-fp8] [--list]

Each --model is a checkpoint folder; without weights in it (scripts/llama_shape.py) both make random ones. `tiny` is
the model that ships with perfgate, which both read; its perplexity on a GPU is to be that of the CPU (5.43 in fp32).
Each engine is prepared and measured in processes of its own with a deadline. Figures, what the engines say they ran
with and, where one failed, why, go to DIR/results.jsonl and to the terminal; logs stay in DIR. A second call with
the same DIR finds what was prepared. These are single rounds: no baseline is made of them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from perfgate.builder import BuildJob, prepare
from perfgate.case import (
    Batching,
    BuildWork,
    Drafting,
    EngineSpec,
    KvDtype,
    LatencyWork,
    PerplexityWork,
    Precision,
    Speculation,
)
from perfgate.device import Device, find_device, gpu_key
from perfgate.engines import backend
from perfgate.engines.vllm import Vllm
from perfgate.errors import PerfgateError
from perfgate.plant import Plant
from perfgate.process import Files
from perfgate.record import Round, Side, decode, encode, write_atomic
from perfgate.turns import Launch, run_in_turns
from perfgate.worker import NOTES, Job

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "fixtures" / "models" / "tiny-llama"
TEXT = PerplexityWork("text", ROOT / "fixtures" / "prompts" / "held-out.jsonl")
SHOWN = (
    "ttft_p50",
    "itl_p50",
    "output_tokens_per_s",
    "acceptance_len",
    "perplexity",
    "load_s",
    "peak_gpu_memory_bytes",
)
OLD_RUNNER = {"VLLM_USE_V2_MODEL_RUNNER": "0"}  # which n-gram speculation runs on; its reference must too


@dataclass(frozen=True, slots=True)
class Trial:
    """An engine and what is asked of it."""

    spec: EngineSpec
    latency: tuple[LatencyWork, ...] = ()
    text: PerplexityWork | None = None
    plant: Plant = field(default_factory=Plant)
    variables: Mapping[str, str] = field(default_factory=dict)
    is_served: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial; fault is None where all went well."""

    name: str
    seconds: float
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # case -> metric -> value
    phases: Mapping[str, float] = field(default_factory=dict)
    notes: str = ""
    fault: str | None = None


# ------------------------------------------------------------------ what is tried


def trials(models: Mapping[str, Path], out: Path) -> Iterator[Trial]:
    """All of them; prompts and a short text are written to `out`."""
    prompts, shared = write_prompts(out / "prompts.jsonl", 0), write_prompts(out / "shared.jsonl", 64)
    text = PerplexityWork("text", out / "text.jsonl")
    text.text.write_text("".join(TEXT.text.read_text().splitlines(keepends=True)[:4]))
    yield from _tiny()
    if "vllm" in models:
        yield from _vllm(models["vllm"], prompts, shared, text)
    if "torch" in models:
        yield from _torch(models["torch"], prompts, text)


def _load(prompts: Path, *streams: int, output_len: int = 128) -> tuple[LatencyWork, ...]:
    """Prompts of 512 tokens at these concurrencies, four rounds of requests each."""
    return tuple(LatencyWork(f"b{n}", prompts, 512, output_len, n, max(8, 4 * n), warmup_requests=n) for n in streams)


def _tiny() -> Iterator[Trial]:
    for precision in (Precision.BF16, Precision.FP16):
        base = EngineSpec(f"torch-tiny-{precision}", TINY, "transformers", precision)
        yield Trial(replace(base, batching=Batching.STATIC, paged_kv=False), text=TEXT)
        small = (("gpu_memory_utilization", 0.3),)
        yield Trial(replace(base, name=f"vllm-tiny-{precision}", backend="vllm", engine_args=small), text=TEXT)


def _vllm(model: Path, prompts: Path, shared: Path, text: PerplexityWork) -> Iterator[Trial]:
    base = EngineSpec(
        "vllm-bf16",
        model,
        "vllm",
        Precision.BF16,
        max_batch_size=64,
        max_num_tokens=8192,
        max_seq_len=2048,
        engine_args=(("load_format", "dummy"), ("gpu_memory_utilization", 0.8)),
    )
    ngram = replace(base, speculative=Speculation(Drafting.NGRAM, 4), overlap_scheduler=False)
    one, some, many = _load(prompts, 1), _load(prompts, 8), _load(prompts, 64)
    yield Trial(base, (*one, *some, *many), text=text)
    yield Trial(replace(base, name="vllm-bf16-slow20"), some, plant=Plant(decode=1.2))
    yield Trial(replace(base, name="vllm-no-graphs", cuda_graphs=False), (*one, *some))
    yield Trial(replace(base, name="vllm-fp8", precision=Precision.FP8), (*one, *some, *many))
    yield Trial(replace(base, name="vllm-kv-fp8", kv_cache_dtype=KvDtype.FP8), many)
    yield Trial(replace(base, name="vllm-no-overlap", overlap_scheduler=False), (*one, *some))
    yield Trial(replace(base, name="vllm-chunked", chunked_prefill=True, max_num_tokens=1024), many)
    yield Trial(replace(base, name="vllm-prefix-off"), _load(shared, 8))
    yield Trial(replace(base, name="vllm-prefix-on", prefix_caching=True), _load(shared, 8))
    yield Trial(replace(base, name="vllm-old-runner", overlap_scheduler=False), one, variables=OLD_RUNNER)
    yield Trial(replace(ngram, name="vllm-ngram"), one, variables=OLD_RUNNER)
    synthetic = (
        ("speculative_config.rejection_sample_method", "synthetic"),
        ("speculative_config.synthetic_acceptance_length", 2.5),
    )
    yield Trial(
        replace(ngram, name="vllm-ngram-synthetic", engine_args=(*base.engine_args, *synthetic)),
        one,
        variables=OLD_RUNNER,
    )
    yield Trial(replace(base, name="vllm-serve"), is_served=True)


def _torch(model: Path, prompts: Path, text: PerplexityWork) -> Iterator[Trial]:
    static = EngineSpec(
        "torch-eager",
        model,
        "transformers",
        Precision.BF16,
        batching=Batching.STATIC,
        paged_kv=False,
        max_batch_size=64,
        max_num_tokens=8192,
        max_seq_len=1024,
        engine_args=() if any(model.glob("*.safetensors")) else (("load_format", "dummy"),),
    )
    inflight = replace(static, batching=Batching.INFLIGHT, paged_kv=True, chunked_prefill=True)
    one, some, many = (_load(prompts, n, output_len=64) for n in (1, 8, 64))
    yield Trial(static, (*one, *some), text=text)
    yield Trial(replace(static, name="torch-graphs", cuda_graphs=True), (*one, *some), text=text)
    yield Trial(replace(static, name="torch-compiled", engine_args=(*static.engine_args, ("torch_compile", True))), one)
    yield Trial(replace(inflight, name="torch-continuous"), (*some, *many))
    yield Trial(replace(inflight, name="torch-continuous-graphs", cuda_graphs=True), (*some, *many))
    yield Trial(replace(inflight, name="torch-continuous-ahead", overlap_scheduler=True), some)
    yield Trial(replace(inflight, name="torch-prefix", prefix_caching=True), some)
    yield Trial(replace(static, name="torch-ngram", max_batch_size=1, speculative=Speculation(Drafting.NGRAM, 4)), one)
    for precision in (Precision.INT8_WO, Precision.INT4_WO, Precision.FP8):
        yield Trial(replace(static, name=f"torch-{precision}", precision=precision), one, text=text)


# ------------------------------------------------------------------ how it is tried


def attempt(trial: Trial, device: Device, out: Path, timeout_s: float) -> Outcome:
    """Prepare an engine and measure it; whatever goes wrong is the outcome's fault."""
    name, begin = trial.spec.name, time.monotonic()
    before = {key: os.environ.get(key) for key in trial.variables}
    os.environ.update(trial.variables)
    try:
        support = backend(trial.spec.backend).support(trial.spec, device)
        if support.reason:
            return Outcome(name, 0.0, fault=f"not supported: {support.reason}")
        found = prepare(BuildJob(trial.spec, device, out / "engines"), out)
        if trial.is_served:
            notes = _served(trial, found.folder, out)
            return Outcome(name, time.monotonic() - begin, phases=found.entry.phases, notes=notes)
        made = _measured(trial, found.folder, out, timeout_s)
        return replace(made, seconds=time.monotonic() - begin, phases=found.entry.phases)
    except (PerfgateError, OSError, ValueError) as exc:
        return Outcome(name, time.monotonic() - begin, fault=str(exc))
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def _measured(trial: Trial, prepared: Path, out: Path, timeout_s: float) -> Outcome:
    spec = trial.spec
    texts = (trial.text,) if trial.text else ()
    job = Job(spec, prepared, Side.CANDIDATE, 0, timeout_s, (BuildWork("build"),), trial.latency, texts, trial.plant)
    files = Files.of(out, f"round-{spec.name}")
    write_atomic(files.job, encode(job))
    (ended,) = run_in_turns([Launch("perfgate.worker", files.args, files.log)], timeout_s + 30)
    if not files.result.exists():
        return Outcome(spec.name, 0.0, fault=f"ended with code {ended.code}: {ended.last_words} (log: {ended.log})")
    made = decode(files.result.read_bytes(), Round, files.result)
    faults = [fault for case in made.cases for fault in case.faults]
    told = [line for line in files.log.read_text(errors="replace").splitlines() if line.startswith(NOTES)]
    return Outcome(
        spec.name,
        0.0,
        {case.case: dict(case.values) for case in made.cases},
        notes="".join(told).removeprefix(NOTES),
        fault=made.fault or "; ".join(faults) or None,
    )


def _served(trial: Trial, prepared: Path, out: Path) -> str:
    """What the server said of itself, and that it answers."""
    with Vllm().serve(trial.spec, prepared, Plant(), out / "serve") as server:
        facts = server.facts
        asked = {"model": facts.model, "prompt": [1, 2, 3], "max_tokens": 4, "ignore_eos": True}
        request = urllib.request.Request(  # noqa: S310 - our own server on loopback
            f"{server.url}/v1/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            tokens = json.loads(answer.read())["usage"]["completion_tokens"]
    return f"version {facts.version}, ready after {facts.ready_s:.0f} s, {tokens} tokens of 4"


def gpu() -> Device:
    """This machine's GPU; asked of torch, in a child, where NVML's bindings are not installed."""
    if (found := find_device()).is_gpu:
        return found
    code = (
        "import torch; found = torch.cuda.get_device_properties(0); "
        "print(found.name, found.major, found.minor, found.total_memory, sep='|')"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    name, major, minor, memory = said.strip().splitlines()[-1].split("|")
    return Device(gpu_key(name, int(major), int(minor), int(memory)), name)


def write_prompts(path: Path, shared_words: int) -> Path:
    """64 texts of 4,000 letters and more, the first `shared_words` words the same in all."""
    draw = random.Random(7)  # noqa: S311
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(5000)]
    head = draw.choices(words, k=shared_words)
    texts = [" ".join([*head, *draw.choices(words, k=600)]) for _ in range(64)]
    lines = [json.dumps({"id": f"text-{index}", "text": text}) for index, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n")
    return path


def shown(outcome: Outcome) -> str:
    """A few lines for people."""
    lines = [f"{outcome.name}: {outcome.seconds:.0f} s{'' if outcome.fault is None else ', FAILED: ' + outcome.fault}"]
    for case, values in outcome.values.items():
        figures = ", ".join(f"{name} {values[name]:.6g}" for name in SHOWN if name in values)
        lines.append(f"    {case}: {figures}")
    return "\n".join([*lines, *([f"    {outcome.notes}"] if outcome.notes else [])])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=DIR", help="a checkpoint folder")
    parser.add_argument("--out", type=Path, default=Path("gpu-backends"), help="results and logs")
    parser.add_argument("--only", default="", help="engines whose name holds this")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for a round of one engine")
    parser.add_argument("--list", action="store_true", help="name the engines and end")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    models = {name: Path(folder).resolve() for name, _, folder in (one.partition("=") for one in args.model)}
    out = args.out.resolve()
    chosen = [one for one in trials(models, out) if args.only in one.spec.name]
    if args.list:
        print("\n".join(one.spec.name for one in chosen))
        return 0
    device, failed = gpu(), 0
    print(f"{device.product} ({device.key}), {len(chosen)} engines", flush=True)
    for trial in chosen:
        outcome = attempt(trial, device, out, args.timeout)
        failed += outcome.fault is not None
        with (out / "results.jsonl").open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
        print(shown(outcome), flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} engines ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
