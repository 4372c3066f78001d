"""Why engine processes end badly: kinds, what each means, and what to do next, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ProcessFault(StrEnum):
    """Why a round or a build came to nothing."""

    GPU_HARDWARE = "gpu-hardware"
    GPU_OUT_OF_MEMORY = "gpu-out-of-memory"
    GPU_MEMORY_HELD = "gpu-memory-held"
    HOST_OUT_OF_MEMORY = "host-out-of-memory"
    SHARED_MEMORY_FULL = "shared-memory-full"
    DISK_FULL = "disk-full"
    OLD_DRIVER = "old-driver"
    NO_GPU = "no-gpu"
    NO_KERNEL = "no-kernel"
    CUDA_LIBRARY = "cuda-library"
    MISSING_LIBRARY = "missing-library"
    PORT_IN_USE = "port-in-use"
    ILLEGAL_ACCESS = "illegal-access"
    NCCL_TIMEOUT = "nccl-timeout"
    NCCL = "nccl"
    ILLEGAL_INSTRUCTION = "illegal-instruction"
    SEGFAULT = "segfault"
    KILLED = "killed"
    DEADLINE = "deadline"
    STALLED = "stalled"
    DISTURBED = "disturbed"
    GPU_DISTURBED = "gpu-disturbed"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Advice:
    """A kind in words, what to do next, and whether the same round may go well when it is tried again."""

    words: str
    next_step: str
    may_pass: bool


ADVICE: Mapping[ProcessFault, Advice] = {
    ProcessFault.GPU_HARDWARE: Advice(
        "the GPU failed (Xid)", "look the Xid up in NVIDIA's catalogue, reset or replace the GPU, then run again", False
    ),
    ProcessFault.GPU_OUT_OF_MEMORY: Advice(
        "out of GPU memory",
        "lower max_batch_size, max_seq_len or max_num_tokens, set pairing: consecutive, or see with nvidia-smi who "
        "else holds memory",
        False,
    ),
    ProcessFault.GPU_MEMORY_HELD: Advice(
        "GPU memory was not given back", "end the processes that hold it (nvidia-smi names them), then run again", True
    ),
    ProcessFault.HOST_OUT_OF_MEMORY: Advice(
        "out of host memory",
        "give the machine or container more memory, or load less at a time (fewer workers, a smaller model)",
        False,
    ),
    ProcessFault.SHARED_MEMORY_FULL: Advice(
        "shared memory (/dev/shm) is full", "give the container more of it (docker run --shm-size=16g)", False
    ),
    ProcessFault.DISK_FULL: Advice(
        "the disk is full",
        "make room (`perfgate cache list`, `perfgate cache prune --max-bytes 20GB`), then run again",
        False,
    ),
    ProcessFault.OLD_DRIVER: Advice(
        "the NVIDIA driver is too old", "update the driver, or install a build for the CUDA that it has", False
    ),
    ProcessFault.NO_GPU: Advice(
        "CUDA finds no GPU that it can use",
        "see to nvidia-smi, CUDA_VISIBLE_DEVICES, the container's --gpus and, on NVSwitch machines, the fabric manager",
        False,
    ),
    ProcessFault.NO_KERNEL: Advice(
        "no kernel for this GPU's architecture",
        "install a build for it, or rebuild the engine on this GPU (--perfgate-rebuild)",
        False,
    ),
    ProcessFault.CUDA_LIBRARY: Advice(
        "cuBLAS or cuDNN did not start",
        "see that its version fits torch and CUDA, that LD_LIBRARY_PATH names no other, and that GPU memory is free",
        False,
    ),
    ProcessFault.MISSING_LIBRARY: Advice(
        "a shared library is missing or of another version",
        "install the package that has it, or put its folder into LD_LIBRARY_PATH",
        False,
    ),
    ProcessFault.PORT_IN_USE: Advice("a port was in use", "run again: another port is taken each time", True),
    ProcessFault.ILLEGAL_ACCESS: Advice(
        "a GPU kernel made an illegal access",
        "run it once with CUDA_LAUNCH_BLOCKING=1 to find the kernel, and report it to the engine's makers",
        True,
    ),
    ProcessFault.NCCL_TIMEOUT: Advice(
        "NCCL waited in vain for a rank",
        "look for the rank that ended first; NCCL_DEBUG=INFO tells how the GPUs are joined",
        True,
    ),
    ProcessFault.NCCL: Advice(
        "NCCL failed", "run with NCCL_DEBUG=INFO; see to /dev/shm, NCCL_SOCKET_IFNAME and NVLink", True
    ),
    ProcessFault.ILLEGAL_INSTRUCTION: Advice(
        "the CPU lacks an instruction that the program uses (SIGILL)",
        "install a build for this CPU: compare its flags in /proc/cpuinfo",
        False,
    ),
    ProcessFault.SEGFAULT: Advice(
        "a segmentation fault", "run it once with PYTHONFAULTHANDLER=1 to see where, and report it", True
    ),
    ProcessFault.KILLED: Advice(
        "killed from outside", "see who ends processes here: an operator, a job's limit, an out-of-memory watcher", True
    ),
    ProcessFault.DEADLINE: Advice(
        "out of time while it worked", "raise gate.round_timeout, or ask for fewer requests", False
    ),
    ProcessFault.STALLED: Advice(
        "no progress", "read the log; raise gate.stall if it may be silent and idle for so long", True
    ),
    ProcessFault.DISTURBED: Advice("disturbed", "measure on a quieter machine, or raise gate.max_foreign_cpu", True),
    ProcessFault.GPU_DISTURBED: Advice(
        "its GPU was disturbed",
        "see `perfgate doctor`; gate.lock_clocks holds clocks; limits: gate.max_clock_move, gate.max_throttled",
        True,
    ),
    ProcessFault.CRASHED: Advice("crashed", "read the log", True),
}  # fmt: skip


IN_VAIN = "; not tried again, as it would fail the same way"


def next_step(kind: ProcessFault | None) -> str:
    """What to do next, to stand behind the fault; empty where the kind is not known."""
    return f"; next: {ADVICE[kind].next_step}" if kind else ""
