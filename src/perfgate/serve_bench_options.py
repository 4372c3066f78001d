"""The options of `perfgate serve-bench`; light, for the command line is built before a command is chosen."""

from __future__ import annotations

import argparse
from pathlib import Path

TIMEOUTS = ("connect", "first-token", "idle", "total", "run")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `wish_of` reads."""
    add = parser.add_argument
    add("--url", required=True, help="the server, such as http://127.0.0.1:8000")
    add("--model", required=True, metavar="NAME", help="the name under which the server serves the model")
    add(
        "--endpoint", choices=["completions", "chat"], default="completions", help="OpenAI route (default: completions)"
    )
    add(
        "--isl",
        default="512",
        metavar="LENGTHS",
        help="input tokens: 512, uniform:1:9, normal:..., FILE (default: 512)",
    )
    add("--osl", default="128", metavar="LENGTHS", help="output tokens, likewise (default: 128)")
    add("--concurrency", metavar="LIST", help="requests in flight, one run each: 16,64,128")
    add(
        "--request-rate",
        metavar="R",
        help="requests/s whether earlier ones are done or not; A:B: a ramp; inf: all at once",
    )
    add(
        "--arrivals",
        choices=["constant", "poisson"],
        default="poisson",
        help="spread of --request-rate (default: poisson)",
    )
    add("--num-prompts", default=None, metavar="N", help="requests: 500, or 5x the concurrency (default: 10x)")
    add("--warmup", default=None, metavar="N", help="requests before those, not counted (default: 1x the concurrency)")
    add(
        "--trace",
        type=Path,
        metavar="FILE",
        help="replay a trace (JSON Lines) instead of --isl, --osl and --num-prompts",
    )
    add("--trace-speed", type=float, default=1.0, metavar="F", help="so many times as fast (default: 1)")
    add("--trace-unit", choices=["ms", "s"], default="ms", help="unit of its timestamps (default: ms)")
    add("--random-ids", action="store_true", help="prompts are random token ids, not text")
    add(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="checkpoint folder with the tokenizer (default: --model if a folder)",
    )
    add("--vocab-size", type=int, metavar="N", help="ids of --random-ids where no --tokenizer is there: 0 to N-1")
    add(
        "--prefix",
        metavar="K:TOKENS[:SHARE]",
        help="K shared beginnings, for prefix caches; share of the prompts (default: 1)",
    )
    add("--ignore-eos", action="store_true", help="outputs have the length that was asked for")
    add("--extra-body", metavar="JSON", help="further keys of each request: '{\"temperature\": 0.7}'")
    add("--seed", type=int, default=0, help="of lengths, prompts and arrivals (default: 0)")
    add("--token-ids", action="store_true", help="ask for the ids of each event's tokens, to count by (vLLM)")
    add("--non-streaming", action="store_true", help="one answer a request: no TTFT, TPOT, ITL")
    add("--token-env", metavar="NAME", help="environment variable that holds the server's key")
    for name in TIMEOUTS:
        add(f"--timeout-{name}", metavar="TIME", help=f"deadline ({name.replace('-', ' ')}): 90s, 4min")
    add("--out", type=Path, default=Path("perfgate-out/serve-bench"), help="folder for results")
    add(
        "--records",
        choices=["jsonl", "parquet", "both"],
        default="jsonl",
        help="form of the request records; parquet needs pyarrow (default: jsonl)",
    )
    add("--proxy", metavar="URL", help="http://host:port of a proxy that a CONNECT tunnel goes through")
    add("--shards", type=int, default=1, metavar="N", help="client processes, where one core is the limit (default: 1)")
    add("--real-time", action="store_true", help="the client runs before all others on its core, where allowed")
    add("--quiet", action="store_true", help="no progress line")
