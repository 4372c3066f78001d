"""A rank of tensor parallelism behind rank 0: loads its share of the model and runs every forward pass along.

Run as `python -m perfgate.engines.transformers_rank JOB`; calls come through stdin, and its end is the rank's.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

from perfgate.engines import transformers_loading as loading
from perfgate.engines.transformers_call import (
    Call,
    Kind,
    RankJob,
    calls,
    device_of_rank,
    joined,
    peak_gpu_bytes,
    total,
)
from perfgate.errors import PerfgateError
from perfgate.record import decode, printable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(job_path: str, parent: str) -> int:
    """Follow rank 0 until it has no more calls; a failure that we foresee is one line and code 1."""
    _end_with(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 gets it too, and ends us
    job = decode(Path(job_path).read_bytes(), RankJob, job_path)
    try:
        _follow(job)
    except PerfgateError as exc:
        sys.stdout.write(f"perfgate: {printable(str(exc))}\n")
        return 1
    return 0


def _end_with(parent: int) -> None:
    """Have the kernel end us when rank 0 is gone: a collective that waits for it may never return."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def _follow(job: RankJob) -> None:
    torch = loading.import_torch(job.engine)
    torch.set_num_threads(job.threads)
    device = device_of_rank(loading.device_of(job.prepared), job.rank)
    with joined(job.meet, job.share, device):
        with loading.clear_load_errors(job.engine):
            model = loading.read_model(job.engine, job.prepared, device, job.share)
        total(1, device)
        cache = None
        for call in calls(sys.stdin.buffer):
            match call.kind:
                case Kind.FORWARD:
                    cache = _forward(torch, model, call, cache)
                case Kind.MEMORY:
                    total(peak_gpu_bytes() or 0, device)


def _forward(torch: Any, model: Any, call: Call, cache: Any) -> Any:
    """Run rank 0's forward pass along; returns the KV cache for the next one."""
    from transformers import DynamicCache

    if call.has_new_cache:
        cache = DynamicCache(config=model.config)
    keep = {"logits_to_keep": call.keep} if call.keep else {}
    with torch.inference_mode():
        ids = torch.tensor(call.ids, device=model.device)
        model(input_ids=ids, past_key_values=cache, use_cache=True, **keep)
    return cache


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
