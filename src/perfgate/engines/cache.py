"""The engine cache: prepared engines by content key, each built once, verified on load."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import filelock

from perfgate.case import EngineSpec, canonical, short_hash
from perfgate.device import Device
from perfgate.engines.base import Backend, Prepared
from perfgate.engines.cache_use import unused
from perfgate.errors import CacheError, EngineError, ModelError, PerfgateError
from perfgate.heartbeat import beat
from perfgate.plain_file import open_plain
from perfgate.process import HERE, Interpreter
from perfgate.record import PreparedInfo, encode_pretty, read_record, write_atomic

ENTRY_SCHEMA = 1
MANIFEST = "perfgate-engine.json"
_KEY = re.compile(r"[0-9a-z]{1,64}")
_VERSION = "version."  # how the parts of a key that are versions begin


@dataclass(frozen=True, slots=True)
class Entry:
    """The manifest of a cache entry. `parts` are what the key was made from; `files` their digests."""

    key: str
    parts: Mapping[str, str]
    files: Mapping[str, str]  # relative name -> sha256
    phases: Mapping[str, float]
    engine_bytes: int
    versions: Mapping[str, str]
    built: str
    schema: int = ENTRY_SCHEMA


@dataclass(frozen=True, slots=True)
class Found:
    """A prepared engine in the cache, and the Python that can load it."""

    folder: Path
    entry: Entry
    from_cache: bool
    interpreter: Interpreter = HERE

    def info(self, engine: str) -> PreparedInfo:
        entry = self.entry
        return PreparedInfo(engine, entry.key, self.from_cache, entry.phases, entry.engine_bytes, entry.versions)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What became of a cache: entries removed, those left because they are in use, bytes freed, bytes left."""

    removed: int
    in_use: int
    freed: int
    left: int


class EngineCache:
    """Prepared engines under `root`, one folder per key and one lock per key."""

    def __init__(self, root: Path, now: Callable[[], str]) -> None:
        self.root = root
        self._now = now

    def get(self, spec: EngineSpec, device: Device, backend: Backend, *, fresh: bool = False) -> Found:
        """The prepared engine of a spec, from the cache or built now. Several processes build it once.

        What a killed build left behind has no manifest and is removed.

        Raises:
            ModelError: the checkpoint is missing or damaged.
            EngineError: the build failed, of which nothing is kept; or others use the engine that it would replace.
        """
        parts = key_parts(spec, device, backend)
        folder = self.root / short_hash(parts)
        with self._locked(folder), unused(folder) as is_free:
            if not fresh and (found := self._usable(folder)):
                return found
            if not is_free:
                raise EngineError(f"{folder} cannot be built again: another gate uses it; wait for its end")
            _remove(folder)
            return Found(folder, self._build(spec, device, backend, parts, folder), from_cache=False)

    def lookup(self, spec: EngineSpec, device: Device, backend: Backend) -> Found | None:
        """The prepared engine of a spec if it is there and whole; loads no engine library.

        Raises:
            ModelError: the checkpoint is missing.
        """
        folder = self.root / short_hash(key_parts(spec, device, backend))
        with self._locked(folder):
            return self._usable(folder)

    def _locked(self, folder: Path) -> filelock.BaseFileLock:
        self.root.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(f"{folder}.lock")

    def find(self, key: str) -> Found | None:
        """An entry by key, verified, or None where it is gone or damaged."""
        folder = self.root / key
        if not _KEY.fullmatch(key) or folder.is_symlink():  # a baseline names keys: none leads out of the cache
            return None
        with suppress(PerfgateError):
            return Found(folder, verify(folder), from_cache=True)
        return None

    def entries(self) -> list[Found]:
        """Every readable entry, newest use first; digests are not checked."""
        folders = self._folders()
        folders.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
        return [found for folder in folders if (found := _readable(folder))]

    def prune(self, most_bytes: int) -> Pruned:
        """Remove entries, those used longest ago first, until all take at most so many bytes on the disk.

        One that a gate uses now, or that is being built, stays whatever it takes.
        """
        folders = self._folders()
        sizes = {folder: _bytes_of(folder) for folder in folders}
        used = {folder: folder.stat().st_mtime for folder in folders}
        left, removed, in_use = sum(sizes.values()), 0, 0
        for folder in sorted(folders, key=used.__getitem__):
            if left <= most_bytes:
                break
            if self._evict(folder):
                left, removed = left - sizes[folder], removed + 1
            else:
                in_use += 1
        return Pruned(removed, in_use, sum(sizes.values()) - left, left)

    def _evict(self, folder: Path) -> bool:
        try:
            with filelock.FileLock(f"{folder}.lock", timeout=0), unused(folder) as is_free:
                if is_free:
                    _remove(folder)
                return is_free
        except filelock.Timeout:  # it is being built or looked at
            return False

    def _folders(self) -> list[Path]:
        """Folders of entries; links are none, whatever they lead to."""
        found = (path.parent for path in self.root.glob(f"*/{MANIFEST}"))
        return [folder for folder in found if not folder.is_symlink()]

    def why(self, spec: EngineSpec, device: Device, backend: Backend) -> str:
        """Whether the spec would be built, and what is different from the nearest entry."""
        parts = key_parts(spec, device, backend)
        folder = self.root / short_hash(parts)
        if folder.exists():
            try:
                verify(folder)
            except PerfgateError as exc:
                return f"rebuild: {exc}"
            return f"hit: {folder.name}"
        near = min(self.entries(), key=lambda found: len(_differences(parts, found.entry.parts)), default=None)
        if near is None:
            return "build: the cache is empty"
        changes = "; ".join(_differences(parts, near.entry.parts))
        return f"build: nearest entry {near.entry.key} differs in {changes}"

    def _usable(self, folder: Path) -> Found | None:
        """The verified entry, marked as used now; None where it is missing or damaged."""
        found = self.find(folder.name)
        if found:
            os.utime(folder)
        return found

    def _build(
        self, spec: EngineSpec, device: Device, backend: Backend, parts: Mapping[str, str], folder: Path
    ) -> Entry:
        """Build in place; the manifest, written last and atomically, makes the folder an entry.

        In place rather than renamed from a temporary folder: compile caches of some engines go by path,
        and a killed build leaves one folder without a manifest, which the next build removes.
        """
        folder.mkdir()
        try:
            return self._seal(backend.prepare(spec, device, folder), parts, folder.name)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _seal(self, prepared: Prepared, parts: Mapping[str, str], key: str) -> Entry:
        files = {path: digest(prepared.folder / path) for path in _files(prepared.folder)}
        size = sum((prepared.folder / path).stat().st_size for path in files)
        versions = {name.removeprefix(_VERSION): value for name, value in parts.items() if name.startswith(_VERSION)}
        entry = Entry(key, parts, files, prepared.phases, size, versions, self._now())
        for path in files:
            _sync(prepared.folder / path)
        write_atomic(prepared.folder / MANIFEST, encode_pretty(entry))
        _sync(prepared.folder)
        return entry


def _remove(folder: Path) -> None:
    """The manifest first: what is left of a removal that was killed is no entry."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(scratch(folder), ignore_errors=True)


def _bytes_of(folder: Path) -> int:
    """Of an entry and its scratch folder, on the disk."""
    files = [path for part in (folder, scratch(folder)) for path in part.rglob("*")]
    return sum(path.lstat().st_blocks * 512 for path in files)


def scratch(folder: Path) -> Path:
    """Where the library of an entry's engine may keep what it compiles: beside the entry, which never changes.

    Its code goes by path and is made anew where it is missing, so nothing of it is verified.
    """
    return folder.parent / f"{folder.name}.scratch"


def key_parts(spec: EngineSpec, device: Device, backend: Backend) -> dict[str, str]:
    """Everything that changes an engine's bits, by name.

    A backend whose versions depend on the spec (a server's program, or what a running one answers) has a method
    `versions_of(spec)`, whose answer stands beside that of `versions()`.
    """
    parts = {f"spec.{name}": str(value) for name, value in canonical(spec).items() if name != "model"}
    own: Callable[[EngineSpec], Mapping[str, str]] = getattr(backend, "versions_of", lambda _: {})
    parts |= {f"{_VERSION}{name}": value for name, value in {**backend.versions(), **own(spec)}.items()}
    parts |= code_of(backend)
    parts["weights"] = model_digest(spec.model)
    if spec.speculative and spec.speculative.model:
        parts["draft_weights"] = model_digest(spec.speculative.model)
    if spec.quantisation and spec.quantisation.calibration:
        parts["calibration"] = calibration_digest(spec.quantisation.calibration)
    parts["device"] = device.key
    parts["product"] = device.product
    parts["driver"] = device.driver.split(".", maxsplit=1)[0]
    return parts


def code_of(backend: Backend) -> dict[str, str]:
    """The module of a backend that is not ours: whoever writes one changes it without a version."""
    module = sys.modules.get(type(backend).__module__)
    file = getattr(module, "__file__", None)
    if file is None or type(backend).__module__.startswith("perfgate."):
        return {}
    return {"backend_code": digest(Path(file))}


def model_digest(folder: Path) -> str:
    """One digest of all files of a checkpoint.

    Raises:
        ModelError: the folder is missing or empty.
    """
    names = _files(folder) if folder.is_dir() else []
    if not names:
        raise ModelError(f"no checkpoint in {folder}: the folder is {'empty' if folder.is_dir() else 'missing'}")
    return short_hash({name: digest(folder / name) for name in names})


def calibration_digest(texts: Path) -> str:
    """Of a file of calibration texts.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return digest(texts)
    except OSError as exc:
        raise ModelError(f"the calibration texts {texts} cannot be read: {exc.strerror}") from exc


def verify(folder: Path) -> Entry:
    """Check every file of an entry against its digest.

    Raises:
        CacheError: a file is missing, added or changed.
        RecordError: the manifest is damaged or of another schema.
    """
    entry = _manifest(folder)
    whole = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(whole):
            raise CacheError(f"{folder}: '{path.relative_to(folder)}' is a link that leads out of it")
    found = set(_files(folder)) - {MANIFEST}
    for name in sorted(found ^ set(entry.files)):
        raise CacheError(f"{folder}: '{name}' is {'unknown' if name in found else 'missing'}")
    for name, expected in entry.files.items():
        if digest(folder / name) != expected:
            raise CacheError(f"{folder}: '{name}' was changed since it was built")
    return entry


def _readable(folder: Path) -> Found | None:
    with suppress(PerfgateError):
        return Found(folder, _manifest(folder), from_cache=True)
    return None


def _manifest(folder: Path) -> Entry:
    return read_record(folder / MANIFEST, Entry, ENTRY_SCHEMA)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _differences(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    names = sorted(name for name in new.keys() | old.keys() if new.get(name) != old.get(name))
    return [f"{name} ({old.get(name, 'absent')} -> {new.get(name, 'absent')})" for name in names]


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Phases:
    """Seconds per named phase: `with phases("quantise"): ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._name = ""
        self._start = 0.0

    def __call__(self, name: str) -> Phases:
        self._name = name
        return self

    def __enter__(self) -> None:
        beat(f"preparing: {self._name}")
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self._name] = time.perf_counter() - self._start
