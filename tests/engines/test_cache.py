from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import filelock
import pytest

from fake_engine import WEIGHTS, FakeBackend
from perfgate.case import Drafting, EngineSpec, KvDtype, Precision, Speculation
from perfgate.device import Device
from perfgate.engines.cache import MANIFEST, EngineCache, Found, Phases, key_parts, model_digest, scratch, verify
from perfgate.engines.cache_use import parse_size, use
from perfgate.errors import CacheError, EngineError, ModelError, RecordError, UsageError

DEVICE = Device("sm_90/h200-141gb", "NVIDIA H200", "550.54.15")
PATIENCE_S = 60.0  # ends a test that hangs; nothing is asserted about it
SPAWN = multiprocessing.get_context("spawn")


def now() -> str:
    return "2026-01-14T08:00:00+00:00"


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines", now)


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    return EngineSpec("fp32", _checkpoint(tmp_path / "model"), "fake")


def test_a_second_wish_is_a_hit(cache: EngineCache, spec: EngineSpec) -> None:
    built = cache.get(spec, DEVICE, FakeBackend())

    found = cache.get(spec, DEVICE, FakeBackend())

    assert not built.from_cache
    assert found.from_cache
    assert (found.folder, found.entry) == (built.folder, built.entry)


def test_an_entry_tells_how_it_came_to_be(cache: EngineCache, spec: EngineSpec) -> None:
    found = cache.get(spec, DEVICE, FakeBackend())

    assert found.folder == cache.root / found.entry.key
    assert set(found.entry.files) == {WEIGHTS, "compiled/plan.txt", "config.txt"}
    assert found.entry.engine_bytes == sum((found.folder / name).stat().st_size for name in found.entry.files)
    assert set(found.entry.phases) == {"convert", "compile"}
    assert found.entry.versions == {"fake": "1.0"}
    assert found.entry.built == now()


def test_what_a_run_keeps_of_an_entry(cache: EngineCache, spec: EngineSpec) -> None:
    found = cache.get(spec, DEVICE, FakeBackend())

    info = found.info("fp32")

    assert (info.engine, info.key, info.from_cache) == ("fp32", found.entry.key, False)
    assert info.engine_bytes == found.entry.engine_bytes
    assert info.build_s == sum(found.entry.phases.values())


def test_a_fresh_engine_is_built_again(cache: EngineCache, spec: EngineSpec, tmp_path: Path) -> None:
    logged = replace(spec, engine_args=(("build_log", str(tmp_path / "log")),))
    cache.get(logged, DEVICE, FakeBackend())

    found = cache.get(logged, DEVICE, FakeBackend(), fresh=True)

    assert not found.from_cache
    assert len((tmp_path / "log").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"precision": Precision.INT8_WO},
        {"kv_cache_dtype": KvDtype.INT8},
        {"max_batch_size": 16},
        {"speculative": Speculation(Drafting.NGRAM)},
        {"engine_args": (("threads", 2),)},
        {"tp": 2},
    ],
)
def test_another_spec_is_another_engine(cache: EngineCache, spec: EngineSpec, change: dict[str, Any]) -> None:
    first = cache.get(spec, DEVICE, FakeBackend())

    other = cache.get(replace(spec, **change), DEVICE, FakeBackend())

    assert not other.from_cache
    assert other.entry.key != first.entry.key
    assert first.folder.is_dir()


@pytest.mark.parametrize(
    "change",
    [{"key": "sm_80/a100-80gb"}, {"product": "NVIDIA H200 NVL"}, {"driver": "560.35.03"}, {"driver": ""}],
)
def test_another_device_is_another_engine(cache: EngineCache, spec: EngineSpec, change: dict[str, Any]) -> None:
    first = cache.get(spec, DEVICE, FakeBackend())

    other = cache.get(spec, replace(DEVICE, **change), FakeBackend())

    assert not other.from_cache
    assert other.entry.key != first.entry.key


def test_another_version_is_another_engine(cache: EngineCache, spec: EngineSpec) -> None:
    first = cache.get(spec, DEVICE, FakeBackend(version="1.0"))

    other = cache.get(spec, DEVICE, FakeBackend(version="1.1"))

    assert not other.from_cache
    assert other.entry.key != first.entry.key


def test_changed_weights_are_another_engine(cache: EngineCache, spec: EngineSpec) -> None:
    first = cache.get(spec, DEVICE, FakeBackend())
    (spec.model / "model.safetensors").write_bytes(b"\x00\x01\x02\x04")

    other = cache.get(spec, DEVICE, FakeBackend())

    assert not other.from_cache
    assert other.entry.key != first.entry.key


def test_changed_draft_weights_are_another_engine(cache: EngineCache, spec: EngineSpec, tmp_path: Path) -> None:
    draft = _checkpoint(tmp_path / "draft")
    speculative = replace(spec, speculative=Speculation(Drafting.DRAFT_MODEL, model=draft))
    first = cache.get(speculative, DEVICE, FakeBackend())
    (draft / "model.safetensors").write_bytes(b"better")

    other = cache.get(speculative, DEVICE, FakeBackend())

    assert other.entry.key != first.entry.key


def test_a_renamed_checkpoint_file_is_another_engine(cache: EngineCache, spec: EngineSpec) -> None:
    first = cache.get(spec, DEVICE, FakeBackend())
    (spec.model / "model.safetensors").rename(spec.model / "model-00001-of-00001.safetensors")

    other = cache.get(spec, DEVICE, FakeBackend())

    assert other.entry.key != first.entry.key


def test_the_name_of_a_spec_does_not_matter(cache: EngineCache, spec: EngineSpec) -> None:
    cache.get(spec, DEVICE, FakeBackend())

    assert cache.get(replace(spec, name="baseline"), DEVICE, FakeBackend()).from_cache


def test_the_place_of_the_weights_does_not_matter(cache: EngineCache, spec: EngineSpec, tmp_path: Path) -> None:
    cache.get(spec, DEVICE, FakeBackend())
    moved = shutil.copytree(spec.model, tmp_path / "elsewhere" / "copy")

    assert cache.get(replace(spec, model=moved), DEVICE, FakeBackend()).from_cache


def test_a_minor_driver_update_does_not_matter(cache: EngineCache, spec: EngineSpec) -> None:
    cache.get(spec, DEVICE, FakeBackend())

    assert cache.get(spec, replace(DEVICE, driver="550.90.07"), FakeBackend()).from_cache


def test_a_failed_build_leaves_nothing(cache: EngineCache, spec: EngineSpec) -> None:
    failing = replace(spec, engine_args=(("fail", "build"),))

    with pytest.raises(EngineError, match="told to fail"):
        cache.get(failing, DEVICE, FakeBackend())

    assert cache.entries() == []
    assert {path.suffix for path in cache.root.iterdir()} == {".lock", ".use"}


def test_a_build_works_after_one_that_failed(
    cache: EngineCache, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _disk_full)
        with pytest.raises(OSError, match="disk full"):
            cache.get(spec, DEVICE, FakeBackend())

    found = cache.get(spec, DEVICE, FakeBackend())

    assert not found.from_cache
    assert verify(found.folder) == found.entry


def test_no_checkpoint_is_an_error_that_names_the_folder(cache: EngineCache, spec: EngineSpec, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no checkpoint in .*nowhere: the folder is missing"):
        cache.get(replace(spec, model=tmp_path / "nowhere"), DEVICE, FakeBackend())


def test_an_empty_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the folder is empty"):
        model_digest(tmp_path)


def _change(folder: Path) -> None:
    (folder / WEIGHTS).write_text("other weights\n")


def _flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[0] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def _add(folder: Path) -> None:
    (folder / "compiled" / "stranger.so").write_bytes(b"")


def _remove(folder: Path) -> None:
    (folder / "compiled" / "plan.txt").unlink()


def _remove_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def _cut_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:-20])


def _other_schema(folder: Path) -> None:
    manifest = folder / MANIFEST
    manifest.write_text(manifest.read_text().replace('"schema": 1', '"schema": 2'))


DAMAGES = {
    _change: "'weights.bin' was changed since it was built",
    _flip_a_bit: "'weights.bin' was changed since it was built",
    _add: "'compiled/stranger.so' is unknown",
    _remove: "'compiled/plan.txt' is missing",
    _remove_manifest: "cannot be read",
    _cut_manifest: "is damaged or not a perfgate file",
    _other_schema: "has schema 2",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_built_again(cache: EngineCache, spec: EngineSpec, damage: Callable[[Path], None]) -> None:
    built = cache.get(spec, DEVICE, FakeBackend())
    damage(built.folder)

    again = cache.get(spec, DEVICE, FakeBackend())

    assert not again.from_cache
    assert again.entry.files == built.entry.files
    assert verify(again.folder) == again.entry


@pytest.mark.parametrize(("damage", "words"), DAMAGES.items())
def test_a_damaged_entry_says_why_it_is_rebuilt(
    cache: EngineCache, spec: EngineSpec, damage: Callable[[Path], None], words: str
) -> None:
    built = cache.get(spec, DEVICE, FakeBackend())
    damage(built.folder)

    why = cache.why(spec, DEVICE, FakeBackend())

    assert why.startswith("rebuild: ")
    assert words in why


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_not_found(cache: EngineCache, spec: EngineSpec, damage: Callable[[Path], None]) -> None:
    built = cache.get(spec, DEVICE, FakeBackend())
    damage(built.folder)

    assert cache.find(built.entry.key) is None


def test_a_changed_file_fails_its_digest(cache: EngineCache, spec: EngineSpec) -> None:
    built = cache.get(spec, DEVICE, FakeBackend())
    _change(built.folder)

    with pytest.raises(CacheError, match="was changed"):
        verify(built.folder)


def test_a_folder_without_manifest_is_no_entry(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=MANIFEST):
        verify(tmp_path)


def test_a_whole_entry_is_found_by_its_key(cache: EngineCache, spec: EngineSpec) -> None:
    built = cache.get(spec, DEVICE, FakeBackend())

    assert cache.find(built.entry.key) == replace(built, from_cache=True)
    assert cache.find("0" * 16) is None


def test_why_an_empty_cache_builds(cache: EngineCache, spec: EngineSpec) -> None:
    assert cache.why(spec, DEVICE, FakeBackend()) == "build: the cache is empty"


def test_why_a_known_engine_is_a_hit(cache: EngineCache, spec: EngineSpec) -> None:
    built = cache.get(spec, DEVICE, FakeBackend())

    assert cache.why(spec, DEVICE, FakeBackend()) == f"hit: {built.entry.key}"


def test_why_names_each_difference_from_the_nearest_entry(cache: EngineCache, spec: EngineSpec) -> None:
    near = cache.get(spec, DEVICE, FakeBackend())
    cache.get(replace(spec, precision=Precision.INT4_WO, tp=4, pp=2), DEVICE, FakeBackend())

    why = cache.why(replace(spec, precision=Precision.INT8_WO), DEVICE, FakeBackend(version="1.1"))

    assert why == (
        f"build: nearest entry {near.entry.key} differs in spec.precision (fp32 -> int8_wo); version.fake (1.0 -> 1.1)"
    )


def test_why_names_what_was_not_there_before(cache: EngineCache, spec: EngineSpec, tmp_path: Path) -> None:
    cache.get(spec, DEVICE, FakeBackend())
    draft = Speculation(Drafting.DRAFT_MODEL, model=_checkpoint(tmp_path / "draft"))

    why = cache.why(replace(spec, speculative=draft), DEVICE, FakeBackend())

    assert "draft_weights (absent -> " in why


def test_asking_why_builds_nothing(cache: EngineCache, spec: EngineSpec) -> None:
    cache.why(spec, DEVICE, FakeBackend())

    assert cache.entries() == []


def test_entries_stand_in_order_of_use(cache: EngineCache, spec: EngineSpec) -> None:
    old, new = (cache.get(replace(spec, tp=tp), DEVICE, FakeBackend()) for tp in (1, 2))
    os.utime(new.folder, (1, 1))
    os.utime(old.folder, (2, 2))

    assert [found.entry.key for found in cache.entries()] == [old.entry.key, new.entry.key]


def test_a_hit_is_a_use(cache: EngineCache, spec: EngineSpec) -> None:
    first, second = (cache.get(replace(spec, tp=tp), DEVICE, FakeBackend()) for tp in (1, 2))
    os.utime(first.folder, (1, 1))
    os.utime(second.folder, (2, 2))

    cache.get(spec, DEVICE, FakeBackend())

    assert cache.entries()[0].entry.key == first.entry.key


def test_entries_leave_out_what_cannot_be_read(cache: EngineCache, spec: EngineSpec) -> None:
    whole, broken = (cache.get(replace(spec, tp=tp), DEVICE, FakeBackend()) for tp in (1, 2))
    _cut_manifest(broken.folder)

    assert [found.entry.key for found in cache.entries()] == [whole.entry.key]


def test_why_survives_another_damaged_entry(cache: EngineCache, spec: EngineSpec) -> None:
    broken = cache.get(spec, DEVICE, FakeBackend())
    _cut_manifest(broken.folder)

    assert cache.why(replace(spec, tp=2), DEVICE, FakeBackend()).startswith("build: ")


def test_pruning_to_nothing_removes_every_entry_and_counts_them(cache: EngineCache, spec: EngineSpec) -> None:
    engines = [cache.get(replace(spec, tp=tp), DEVICE, FakeBackend()) for tp in (1, 2, 4)]

    assert cache.prune(0).removed == len(engines)
    assert cache.entries() == []
    assert not any(found.folder.exists() for found in engines)
    assert cache.prune(0).removed == 0


def test_a_pruned_engine_is_built_again(cache: EngineCache, spec: EngineSpec) -> None:
    cache.get(spec, DEVICE, FakeBackend())
    cache.prune(0)

    assert not cache.get(spec, DEVICE, FakeBackend()).from_cache


def test_a_cache_that_never_was_has_no_entries(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "never", now)

    assert cache.entries() == []
    assert cache.prune(0).removed == 0


def test_the_key_tells_by_name_what_it_is_made_of(spec: EngineSpec) -> None:
    parts = key_parts(spec, DEVICE, FakeBackend())

    assert parts["device"] == "sm_90/h200-141gb"
    assert parts["product"] == "NVIDIA H200"
    assert parts["driver"] == "550"
    assert parts["version.fake"] == "1.0"
    assert parts["spec.precision"] == "fp32"
    assert {"spec.name", "spec.model"}.isdisjoint(parts)


def test_the_code_of_a_backend_that_is_not_ours_is_in_the_key(spec: EngineSpec, tmp_path: Path) -> None:
    """A change of it has no version, and the engine of before cannot be measured beside it any more."""
    module = ModuleType("own_backend")
    module.__file__ = str(tmp_path / "own_backend.py")
    own = type("Own", (FakeBackend,), {"__module__": module.__name__})()

    def key(text: str) -> str:
        (tmp_path / "own_backend.py").write_text(text)
        return key_parts(spec, DEVICE, own)["backend_code"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        assert key("fast") == key("fast") != key("slow")


def test_phases_are_kept_by_name_in_order() -> None:
    phases = Phases()

    with phases("convert"):
        pass
    with phases("compile"):
        pass

    assert list(phases.seconds) == ["convert", "compile"]
    assert min(phases.seconds.values()) >= 0


def test_eight_processes_build_an_engine_once(cache: EngineCache, spec: EngineSpec, tmp_path: Path) -> None:
    ready, gate, log = tmp_path / "ready", tmp_path / "gate", tmp_path / "log"
    ready.mkdir()
    gated = replace(spec, engine_args=(("build_log", str(log)), ("gate", str(gate))))

    with ProcessPoolExecutor(8, mp_context=SPAWN) as pool:
        wishes = [pool.submit(_announce_and_get, ready, index, cache.root, gated) for index in range(8)]
        _wait_until(lambda: len(list(ready.iterdir())) == 8, or_open=gate)
        gate.touch()
        found = [wish.result(PATIENCE_S) for wish in wishes]

    assert len(log.read_text().splitlines()) == 1
    assert [one.from_cache for one in found].count(False) == 1
    assert {one.entry.key for one in found} == {found[0].entry.key}
    assert verify(found[0].folder) == found[0].entry


def test_eight_different_engines_do_not_wait_for_each_other(
    cache: EngineCache, spec: EngineSpec, tmp_path: Path
) -> None:
    """Each build waits half-way until all eight have come so far: one at a time they never would."""
    gate = tmp_path / "gate"
    wishes = [replace(spec, tp=tp, engine_args=(("gate", str(gate)),)) for tp in range(1, 9)]

    with ProcessPoolExecutor(8, mp_context=SPAWN) as pool:
        builds = [pool.submit(_get, cache.root, wish) for wish in wishes]
        _wait_until(lambda: len(list(cache.root.glob(f"*/{WEIGHTS}"))) == 8, or_open=gate)
        were_under_way = len(list(cache.root.glob(f"*/{WEIGHTS}"))), len(cache.entries())
        gate.touch()
        found = [build.result(PATIENCE_S) for build in builds]

    assert were_under_way == (8, 0)
    assert [one.from_cache for one in found] == [False] * 8


def test_pruning_removes_those_used_longest_ago(cache: EngineCache, spec: EngineSpec) -> None:
    engines = [cache.get(replace(spec, tp=tp), DEVICE, FakeBackend()) for tp in (1, 2, 4)]
    for moment, found in enumerate(engines, start=1):
        os.utime(found.folder, (moment, moment))
    all_of_them = cache.prune(10**12)

    pruned = cache.prune(all_of_them.left - 1)

    assert (all_of_them.removed, pruned.removed) == (0, 1)
    assert pruned.freed + pruned.left == all_of_them.left
    assert [found.folder.exists() for found in engines] == [False, True, True]


def test_pruning_counts_what_an_engine_keeps_beside_its_entry(cache: EngineCache, spec: EngineSpec) -> None:
    found = cache.get(spec, DEVICE, FakeBackend())
    scratch(found.folder).mkdir()
    (scratch(found.folder) / "compiled").write_bytes(b"x" * 100_000)

    assert cache.prune(100_000).removed == 1
    assert not scratch(found.folder).exists()


def test_an_engine_in_use_is_never_pruned_nor_built_anew(cache: EngineCache, spec: EngineSpec) -> None:
    found = cache.get(spec, DEVICE, FakeBackend())
    handle = use(found.folder)
    try:
        pruned = cache.prune(0)
        with pytest.raises(EngineError, match="another gate uses it"):
            cache.get(spec, DEVICE, FakeBackend(), fresh=True)
        assert verify(found.folder) == found.entry
    finally:
        os.close(handle)

    assert (pruned.removed, pruned.in_use) == (0, 1)
    assert cache.prune(0).removed == 1


def test_the_engine_of_a_killed_gate_is_in_use_until_its_last_round_ends(cache: EngineCache, spec: EngineSpec) -> None:
    found = cache.get(spec, DEVICE, FakeBackend())
    hold = (
        "import subprocess, sys; from pathlib import Path; from perfgate.engines.cache_use import use\n"
        "handle = use(Path(sys.argv[1]))\n"
        "round = subprocess.Popen(['sleep', '60'], pass_fds=[handle])\n"
        "print(round.pid, flush=True); input()"
    )
    gate = subprocess.Popen(
        [sys.executable, "-c", hold, str(found.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert gate.stdout is not None
    last_round = int(gate.stdout.readline())
    gate.kill()
    gate.wait()

    while_it_runs = cache.prune(0)
    os.kill(last_round, signal.SIGKILL)
    _wait_until(lambda: cache.prune(0).removed == 1, or_open=cache.root / "never")

    assert (while_it_runs.removed, while_it_runs.in_use) == (0, 1)
    assert not found.folder.exists()
    gate.communicate()


def test_an_engine_that_is_being_built_is_not_pruned(cache: EngineCache, spec: EngineSpec) -> None:
    found = cache.get(spec, DEVICE, FakeBackend())
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool, filelock.FileLock(f"{found.folder}.lock"):
        assert pool.submit(_prune, cache.root).result(PATIENCE_S) == (0, 1)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("500MB", 5 * 10**8), ("1.5 tb", 15 * 10**11), ("20gb", 2 * 10**10), ("7B", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size("--max-bytes", text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "20GiB", "1e9", "much", "nan"])
def test_what_is_no_size_is_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"--max-bytes: found '.*', expected a size such as 500MB"):
        parse_size("--max-bytes", text)


def test_a_killed_build_is_no_entry_and_is_built_again(cache: EngineCache, spec: EngineSpec, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gated = replace(spec, engine_args=(("gate", str(gate)),))
    builder = SPAWN.Process(target=_get, args=(cache.root, gated))
    builder.start()
    _wait_until(lambda: any(cache.root.glob(f"*/{WEIGHTS}")), or_open=gate)
    half_built = [path.parent for path in cache.root.glob(f"*/{WEIGHTS}")]

    os.kill(builder.pid or 0, signal.SIGKILL)
    builder.join(PATIENCE_S)

    assert builder.exitcode == -signal.SIGKILL
    assert [folder.is_dir() for folder in half_built] == [True]
    assert cache.entries() == []
    assert cache.find(half_built[0].name) is None
    assert cache.why(gated, DEVICE, FakeBackend()).startswith("rebuild: ")
    gate.touch()
    found = cache.get(gated, DEVICE, FakeBackend())
    assert found.folder == half_built[0]
    assert not found.from_cache
    assert verify(found.folder) == found.entry


def _checkpoint(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"hidden_size": 64}\n')
    (folder / "model.safetensors").write_bytes(b"\x00\x01\x02\x03")
    return folder


def _prune(root: Path) -> tuple[int, int]:
    pruned = EngineCache(root, now).prune(0)
    return pruned.removed, pruned.in_use


def _get(root: Path, spec: EngineSpec) -> Found:
    return EngineCache(root, now).get(spec, DEVICE, FakeBackend())


def _announce_and_get(ready: Path, index: int, root: Path, spec: EngineSpec) -> Found:
    (ready / str(index)).touch()
    return _get(root, spec)


def _wait_until(is_so: Callable[[], bool], or_open: Path) -> None:
    """Wait for other processes; past all patience let them finish, for the assertions to fail."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    if not is_so():
        or_open.touch()


def _disk_full(handle: int) -> None:
    raise OSError(28, "disk full", str(handle))
