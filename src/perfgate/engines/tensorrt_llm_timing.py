"""TensorRT's timing cache, one file per device and version beside the engines.

A build works on a copy. Builds with what earlier ones measured take less time and choose the same kernels
more often; engine_args `timing_cache: false` turns it off where build times are gated.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from packaging.version import Version

from perfgate.device import Device


class Timing:
    """The kept cache, and the copy of it that a build of the entry `into` works on."""

    def __init__(self, into: Path, device: Device, version: Version, *, is_used: bool) -> None:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{device.key}-{device.driver}-{version}")
        self._kept = into.parent / "tensorrt_llm-timing" / f"{name}.cache"
        self._copy = into / "timing.cache"
        self._is_used = is_used
        self.told = "off" if not is_used else "warm" if self._kept.exists() else "cold"

    def fields(self) -> dict[str, str]:
        """Fields of BuildConfig, for a copy made now; without them a build writes model.cache where we stand."""
        if self.told == "warm":
            shutil.copyfile(self._kept, self._copy)
        given = {"input_timing_cache": str(self._copy)} if self.told == "warm" else {}
        return {**given, "output_timing_cache": str(self._copy)}

    def flags(self) -> tuple[str, ...]:
        """The same as flags of trtllm-build."""
        return tuple(word for name, path in self.fields().items() for word in (f"--{name}", path))

    def keep(self) -> None:
        """Put what the build wrote in place of the kept one, at once, and take the copy out of the entry."""
        if self._copy.exists():
            if self._is_used:
                self._kept.parent.mkdir(parents=True, exist_ok=True)
                fresh = self._kept.with_suffix(f".{os.getpid()}")
                shutil.copyfile(self._copy, fresh)
                fresh.replace(self._kept)
            self._copy.unlink()
