"""NVML through `nvidia-ml-py`: opened and closed in order, and every query that fails is an absence with its reason.

A query is asked by NVML's own name. Each GPU, driver and container lacks some of them, so that a missing one is
a result and no crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

NOT_FOUND = "Not Found"  # NVML's words where a list would be empty
NOT_INSTALLED = "nvidia-ml-py is not installed"
_LASTING = ("NVML_ERROR_NOT_SUPPORTED", "NVML_ERROR_FUNCTION_NOT_FOUND", "NVML_ERROR_NO_PERMISSION")


class Nvml:
    """An open NVML. `absent` tells why queries failed, by their names; the latest reason of each."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._lasting = {getattr(library, name) for name in _LASTING}
        self._given_up: set[tuple[str, Any]] = set()
        self.absent: dict[str, str] = {}

    def constant(self, name: str) -> int:
        """A constant by NVML's name."""
        return int(getattr(self._library, name))

    def ask(self, name: str, *args: Any) -> Any:
        """What NVML answers, or None; the reason is then in `absent`."""
        try:
            return getattr(self._library, name)(*args)
        except self._library.NVMLError as exc:
            self.absent[name] = str(exc)
        except (
            AttributeError,
            TypeError,
            ValueError,
        ) as exc:  # another generation's package; no text
            self.absent[name] = f"{type(exc).__name__}: {exc}"
        return None

    def ask_again(self, name: str, handle: Any, *args: Any) -> Any:
        """The same for queries that are repeated: one that this GPU will never answer is asked once only."""
        key = name, id(handle)
        if key in self._given_up:
            return None
        try:
            return getattr(self._library, name)(handle, *args)
        except self._library.NVMLError as exc:
            self.absent[name] = str(exc)
            if exc.value in self._lasting:
                self._given_up.add(key)
        except (AttributeError, TypeError, ValueError) as exc:
            self.absent[name] = f"{type(exc).__name__}: {exc}"
            self._given_up.add(key)
        return None

    def first(self, names: tuple[str, ...], *args: Any) -> Any:
        """The answer of the first of several queries that is not absent: one for each generation of drivers."""
        return next((found for name in names if (found := self.ask(name, *args)) is not None), None)


class NoNvmlError(Exception):
    """NVML cannot be used here; the text says why."""


@contextmanager
def open_nvml() -> Iterator[Nvml]:
    """NVML, shut down on leaving.

    Raises:
        NoNvmlError: the package, the library or the driver is not here.
    """
    try:
        import pynvml
    except ImportError as exc:
        raise NoNvmlError(NOT_INSTALLED) from exc
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as exc:
        raise NoNvmlError(f"NVML: {exc}") from exc
    try:
        yield Nvml(pynvml)
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
