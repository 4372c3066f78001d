"""Write fixtures/suites/engine_vs_pytorch.yaml for a model, a tensor-parallel size and a precision.

    python scripts/engine_vs_pytorch.py --model /models/Llama-3.1-8B --tp 2 --engines vllm
    pytest perf_tests/test_backends.py --perfgate-suite engine_vs_pytorch-tp2.yaml

A suite of its own for each size keeps their baselines apart, and holds engines against PyTorch over as many GPUs.
With several sizes (`--tp 1 2`) the reference is PyTorch at the first; the ratios at another size are made afterwards
from the results: `perfgate versus pytorch-tp2=perfgate-out/results/pytorch-tp2 vllm-tp2=perfgate-out/results/vllm-tp2`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from perfgate.errors import PerfgateError
from perfgate.suite import load_suite

SOURCE = Path(__file__).resolve().parent.parent / "fixtures" / "suites" / "engine_vs_pytorch.yaml"


def main() -> int:
    """Write the suite and read it back; a fault is told with exit code 4."""
    args = _arguments()
    out = args.out or Path(f"{_name(args)}.yaml")
    plain = changed(yaml.safe_load(SOURCE.read_text(encoding="utf-8")), args)
    out.write_text(yaml.safe_dump(plain, sort_keys=False, width=120), encoding="utf-8")
    try:
        suite = load_suite(out)
    except PerfgateError as exc:
        print(f"{out}: {exc}", file=sys.stderr)
        return 4
    print(f"{out}: {len(suite.cases)} cases; next: pytest perf_tests/test_backends.py --perfgate-suite {out}")
    return 0


def changed(plain: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The suite's mapping under these options."""
    engine = plain["defaults"]["engine"]
    engine |= {"model": str(args.model.resolve()), "precision": args.precision}
    if args.vllm_program:
        plain["engines"]["vllm"]["engine_args"]["program"] = args.vllm_program
    plain["engines"] = engines(plain["engines"], plain["versus"]["reference"], args)
    plain["versus"]["reference"] = next(iter(plain["engines"]))
    plain["suite"] = _name(args)
    for name, work in plain["workloads"].items():
        plain["workloads"][name] = work | {"isl": args.isl, "osl": args.osl}
    engine["max_seq_len"] = max(engine["max_seq_len"], args.isl + args.osl)
    return plain


def engines(known: dict[str, Any], reference: str, args: argparse.Namespace) -> dict[str, Any]:
    """The reference and each wanted engine, at each tensor-parallel size; the reference at the first one leads."""
    out = {}
    for name in (reference, *args.engines):
        for tp in args.tp:
            out[name if len(args.tp) == 1 else f"{name}-tp{tp}"] = known[name] | {"tp": tp}
    weights = {"load_format": "dummy"} if args.random_weights else {}
    return {name: _with_args(spec, weights) for name, spec in out.items()}


def _with_args(spec: dict[str, Any], more: dict[str, str]) -> dict[str, Any]:
    args = {**spec.get("engine_args", {}), **more}
    return spec | ({"engine_args": args} if args else {})


def _name(args: argparse.Namespace) -> str:
    sizes = "-".join(map(str, args.tp))
    return str(args.name or f"{SOURCE.stem}-tp{sizes}")


def _arguments() -> argparse.Namespace:
    names = [name for name in yaml.safe_load(SOURCE.read_text(encoding="utf-8"))["engines"] if name != "pytorch"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="checkpoint folder (HuggingFace)")
    parser.add_argument("--tp", type=int, nargs="+", default=[1], metavar="N", help="GPUs an engine is spread over")
    parser.add_argument("--precision", default="bf16", choices=["fp16", "bf16"])
    parser.add_argument("--engines", nargs="+", choices=names, default=names, help="beside pytorch (default: all)")
    parser.add_argument("--random-weights", action="store_true", help="the checkpoint has a configuration alone")
    parser.add_argument("--vllm-program", metavar="WORDS", help="what starts vLLM's server (default: vllm serve)")
    parser.add_argument("--isl", type=int, default=512, help="input tokens")
    parser.add_argument("--osl", type=int, default=128, help="output tokens")
    parser.add_argument("--name", help="of the suite (default: engine_vs_pytorch-tpN)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="suite to write (default: engine_vs_pytorch-tpN.yaml)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
