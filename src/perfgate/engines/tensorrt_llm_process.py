"""One TensorRT-LLM engine in this process: its environment, its construction, and the end of all it started.

Workers of several GPUs are started by MPI or as processes of their own, perhaps in sessions of their own, so
that this process inherits their orphans (it is a subreaper) and sees all of them ended before it goes on:
what still holds GPU memory would disturb the next engine.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from perfgate.case import EngineSpec, Flow
from perfgate.engines import installed
from perfgate.engines.base import first_line
from perfgate.engines.supervisor import descendants
from perfgate.engines.tensorrt_llm_installed import look
from perfgate.engines.tensorrt_llm_own import Own
from perfgate.errors import EngineError

AUTOTUNER = "TLLM_AUTOTUNER_CACHE_PATH"
FORCED_DRAFTS = "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"
BUILD_CACHE = "TLLM_LLMAPI_BUILD_CACHE"  # its key leaves out GPU, versions and weights: never used
ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    AssertionError,
    OSError,
    ImportError,
    MemoryError,
)
_SUBREAPER = 36  # linux/prctl.h
_DAEMONS = frozenset({"orted", "prted", "prte", "hydra_pmi_proxy", "hydra_nameserver"})  # Open MPI 4, 5; MPICH
_GRACE_S = 10.0
_KILL_S = 10.0
_POLL_S = 0.02
_OPEN: list[str] = []  # the name of the engine that is open in this process


def variables_of(own: Own, autotuner: Path | None) -> dict[str, str]:
    """The environment of an engine of ours, over the user's own."""
    forced = own.perfgate.get("force_accepted_tokens")
    return {
        BUILD_CACHE: "0",
        **({AUTOTUNER: str(autotuner)} if autotuner else {}),
        **({FORCED_DRAFTS: str(forced)} if forced is not None else {}),
    }


def environment(variables: Mapping[str, str]) -> AbstractContextManager[None]:
    """Our variables alone: one that the user's shell has set would change figures unseen. Restored on leaving."""
    return installed.environment(variables, without=(AUTOTUNER, FORCED_DRAFTS, BUILD_CACHE))


@contextmanager
def opened(
    spec: EngineSpec, flow: Flow, model: Path, arguments: Mapping[str, Any], tokenizer: Path | None = None
) -> Iterator[Any]:
    """The package's `LLM` of a flow; leaving ends it and every process that it started.

    Raises:
        UsageError: the installed version does not take an argument.
        EngineError: another engine is open in this process, it cannot be loaded, or processes of it live on.
    """
    if _OPEN:
        raise EngineError(f"'{spec.name}' cannot be loaded: '{_OPEN[0]}' is open in this process, which holds one")
    installed = look(flow)
    keywords = installed.objects(installed.fitting(arguments))
    if tokenizer:
        keywords["tokenizer"] = str(tokenizer)
    _OPEN.append(spec.name)
    try:
        with no_child_left(), _running(spec, installed.llm, model, keywords) as llm:
            yield llm
    finally:
        _OPEN.clear()


@contextmanager
def _running(spec: EngineSpec, cls: Any, model: Path, keywords: Mapping[str, Any]) -> Iterator[Any]:
    with _told(f"cannot load '{spec.name}'"):
        llm = cls(model=str(model), **keywords)
    try:
        yield llm
    finally:
        with _told(f"cannot end '{spec.name}'"):
            llm.shutdown()
        del llm
        gc.collect()


@contextmanager
def _told(what: str) -> Iterator[None]:
    """The library's errors as ours, one line each."""
    try:
        yield
    except ERRORS as exc:
        raise EngineError(f"TensorRT-LLM {what}: {first_line(exc)}") from exc


@contextmanager
def no_child_left() -> Iterator[None]:
    """See every process ended that is started inside, orphans too, which we inherit from now on.

    Raises:
        EngineError: one cannot be killed.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)
    others = frozenset(descendants(os.getpid()))
    try:
        yield
    finally:
        _end_children(others)


def _end_children(others: frozenset[int]) -> None:
    """Wait for the others to end, then kill them."""
    for sign, patience_s in ((None, _GRACE_S), (signal.SIGKILL, _KILL_S)):
        deadline = time.monotonic() + patience_s
        while (left := _left(others)) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, sign or 0)
            time.sleep(_POLL_S)
        if not left:
            return
    raise EngineError(f"processes {left} of TensorRT-LLM cannot be ended: end them before the next engine")


def _left(others: frozenset[int]) -> list[int]:
    """The engine's processes that live; those that have ended are reaped."""
    found = []
    for pid in descendants(os.getpid()):
        if pid not in others and not _is_helper(pid):
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if Path(f"/proc/{pid}").exists():
                found.append(pid)
    return found


def _is_helper(pid: int) -> bool:
    """MPI's daemon and Python's resource tracker live as long as we do, and hold nothing of the GPU.

    MPI ends us too where its daemon dies.
    """
    with suppress(OSError):
        place = Path(f"/proc/{pid}")
        if (place / "comm").read_text().strip() in _DAEMONS:
            return True
        return b"multiprocessing.resource_tracker" in (place / "cmdline").read_bytes()
    return False
