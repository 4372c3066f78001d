"""Engines: the interface, the cache and one module per backend."""

from __future__ import annotations

from perfgate.engines.base import Backend
from perfgate.errors import UsageError


def backend(name: str) -> Backend:
    """The backend of that name; its engine library is imported only when it is used."""
    match name:
        case "openvino":
            from perfgate.engines.openvino import OpenVino

            return OpenVino()
        case "transformers":
            from perfgate.engines.transformers import Transformers

            return Transformers()
        case _:
            raise UsageError(f"no backend '{name}'")
