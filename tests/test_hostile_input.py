"""Untrusted data: every reader answers or says what is wrong in one line, whatever the bytes are."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib.format import write_array_header_1_0

from perfgate.baselines import baseline_path, load_baseline
from perfgate.compared import read_before
from perfgate.engines.cache import MANIFEST, EngineCache, Entry, calibration_digest
from perfgate.engines.tensorrt_llm_entry import tuned
from perfgate.errors import BaselineError, EngineError, PerfgateError
from perfgate.foreign_json import ForeignJsonError, read_json
from perfgate.gpu.watch import read_samples
from perfgate.importing.faults import Faults
from perfgate.importing.source import read_source
from perfgate.journal import Journal
from perfgate.load.lengths import read_histogram
from perfgate.load.trace import Limits, read_trace
from perfgate.record import Run, decode, encode, read_bounded
from perfgate.suite import load_suite
from perfgate.waivers import load_waivers
from perfgate.workloads.distributions import TOP, Alike, kept
from perfgate.workloads.texts import read_documents
from readers import DEVICE, INPUTS, SUITE, attempt

EXAMPLES = 15  # of each kind and reader; benchmarks/fuzz does millions
_WORDS = [
    b"NaN", b"Infinity", b"-1", b"0", b"1e999", b"9" * 400, b"null", b"true", b'""', b'"\\ud800"', b"[]", b"{}", b"\0",
    b"\x1b[2J", b"\xff\xfe", b'"' + b"x" * 5000 + b'"', b"&a", b"*a", b"!!python/object/apply:os.system", b"../../x",
    b"[" * 3000, b"\r\n\r\n", b'{"schema": 99}', b'"a": 1, "a": 2',
]  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """What a reader takes, with pieces cut, doubled, or replaced by words that are trouble."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.sampled_from([0, 1, 2, 8, 100])))
        word = draw(st.one_of(st.sampled_from(_WORDS), st.binary(max_size=6), st.just(data[begin:end] * 2)))
        data = data[:begin] + word + data[end:]
    return data


@st.composite
def with_other_values(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """JSON of the right shape in which one value is another."""
    data = draw(st.sampled_from(seeds))
    values = list(re.finditer(rb'(?<=[:\[,])\s*("[^"]*"|-?[\d.]+|true|false|null|\[\]|\{\})', data))
    if not values:
        return data
    found = draw(st.sampled_from(values))
    return data[: found.start()] + draw(st.sampled_from(_WORDS)) + data[found.end() :]


@pytest.mark.parametrize("name", INPUTS)
def test_what_a_reader_takes_is_taken_and_anything_else_is_one_line(name: str) -> None:
    one = INPUTS[name]

    @settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.one_of(spoilt(one.seeds), with_other_values(one.seeds), st.binary(max_size=200)))
    def hold(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            attempt(one, Path(folder), data)

    hold()


@pytest.mark.parametrize("name", sorted(INPUTS.keys() - {"ceilings", "raw", "bridge-line", "sqlite", "logs"}))
def test_the_seeds_are_what_readers_take(tmp_path: Path, name: str) -> None:
    assert attempt(INPUTS[name], tmp_path, INPUTS[name].seeds[0])


def _arrays(header: bytes) -> bytes:
    """A file of distributions whose first array has that header."""
    out = io.BytesIO()
    with ZipFile(out, "w") as pack:
        pack.writestr("said.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    return out.getvalue()


# What the fuzzer found, by reader; each was a traceback once.
FOUND = {
    "history": [b"[0]\n[]", b"[0, 1]\n[0.5]", b"{}\n{}"],
    "response": [
        b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {"choices":[{"text":"\xde"}]}\n\n',
        b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {"error":' + b"[" * 4000 + b"\n\n",
    ],
    "distributions": [_arrays(b"{'descr': ("), _arrays(b"{\n  1\n 2")],
    "histogram": [b'{"1": 1' + b"0" * 400 + b"}"],
    "checkpoint": [b'{"vocab_size": 1e999}', b'{"vocab_size": NaN}', b"[" * 100_000, b'{"num_attention_heads": 1e999}'],
    "suite": [b'suite: "a\\e[2Jb"', b"a: &x [1]\nb: *x"],
    "baseline": [b'{"schema":1,"suite":"\\u001b[2J","device":"x","provenance":1,"cases":{}}'],
    "lease": [b'{"pid":1,"born":2,"command":"\\u001b]0;owned\\u0007","since":"\\n"}'],
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_what_the_fuzzer_found_stays_mended(tmp_path: Path, name: str) -> None:
    for data in FOUND[name]:
        attempt(INPUTS[name], tmp_path, data)


def test_the_page_of_promises_tells_every_reader_that_is_fuzzed() -> None:
    page = (Path(__file__).parents[1] / "docs" / "promises-input.md").read_text()
    table = page[page.index("| reader |") :].partition("\n\n")[0]

    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == list(INPUTS)


# ---------------------------------------------------------------------- limits


def _bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_bomb(9), "aliases"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: " + "[" * 40 + "]" * 40, "deep nesting"),
        ("suite: !!python/object/apply:os.system ['true']", "found"),
        ("suite: a\nsuite: b", "stands twice"),
        ("x" * 1_000_001, "more than 1000000 bytes"),
        ("schema: .nan", "found '.nan'"),
        ("gate: {budget: 1e999}", "found '1e999'"),
    ],
    ids=["bomb", "depth", "moderate depth", "tag", "key twice", "size", "nan", "number"],
)
def test_a_suite_that_would_explode_is_refused_in_one_line_each(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "suite.yaml").write_text(text)

    with pytest.raises(PerfgateError, match=re.escape(words)) as told:
        load_suite(tmp_path / "suite.yaml")

    assert len(str(told.value)) < 5000


def test_a_record_larger_than_any_of_ours_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfgate.record.MOST_BYTES", 10)
    (tmp_path / "run.json").write_bytes(b"x" * 11)

    with pytest.raises(PerfgateError, match="more than 10 bytes"):
        read_bounded(tmp_path / "run.json")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": 1, "a": 2}', "", "\ud800".encode("utf-8", "surrogatepass"), "x"]
)
def test_json_of_others_has_one_kind_of_error(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)

    with pytest.raises(ForeignJsonError):
        read_json(path)


def test_json_of_others_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfgate.foreign_json.MOST_BYTES", 3)
    (tmp_path / "config.json").write_text("[1, 2]")

    with pytest.raises(ForeignJsonError, match="more than 3 bytes"):
        read_json(tmp_path / "config.json")


@pytest.fixture
def little_memory() -> Iterator[None]:
    """What reads without an end fails soon, and takes no more than this of the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 256 * 1024**2, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture
def little_time() -> Iterator[None]:
    """What waits is a failure, not a test without an end."""

    def too_late(*_: object) -> None:
        raise TimeoutError("it waited")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _imported(path: Path) -> None:
    faults = Faults()
    read_source(path, faults)
    faults.stop()


LIMITED: dict[str, tuple[str, Callable[[Path], object]]] = {  # by reader, where its limit stands
    "suite": ("perfgate.schema.MAX_BYTES", load_suite),
    "journal": ("perfgate.record.MOST_BYTES", lambda path: Journal(path).read()),
    "compare's A": (
        "perfgate.record.MOST_BYTES",
        lambda path: read_before(path, decode(INPUTS["run"].seeds[0], Run, "B")),
    ),
    "baseline": ("perfgate.record.MOST_BYTES", lambda path: load_baseline(path, DEVICE, SUITE)),
    "documents": ("perfgate.workloads.texts.MAX_BYTES", read_documents),
    "histogram": ("perfgate.load.lengths._MAX_BYTES", read_histogram),
}


NAMED: dict[str, Callable[[Path], object]] = {name: read for name, (_, read) in LIMITED.items()} | {
    "waivers": lambda path: load_waivers(path, path.parent),
    "trace": lambda path: list(read_trace(path)),
    "calibration texts": calibration_digest,
    "import": _imported,
}


@pytest.mark.parametrize("name", LIMITED)
def test_a_file_over_its_limit_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, read = LIMITED[name]
    monkeypatch.setattr(limit, 1000)
    (tmp_path / "a.json").write_bytes(b" " * 1001)

    with pytest.raises(PerfgateError, match=r"a\.json.*(more|larger) than 1000 bytes") as told:
        read(tmp_path / "a.json")

    assert len(str(told.value)) < 500


def test_samples_of_a_gpu_over_their_limit_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfgate.record.MOST_BYTES", 1000)
    (tmp_path / "gpu.jsonl").write_bytes(b" " * 1001)

    assert "more than 1000 bytes" in str(read_samples(tmp_path / "gpu.jsonl", ("u",), 0.1).fault)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.usefixtures("little_memory", "little_time")
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "zeros.json").symlink_to("/dev/zero")

    for path, what in (("a.json", "a named pipe"), ("zeros.json", "a device")):
        with pytest.raises(PerfgateError, match=f"{path}.*[ (]it is {what}, expected a file"):
            NAMED[name](tmp_path / path)


@pytest.mark.usefixtures("little_memory")
def test_distributions_are_measured_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfgate.record.MOST_BYTES", 2**20)
    monkeypatch.setattr("perfgate.workloads.distributions.MOST_BYTES", 2**22)
    alike, size = Alike("fp32", tmp_path / "a.npz", "", keeps=False), 10 * 2**20
    with ZipFile(alike.path, "w", ZIP_DEFLATED) as pack, pack.open("ids.npy", "w") as member:
        for _ in range(size // 2**20):
            member.write(bytes(2**20))

    assert alike.path.stat().st_size < 2**20
    assert kept(alike) == f"the distributions of fp32 hold {size} bytes, at most {2**23} are read"


@pytest.mark.usefixtures("little_memory")
def test_distributions_that_claim_what_no_memory_holds_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfgate.record.MOST_BYTES", 2**20)
    alike = Alike("fp32", tmp_path / "a.npz", "", keeps=False)
    head = io.BytesIO()
    write_array_header_1_0(head, {"descr": "<i4", "fortran_order": False, "shape": (10**12, TOP)})
    with ZipFile(alike.path, "w") as pack:
        for name in ("said", "ids", "log_probs"):
            pack.writestr(f"{name}.npy", head.getvalue())

    assert kept(alike) == "the distributions of fp32 were not kept"


def test_a_trace_is_bounded() -> None:
    assert Limits().line_bytes < Limits().total_bytes < 2**32


# ---------------------------------------------------------------------- folders


@pytest.mark.parametrize("device", ["../../etc", "cpu/..", "/etc", "cpu", "cpu/a/b", "cpu/a\0", "cpu/.hidden", ""])
def test_a_device_key_never_leads_out_of_the_baselines(tmp_path: Path, device: str) -> None:
    with pytest.raises(BaselineError, match="expected names"):
        baseline_path(tmp_path, device, SUITE)


@pytest.mark.parametrize("suite", ["../x", "/etc/passwd", "a/b", "..", "", "a\nb"])
def test_a_suites_name_never_leads_out_of_the_baselines(tmp_path: Path, suite: str) -> None:
    with pytest.raises(BaselineError, match="expected names"):
        baseline_path(tmp_path, DEVICE, suite)


def test_a_link_among_baselines_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "baselines" / "cpu").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "baselines" / "cpu" / "x86_64-avx512").symlink_to(tmp_path / "outside")

    with pytest.raises(BaselineError, match="leads out"):
        baseline_path(tmp_path / "baselines", DEVICE, SUITE)


def test_baselines_may_themselves_lie_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "baselines").symlink_to(tmp_path / "real")

    assert baseline_path(tmp_path / "baselines", DEVICE, SUITE).name == "small.json"


@pytest.mark.parametrize("key", ["../../tmp/evil", "..", "/etc", "", "a/b", "A" * 300])
def test_a_key_of_a_baseline_never_leads_out_of_the_engine_cache(tmp_path: Path, key: str) -> None:
    assert EngineCache(tmp_path / "engines", str).find(key) is None


def test_links_in_the_engine_cache_are_neither_used_nor_followed_when_it_is_cleared(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "engines"
    outside.mkdir()
    root.mkdir()
    (outside / MANIFEST).write_bytes(encode(Entry("ab12", {}, {}, {}, 0, {}, "")))
    (outside / "precious").write_text("kept")
    (root / "ab12").symlink_to(outside)
    cache = EngineCache(root, str)

    assert cache.find("ab12") is None
    assert cache.entries() == []
    assert cache.prune(0).removed == 0
    assert (outside / "precious").exists()


def test_an_engine_with_a_link_that_leads_out_is_not_loaded(tmp_path: Path) -> None:
    entry = tmp_path / "engines" / "ab12"
    entry.mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (entry / "weights").symlink_to(tmp_path / "secret")
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    (entry / MANIFEST).write_bytes(encode(Entry("ab12", {}, {"weights": digest}, {}, 1, {}, "")))

    assert EngineCache(tmp_path / "engines", str).find("ab12") is None


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **more: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    for key, value in more.items():
        setattr(member, key, value)
    return member


HOSTILE_MEMBERS = {
    "parent": [_member("../owned", size=2)],
    "parent of a folder": [_member("a/../../owned", size=2)],
    "link out, then through it": [_member("out", tarfile.SYMTYPE, ".."), _member("out/owned", size=2)],
    "link to a file": [_member("autotuner.json", tarfile.SYMTYPE, "/etc/passwd")],
    "hard link": [_member("autotuner.json", tarfile.LNKTYPE, "../entry/kept")],
    "device": [_member("autotuner.json", tarfile.CHRTYPE, devmajor=1, devminor=5)],
    "pipe": [_member("autotuner.json", tarfile.FIFOTYPE)],
    "folder": [_member("a", tarfile.DIRTYPE)],
    "a time that is none": [_member("autotuner.json", size=2, mtime=2**80)],
    "a long name": [_member("a" * 5000, size=2)],
}


def _packed(path: Path, members: list[tarfile.TarInfo], mode: str = "w") -> None:
    with tarfile.open(path, mode) as pack:  # type: ignore[call-overload]
        for one in members:
            pack.addfile(one, io.BytesIO(b"{}") if one.size else None)


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine's entry; what is unpacked lies beside it, in tmp_path/work."""
    for name in ("entry", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "entry" / "kept").write_text("kept")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "work"))
    return tmp_path / "entry"


def _files(folder: Path) -> set[str]:
    return {str(one.relative_to(folder)) for one in folder.rglob("*")}


@pytest.mark.parametrize("members", HOSTILE_MEMBERS.values(), ids=HOSTILE_MEMBERS)
def test_nothing_of_a_hostile_pack_leaves_its_folder(entry: Path, members: list[tarfile.TarInfo]) -> None:
    _packed(entry / "autotuner.tar", members)
    before = _files(entry.parent)

    with pytest.raises(EngineError, match=r"is damaged: found .+; remove") as told, tuned(entry, keep=False):
        pass

    assert str(told.value).isprintable()
    assert _files(entry.parent) == before
    assert (entry / "kept").read_text() == "kept"


def test_an_absolute_path_in_a_pack_is_refused_too(entry: Path, tmp_path: Path) -> None:
    _packed(entry / "autotuner.tar", [_member(str(tmp_path / "owned"), size=2)])

    with pytest.raises(EngineError, match="is damaged"), tuned(entry, keep=False):
        pass

    assert not (tmp_path / "owned").exists()


def test_a_pack_that_is_compressed_or_leads_back_to_its_begin_is_refused(entry: Path) -> None:
    _packed(entry / "autotuner.tar", [_member("autotuner.json", size=2)], "w:gz")
    with pytest.raises(EngineError, match="is damaged"), tuned(entry, keep=False):
        pass

    head = bytearray(_member("autotuner.json").tobuf(tarfile.GNU_FORMAT))
    head[124:136] = b"\xff" * 10 + (-512 & 0xFFFF).to_bytes(2, "big")  # its size: one block back
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    (entry / "autotuner.tar").write_bytes(bytes(head) + bytes(1024))
    with pytest.raises(EngineError, match="is damaged"), tuned(entry, keep=False):
        pass


def test_sqlite_loads_no_extensions() -> None:
    """A view in a history of somebody else's could ask for one."""
    store = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError, match="not authorized"):
        store.execute("SELECT load_extension('/tmp/x.so')")
    store.close()


def test_a_damaged_baseline_shows_no_control_codes(tmp_path: Path) -> None:
    plain = json.loads(INPUTS["baseline"].seeds[0]) | {"suite": "\x1b[31mred\x07"}
    (tmp_path / "b.json").write_text(json.dumps(plain))

    with pytest.raises(BaselineError) as told:
        load_baseline(tmp_path / "b.json", DEVICE, SUITE)

    assert str(told.value).isprintable()
