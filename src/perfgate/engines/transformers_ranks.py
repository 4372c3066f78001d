"""Rank 0's side of tensor parallelism: starts the other ranks, tells them its forward passes, and sees them end.

Their logs are in a folder that goes with them, and are kept short while they run.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from perfgate.case import EngineSpec
from perfgate.engines import transformers_loading as loading
from perfgate.engines.base import first_line
from perfgate.engines.kept import log_tail
from perfgate.engines.transformers_call import MEMORY, Call, RankJob, joined, peak_gpu_bytes, told, total
from perfgate.errors import EngineError, ModelError
from perfgate.process import Child, start
from perfgate.record import encode, write_atomic

_GRACE_S = 10.0  # for our own error to be told once a rank is gone; a collective on GPUs would wait for ever
_REAP_S = 1.0  # between a rank's connections breaking and its exit code
_END_S = 20.0  # for a rank to free its GPU
_TAIL_LINES = 100


@dataclass(frozen=True, slots=True)
class Rank:
    """A rank that was started, and the line on which it is told our calls."""

    number: int
    child: Child
    line: BinaryIO

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self.child.process

    @property
    def lines(self) -> list[str]:
        """The last lines of its log."""
        return log_tail(self.child.log, _TAIL_LINES, self.child.secrets)


class Ranks:
    """The ranks behind rank 0."""

    def __init__(self, spec: EngineSpec, ranks: Sequence[Rank]) -> None:
        self._spec, self._ranks = spec, ranks
        self._is_left = threading.Event()
        for rank in ranks:
            threading.Thread(target=self._watch, args=(rank,), daemon=True).start()

    def follow(self, model: Any) -> None:
        """Wait until all have loaded; from then on tell every forward pass of the model before it begins."""
        total(1, str(model.device))
        model.register_forward_pre_hook(lambda *given: self._tell(told(given[-1])), with_kwargs=True)

    def peak_gpu_bytes(self) -> int | None:
        """The most GPU memory that each rank held, summed; None without GPUs."""
        own = peak_gpu_bytes()
        if own is None:
            return None
        self._tell(MEMORY)
        return total(own, "cuda")

    def fault(self) -> str | None:
        """Of a rank that has ended, which one and its last words."""
        for rank in self._ranks:
            with suppress(subprocess.TimeoutExpired):
                rank.process.wait(_REAP_S / len(self._ranks))
            if rank.process.poll() is not None:
                return _fault(self._spec, rank)
        return None

    def leave(self, patience_s: float) -> None:
        """Wait for the ranks' end for so long, then end them."""
        self._is_left.set()
        self.release()
        for rank in self._ranks:
            with suppress(subprocess.TimeoutExpired):
                rank.process.wait(patience_s)
            rank.child.end(0.0)

    def release(self) -> None:
        """Tell the ranks that there are no more calls."""
        for rank in self._ranks:
            with suppress(OSError):
                rank.line.close()

    def _tell(self, call: Call) -> None:
        data = call.packed()
        for rank in self._ranks:
            try:
                rank.line.write(data)
                rank.line.flush()
            except (OSError, ValueError) as exc:
                raise EngineError(self.fault() or f"rank {rank.number} of '{self._spec.name}' does not listen") from exc

    def _watch(self, rank: Rank) -> None:
        """End this process when a rank is gone and nobody says so: rank 0 then waits in a collective for ever."""
        rank.process.wait()
        if self._is_left.wait(_GRACE_S):
            return
        text = "".join(f"{line}\n" for line in [*rank.lines, f"perfgate: {_fault(self._spec, rank)}"])
        os.write(sys.stdout.fileno(), text.encode())
        os._exit(1)


@contextmanager
def ranks_behind(spec: EngineSpec, prepared: Path, threads: int) -> Iterator[Ranks]:
    """Start ranks 1 to tp - 1 and meet them; leaving ends them.

    Raises:
        EngineError: there are fewer GPUs than ranks, or a rank ended, with its last words.
    """
    device = loading.device_of(prepared)
    _check_gpus(spec, device)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perfgate-ranks-")))
        job = RankJob(spec, prepared, folder / "meet", threads, 0)
        ranks = Ranks(spec, [_start(job, rank, folder) for rank in range(1, spec.tp)])
        try:
            with joined(job.meet, job.share, device):
                yield ranks
                ranks.release()
            ranks.leave(_END_S)
        except ModelError:
            raise  # the same on every rank
        except Exception as exc:
            if fault := ranks.fault():
                raise EngineError(f"{fault} (rank 0: {first_line(exc)})") from exc
            raise
        finally:
            ranks.leave(0)


def _check_gpus(spec: EngineSpec, device: str) -> None:
    import torch

    if device == "cuda" and (found := torch.cuda.device_count()) < spec.tp:
        raise EngineError(f"'{spec.name}' asks for tp {spec.tp}, a GPU for each rank, and torch finds {found}")


def _start(job: RankJob, rank: int, folder: Path) -> Rank:
    path = folder / f"rank-{rank}.json"
    write_atomic(path, encode(RankJob(job.engine, job.prepared, job.meet, job.threads, rank)))
    safe = ["-P"] if sys.flags.safe_path else []  # as we were started ourselves
    words = [sys.executable, *safe, "-m", "perfgate.engines.transformers_rank", str(path), str(os.getpid())]
    line, theirs = socket.socketpair()
    with line, theirs:
        child = start(words, folder / f"rank-{rank}.log", os.environ, theirs)
        return Rank(rank, child, line.makefile("wb"))


def _fault(spec: EngineSpec, rank: Rank) -> str:
    code = rank.process.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    words = rank.lines[-1] if rank.lines else "(its log is empty)"
    return f"rank {rank.number} of '{spec.name}' {how}: {words}"
