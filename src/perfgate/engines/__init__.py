"""Engines: the interface, the cache and one module per backend."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from perfgate.errors import UsageError

if TYPE_CHECKING:  # numpy comes with it: listing backends must not cost that
    from perfgate.engines.base import Backend

ENTRY_POINTS = "perfgate.backends"  # the group under which a package names a backend: NAME = "module:Class"
SERVED = "openai"  # the backend that has servers alone: no engine of it is ever loaded into a process of ours

BACKENDS = {
    "openvino": "perfgate.engines.openvino:OpenVino",
    "tensorrt_llm": "perfgate.engines.tensorrt_llm:TensorRtLlm",
    "transformers": "perfgate.engines.transformers:Transformers",
    "vllm": "perfgate.engines.vllm:Vllm",
    SERVED: "perfgate.engines.served:Served",
}


def installed_backends() -> dict[str, str]:
    """Backends that installed packages bring: 'module:Class' by name, from their entry points."""
    from importlib.metadata import entry_points  # reads all packages' metadata: only where a name is not ours

    return {one.name: one.value for one in entry_points(group=ENTRY_POINTS) if one.name not in BACKENDS}


def backend(name: str) -> Backend:
    """The backend of that name: ours, a package's by entry point, or a 'module:Class' of the user's own.

    Engine libraries are imported only when the backend uses them.

    Raises:
        UsageError: there is no such backend.
    """
    where = BACKENDS.get(name) or (name if ":" in name else installed_backends().get(name, name))
    module, _, cls = where.partition(":")
    try:
        made: Backend = getattr(importlib.import_module(module), cls)()
    except (ImportError, AttributeError, ValueError) as exc:
        known = ", ".join(BACKENDS)
        raise UsageError(f"no backend '{name}' ({exc}); there are {known}, or name your own as module:Class") from exc
    return made
