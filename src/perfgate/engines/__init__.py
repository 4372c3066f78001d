"""Engines: the interface, the cache and one module per backend."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from perfgate.errors import UsageError

if TYPE_CHECKING:  # numpy comes with it: listing backends must not cost that
    from perfgate.engines.base import Backend

SERVED = "openai"  # the backend that has servers alone: no engine of it is ever loaded into a process of ours

BACKENDS = {
    "openvino": "perfgate.engines.openvino:OpenVino",
    "tensorrt_llm": "perfgate.engines.tensorrt_llm:TensorRtLlm",
    "transformers": "perfgate.engines.transformers:Transformers",
    "vllm": "perfgate.engines.vllm:Vllm",
    SERVED: "perfgate.engines.served:Served",
}


def backend(name: str) -> Backend:
    """The backend of that name, or of a 'module:Class' of the user's own.

    Engine libraries are imported only when the backend uses them.

    Raises:
        UsageError: there is no such backend.
    """
    module, _, cls = BACKENDS.get(name, name).partition(":")
    try:
        made: Backend = getattr(importlib.import_module(module), cls)()
    except (ImportError, AttributeError, ValueError) as exc:
        known = ", ".join(BACKENDS)
        raise UsageError(f"no backend '{name}' ({exc}); there are {known}, or name your own as module:Class") from exc
    return made
