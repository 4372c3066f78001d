"""The lines of logs that tell why an engine process ended, as data: patterns by kind, in the order of causes.

Wordings are those of the public issues and sources that `source` names. A line that calls itself information
or a warning tells of no end, however alike it looks: `ASIDE`, and `HARMLESS` for those without a level.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from perfgate.fault_kinds import ProcessFault


@dataclass(frozen=True, slots=True)
class Sign:
    """A line that tells a kind; `source` is who writes it."""

    kind: ProcessFault
    pattern: re.Pattern[str]
    source: str


def _signs(kind: ProcessFault, *rows: tuple[str, str]) -> tuple[Sign, ...]:
    return tuple(Sign(kind, re.compile(pattern), source) for pattern, source in rows)


# In the order of causes: what stands earlier makes what stands later, in other ranks and in the clean-up.
SIGNS: tuple[Sign, ...] = (
    *_signs(
        ProcessFault.GPU_HARDWARE,
        (r"NVRM: Xid .*?: (?:48|62|63|64|74|79|92|94|95|109|119|120|140|143|149|154|155|156)\b", "Xid catalogue"),
        (r"GPU has fallen off the bus|fallen off the bus and is not responding", "NVRM: leptonai/gpud#1209"),
        (r"uncorrectable (?:NVLink|ECC) error (?:was )?(?:detected|encountered)", "CUDA runtime"),
    ),
    *_signs(
        ProcessFault.HOST_OUT_OF_MEMORY,
        (r"Out of memory: Killed process|oom-kill:constraint=|Memory cgroup out of memory", "the kernel's log"),
        (r"DefaultCPUAllocator: (?:can't allocate memory|not enough memory)", "PyTorch, alloc_cpu.cpp"),
        (r"^MemoryError\b|\bstd::bad_alloc\b|Cannot allocate memory\b", "CPython, libstdc++, errno 12"),
    ),
    *_signs(
        ProcessFault.GPU_OUT_OF_MEMORY,
        (r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory\. Tried to allocate", "PyTorch: vllm#16343"),
        (r"CUDA runtime error in .*: out of memory", "TensorRT-LLM, check<cudaError>: NVIDIA/TensorRT-LLM#1060"),
        (r"Error Code 1: Cuda Runtime \(out of memory\)|Error Code 2: OutOfMemory", "TensorRT: pytorch/TensorRT#2836"),
        (r"CUDA error: out of memory|Cuda failure (?:\d+ )?'out of memory'|CUDA_ERROR_OUT_OF_MEMORY", "CUDA, NCCL"),
        (r"No available memory for the cache blocks", "vLLM: vllm-project/vllm#14574"),
        (r"Free memory on device .* is less than desired GPU memory utilization", "vLLM, worker start"),
        (r"larger than the available KV cache memory", "vLLM, kv_cache_utils.py"),
    ),
    *_signs(
        ProcessFault.SHARED_MEMORY_FULL,
        (r"posix_fallocate failed ?: No space left on device|failed to extend /dev/shm/", "NCCL: NVIDIA/nccl#290"),
        (r"Error while creating shared memory segment", "NCCL: NVIDIA/nccl#525"),
        (r"insufficient shared memory \(shm\)|out of shared memory\. Please try to raise your shared", "PyTorch"),
        (r"No space left on device.*/dev/shm", "CPython, shared_memory"),
    ),
    *_signs(
        ProcessFault.DISK_FULL,
        (r"No space left on device|Disk quota exceeded|database or disk is full", "errno 28 and 122, sqlite"),
    ),
    *_signs(
        ProcessFault.OLD_DRIVER,
        (r"NVIDIA driver on your system is too old", "PyTorch: lllyasviel/Fooocus#1313"),
        (r"CUDA driver version is insufficient for CUDA runtime version", "CUDA: nagadomi/nunif#702"),
        (r"unsupported display driver / cuda driver combination|unsupported toolchain", "CUDA errors 803 and 222"),
    ),
    *_signs(
        ProcessFault.NO_GPU,
        (r"No CUDA GPUs are available|Found no NVIDIA driver on your system", "PyTorch, torch/cuda"),
        (r"no CUDA-capable device is detected|invalid device ordinal", "CUDA: NVIDIA/TensorRT-LLM#1556"),
        (r"system not yet initialized|cudaErrorSystemNotReady", "CUDA error 802: NVIDIA/nccl#1231"),
    ),
    *_signs(
        ProcessFault.NO_KERNEL,
        (r"no kernel image is available for execution on the device", "CUDA: vllm-project/vllm#5547"),
        (r"CUDA_ERROR_NO_BINARY_FOR_GPU|device kernel image is invalid", "CUDA driver"),
        (r"engine plan file is generated on an incompatible device", "TensorRT: NVIDIA/TensorRT-LLM#3031"),
        (r"ptxas fatal\s+: Value 'sm_\w+' is not defined", "Triton's ptxas"),
    ),
    *_signs(
        ProcessFault.CUDA_LIBRARY,
        (r"CUBLAS_STATUS_(?:NOT_INITIALIZED|ALLOC_FAILED|ARCH_MISMATCH)", "cuBLAS: QwenLM/Qwen#120"),
        (r"CUDNN_STATUS_(?:NOT_INITIALIZED|SUBLIBRARY_\w+)", "cuDNN"),
        (r"(?:Could not load library |Unable to load any of .*)lib(?:cudnn|cublas)", "cuDNN: TinyLLaVA_Factory#134"),
        (r"undefined symbol: (?:cublas|cudnn)\w*", "the dynamic linker"),
    ),
    *_signs(
        ProcessFault.MISSING_LIBRARY,
        (r"\S+\.so[\w.]*: cannot open shared object file", "the dynamic linker: NVIDIA/TensorRT-LLM#6102"),
        (r"version `\w+_[\d.]+' not found|undefined symbol: ", "the dynamic linker"),
    ),
    *_signs(
        ProcessFault.PORT_IN_USE,
        (r"EADDRINUSE|\[Errno 98\]|[Aa]ddress already in use", "errno 98: vllm-project/vllm#8204"),
    ),
    *_signs(
        ProcessFault.ILLEGAL_ACCESS,
        (r"an illegal memory access was encountered|CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA: vllm-project/vllm#6976"),
        (r"an illegal instruction was encountered|misaligned address|unspecified launch failure", "CUDA errors 715 on"),
        (r"device-side assert triggered|NVRM: Xid .*?: (?:13|31|43|45)\b", "CUDA error 710; Xids of programs"),
    ),
    *_signs(
        ProcessFault.NCCL_TIMEOUT,
        (r"Watchdog caught collective operation timeout", "PyTorch, ProcessGroupNCCL: vllm-project/vllm#6042"),
        (r"NCCL.*\btimed out\b", "NCCL, torch"),
    ),
    *_signs(
        ProcessFault.NCCL,
        (r"\bnccl(?:UnhandledCuda|System|Internal|Remote|InvalidUsage)Error\b", "NCCL: NVIDIA/nccl#1059"),
        (r"NCCL error|DistBackendError", "PyTorch: NVIDIA/nccl#328"),
    ),
    *_signs(ProcessFault.ILLEGAL_INSTRUCTION, (r"\bIllegal instruction\b|exit code: -4\b|on signal 4\b", "shells")),
    *_signs(
        ProcessFault.SEGFAULT,
        (r"Segmentation fault|[Cc]aught signal 11|exit code: -11\b|on signal 11\b", "NVIDIA/TensorRT-LLM#752, mpirun"),
    ),
    *_signs(ProcessFault.KILLED, (r"exit code: -9\b|exited on signal 9\b|was killed by signal 9\b", "vLLM, mpirun")),
)  # fmt: skip

ASIDE = re.compile(  # a line's own level: it goes on after such a line
    r"^\W*(?:\([^)]*\)\s*)?(?:INFO|WARNING|WARN|DEBUG)\b|NCCL INFO|\[(?:W|I|V|INFO|WARNING|DEBUG)\]|\[W\d|^[WI]\d{4}\b"
    r"|\bWARNING -|- (?:WARNING|INFO|DEBUG) -|\w*Warning:"
)
HARMLESS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"Device memory is insufficient to use tactic|Skipping tactic"), "TensorRT: TensorRT-LLM#493"),
    (re.compile(r"OOM detected, falling back to default tactic|will not block the tuning"), "FlashInfer, TensorRT-LLM"),
    (re.compile(r"No plugin found \(libnccl-net\.so\)|Failed to open libibverbs"), "NCCL goes on: NVIDIA/nccl#1231"),
    (re.compile(r"is already in use, trying port|If you are running out of memory, consider"), "vLLM goes on"),
)  # fmt: skip

SIGNALS: Mapping[int, ProcessFault] = {
    4: ProcessFault.ILLEGAL_INSTRUCTION,
    9: ProcessFault.KILLED,
    11: ProcessFault.SEGFAULT,
    14: ProcessFault.DEADLINE,  # a round's own alarm, where its parent is gone
    15: ProcessFault.KILLED,
}
