"""Wall and device times of decode steps on a GPU, and how much each differs between fresh processes.

    python benchmarks/gpu_steps.py --backend vllm --model DIR [--out DIR] [--rounds 4] [--streams 1 8 64] [--only eager]

DIR is a checkpoint folder; without weights in it both backends make random ones. Every round of every engine is a
process of its own with a deadline; rounds go over the engines in turn, so that a run that is cut short has some of
each. Where one fails, why is printed and the others go on. A table follows every turn, and at the end; all values
are in OUT/steps.jsonl. Engines named slow5 have a planted wait: their wall times are to be 5 % longer, their device
times the same. sd is of the logarithm, between processes; a host-bound step has a busy share well below one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import exp, log
from pathlib import Path
from statistics import fmean, stdev

from gpu_backends import Outcome, Trial, attempt, gpu, write_prompts

from perfgate.case import Batching, Drafting, EngineSpec, LatencyWork, Precision, Speculation
from perfgate.device import Device
from perfgate.plant import Plant

METRICS = (
    "itl_p50",
    "device_decode_step_p50",
    "ttft_p50",
    "device_prefill_p50",
    "device_busy_share",
    "cpu_s_per_token",
    "output_tokens_per_s",
)
SLOW = Plant(decode=1.05)
Values = dict[tuple[str, str], list[float]]  # (case, metric) -> one value per process


def engines(backend: str, model: Path, works: Sequence[LatencyWork]) -> Iterator[Trial]:
    """Graphs and none, scheduled ahead and not, and with a planted wait."""
    yield from (_vllm if backend == "vllm" else _torch)(model, tuple(works))


def _base(model: Path, backend: str) -> EngineSpec:
    dummy = () if any(model.glob("*.safetensors")) else (("load_format", "dummy"),)
    return EngineSpec(
        "bf16",
        model,
        backend,
        Precision.BF16,
        max_batch_size=64,
        max_num_tokens=8192,
        max_seq_len=2048,
        engine_args=dummy,
    )


def _vllm(model: Path, works: tuple[LatencyWork, ...]) -> Iterator[Trial]:
    base = _base(model, "vllm")
    base = replace(base, engine_args=(*base.engine_args, ("gpu_memory_utilization", 0.8)))
    yield Trial(base, works)
    yield Trial(replace(base, name="eager", cuda_graphs=False), works)
    yield Trial(replace(base, name="slow5"), works, plant=SLOW)
    yield Trial(replace(base, name="in-step", overlap_scheduler=False), works)
    yield Trial(replace(base, name="in-step-slow5", overlap_scheduler=False), works, plant=SLOW)


def _torch(model: Path, works: tuple[LatencyWork, ...]) -> Iterator[Trial]:
    static = replace(_base(model, "transformers"), name="eager", batching=Batching.STATIC, paged_kv=False)
    inflight = replace(static, batching=Batching.INFLIGHT, paged_kv=True, chunked_prefill=True)
    ngram = replace(static, max_batch_size=1, speculative=Speculation(Drafting.NGRAM, 4))
    yield Trial(static, works)
    yield Trial(replace(static, name="graphs", cuda_graphs=True), works)
    yield Trial(replace(static, name="eager-slow5"), works, plant=SLOW)
    yield Trial(replace(inflight, name="continuous"), works)
    yield Trial(replace(inflight, name="continuous-graphs", cuda_graphs=True), works)
    yield Trial(replace(ngram, name="ngram"), tuple(work for work in works if work.concurrency == 1))


def rounds(
    trials: Sequence[Trial], device: Device, out: Path, count: int, deadline: float, timeout_s: float
) -> Iterator[tuple[int, Trial, Outcome]]:
    """One process after the other until all have run, or the time is up; faults are outcomes."""
    for index in range(count):
        for trial in trials:
            if time.monotonic() > deadline:
                print("the time is up: what is missing was not started")
                return
            yield index, trial, attempt(trial, device, out, timeout_s)


def told(log_file: Path) -> list[str]:
    """What a round's log says of device times that are not known."""
    if not log_file.exists():
        return []
    return [line for line in log_file.read_text(errors="replace").splitlines() if "no device times" in line]


def table(values: Mapping[tuple[str, str], Sequence[float]]) -> str:
    """Per case and metric: geometric mean, spread between processes, least and most."""
    lines = [f"{'case':<24}{'metric':<24}{'n':>3}{'mean':>13}{'sd':>8}{'least':>13}{'most':>13}"]
    for (case, metric), found in values.items():
        logs = [log(value) for value in found]
        sd = f"{stdev(logs):.2%}" if len(logs) > 1 else "-"
        mean = exp(fmean(logs))
        lines.append(f"{case:<24}{metric:<24}{len(logs):>3}{mean:>13.6g}{sd:>8}{min(found):>13.6g}{max(found):>13.6g}")
    return "\n".join(lines)


def keep(values: Values, index: int, outcome: Outcome, out: Path) -> None:
    """Note an outcome in the table's values and in steps.jsonl, and print what went wrong."""
    said = "" if outcome.fault is None else f", FAILED: {outcome.fault}"
    print(f"round {index} of {outcome.name}: {outcome.seconds:.0f} s{said}", flush=True)
    for line in told(out / f"round-{outcome.name}.log"):
        print(f"    {line}", flush=True)
    with (out / "steps.jsonl").open("a") as file:
        file.write(json.dumps({"round": index, "engine": outcome.name, "values": outcome.values}) + "\n")
    for case, found in outcome.values.items():
        for metric in METRICS:
            if metric in found:
                values[case, metric].append(found[metric])


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=("vllm", "transformers"), required=True)
    parser.add_argument("--model", type=Path, required=True, help="a checkpoint folder")
    parser.add_argument("--out", type=Path, default=Path("gpu-steps"), help="prepared engines, logs, steps.jsonl")
    parser.add_argument("--rounds", type=int, default=4, help="processes of each engine")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--only", default="", help="engines whose name holds this")
    parser.add_argument("--seconds", type=float, default=3600.0, help="after these no further process is started")
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds for one round of an engine")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parsed(argv)
    out = (args.out / args.backend).resolve()
    out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + args.seconds
    prompts = write_prompts(out / "prompts.jsonl", 0)
    works = [LatencyWork(f"b{n}", prompts, 512, 64, n, max(8, 2 * n), warmup_requests=n) for n in args.streams]
    chosen = [one for one in engines(args.backend, args.model.resolve(), works) if args.only in one.spec.name]
    device, failed, values = gpu(), 0, defaultdict[tuple[str, str], list[float]](list)
    print(f"{device.product} ({device.key}), {args.backend}, {len(chosen)} engines, {args.rounds} rounds", flush=True)
    for index, trial, outcome in rounds(chosen, device, out, args.rounds, deadline, args.timeout):
        keep(values, index, outcome, out)
        failed += outcome.fault is not None
        if trial is chosen[-1]:
            print(table(values), flush=True)
    print(table(values))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
