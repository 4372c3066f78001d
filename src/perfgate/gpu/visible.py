"""Which GPUs a CUDA program sees: CUDA_VISIBLE_DEVICES applied to what NVML lists.

The rules are CUDA's own (CUDA C programming guide, environment variables): a list of indices or of UUIDs, which
may be shortened while they stay unique; the first entry that names nothing ends the list. Of a GPU in MIG mode
a program sees slices only, and one slice at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfgate.gpu.nvml import Nvml

VARIABLE = "CUDA_VISIBLE_DEVICES"
_MIG_ON = 1


@dataclass(frozen=True, slots=True)
class Listed:
    """A GPU, or a slice of one, in NVML's order: `index` is the GPU's; `place` is the slice's instance ids."""

    index: int
    uuid: str
    handle: Any  # the slice's own for a slice
    parent: Any  # the whole GPU's, which answers what slices do not
    place: str = ""  # "1/0": GPU instance, compute instance; "" for a whole GPU
    parent_uuid: str = ""

    @property
    def is_slice(self) -> bool:
        return bool(self.place)

    @property
    def told(self) -> str:
        """Its number for a person: '0', or '0 (MIG 1/0)'."""
        return f"{self.index} (MIG {self.place})" if self.is_slice else str(self.index)

    def is_named(self, word: str) -> bool:
        """Whether a UUID of CUDA_VISIBLE_DEVICES, whole or shortened, is this one's; also in the form before R470."""
        names = [self.uuid, f"MIG-{self.parent_uuid}/{self.place}"] if self.is_slice else [self.uuid]
        return any(name.lower().startswith(word.lower()) for name in names)


def all_gpus(nvml: Nvml) -> list[Listed]:
    """Every GPU that NVML lists; one in MIG mode as its slices, and not at all where it has none."""
    out: list[Listed] = []
    for index in range(nvml.ask("nvmlDeviceGetCount") or 0):
        handle = nvml.ask("nvmlDeviceGetHandleByIndex", index)
        if handle is None:
            continue
        uuid = str(nvml.ask("nvmlDeviceGetUUID", handle) or f"index {index}")
        if is_mig(nvml, handle):
            out += _slices(nvml, index, handle, uuid)
        else:
            out.append(Listed(index, uuid, handle, handle))
    return out


def is_mig(nvml: Nvml, handle: Any) -> bool | None:
    """Whether a GPU is in MIG mode; None where it cannot be."""
    modes = nvml.ask("nvmlDeviceGetMigMode", handle)
    return None if modes is None else modes[0] == _MIG_ON


def _slices(nvml: Nvml, index: int, parent: Any, parent_uuid: str) -> Iterator[Listed]:
    for number in range(nvml.ask("nvmlDeviceGetMaxMigDeviceCount", parent) or 0):
        handle = nvml.ask("nvmlDeviceGetMigDeviceHandleByIndex", parent, number)
        if handle is None:  # no slice in this place
            continue
        ids = (nvml.ask(name, handle) for name in ("nvmlDeviceGetGpuInstanceId", "nvmlDeviceGetComputeInstanceId"))
        place = "/".join("?" if one is None else str(one) for one in ids)
        uuid = str(nvml.ask("nvmlDeviceGetUUID", handle) or f"index {index}/{place}")
        yield Listed(index, uuid, handle, parent, place, parent_uuid)


def visible_gpus(there: Sequence[Listed], environment: Mapping[str, str]) -> list[Listed]:
    """Those of the GPUs that a CUDA program started with these variables sees, in its order."""
    told = environment.get(VARIABLE)
    if told is None:
        return _one_slice([next(own) for own in (iter(gpus) for gpus in _by_index(there).values())])
    out: list[Listed] = []
    for word in map(str.strip, told.split(",")):
        found = _named(word, there)
        if found is None:
            break
        if found in out:  # CUDA refuses a list that names a GPU twice
            return []
        out.append(found)
    return _one_slice(out)


def _named(word: str, there: Sequence[Listed]) -> Listed | None:
    if word.isdecimal():
        return next(iter(_by_index(there).get(int(word), ())), None)
    found = [one for one in there if word and one.is_named(word)]
    return found[0] if len(found) == 1 else None


def _by_index(there: Sequence[Listed]) -> dict[int, list[Listed]]:
    out: dict[int, list[Listed]] = {}
    for one in there:
        out.setdefault(one.index, []).append(one)
    return out


def _one_slice(chosen: Sequence[Listed]) -> list[Listed]:
    first = next(iter(chosen), None)
    if first is None:
        return []
    return [first] if first.is_slice else [one for one in chosen if not one.is_slice]
