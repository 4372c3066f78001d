"""Everything of perfgate that reads what others wrote: one function of bytes each, for hypothesis and for atheris.

A reader may answer, or raise one of ours with one line; anything else is a fault. `seeds` are bytes that it accepts.
"""

from __future__ import annotations

import io
import sqlite3
import struct
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perfgate.advising.swept import evidence_of, read_swept
from perfgate.baselines import Baseline, BaselineCase, Provenance, Series, load_baseline
from perfgate.calibration import MetricNoise, NoiseModel, load_noise, noise_path
from perfgate.case import Flow
from perfgate.ceilings import Kept
from perfgate.compared import mapped, notes, parse_pairs, read_before
from perfgate.comparison import COMPARISON_SCHEMA, Comparison
from perfgate.device import cpu_device, gpu_key
from perfgate.diagnosis import Evidence, diagnose
from perfgate.engines.bridge_ask import Limits as AskLimits
from perfgate.engines.bridge_ask import completion
from perfgate.engines.bridge_line import Unpacker, request_of
from perfgate.engines.bridge_wire import Reader
from perfgate.engines.cache import EngineCache, Entry
from perfgate.engines.calibration_texts import RECORD, Calibration, kept_calibration
from perfgate.engines.kept import log_tail
from perfgate.engines.tensorrt_llm_checkpoint import format_of, hf_algorithm
from perfgate.engines.tensorrt_llm_entry import Record as Entered
from perfgate.engines.tensorrt_llm_entry import read as read_entry
from perfgate.engines.tensorrt_llm_entry import tuned
from perfgate.engines.tensorrt_llm_log import build_phases, reason
from perfgate.engines.vllm_checkpoint import quantised_by
from perfgate.errors import PerfgateError, RecordError
from perfgate.gpu.watch import read_samples
from perfgate.heartbeat import last_beat
from perfgate.history import History
from perfgate.importing.assemble import Naming, assemble
from perfgate.importing.faults import Faults
from perfgate.importing.formats import read_results
from perfgate.importing.source import read_source
from perfgate.journal import Header, Journal, Ledger
from perfgate.leases import Holder
from perfgate.load.decode import Asked, decode, has_token
from perfgate.load.lengths import read_histogram
from perfgate.load.progress import RawTail
from perfgate.load.rawfile import MAGIC, Outcome, RawResponse, Timing, read_raw
from perfgate.load.trace import Limits, read_trace
from perfgate.load.vocabulary import vocabulary_of
from perfgate.model_shape import read_shape
from perfgate.pareto import Noise
from perfgate.quantise_run import Kept as KeptQuantised
from perfgate.record import RUN_SCHEMA, Environment, Run, encode, read_record
from perfgate.record import decode as decode_record
from perfgate.settings import Settings, read_table
from perfgate.suite import load_suite
from perfgate.sweep_effects import Basis, Change, Effect
from perfgate.sweep_plan import known_seconds
from perfgate.sweep_run import Visit
from perfgate.terms import Pairing
from perfgate.tradeoffs import Option, Tradeoffs
from perfgate.tune_budget import Kept as KeptTuned
from perfgate.versus_files import read_side
from perfgate.waivers import load_waivers
from perfgate.workloads.distributions import Alike, Heads, keep, kept, likeness
from perfgate.workloads.output import vocabulary_size
from perfgate.workloads.texts import read_documents

DEVICE, SUITE, CASE = "cpu/x86_64-avx512", "small", "one-b1"
_ASKED = Asked(8, 16, is_count_fixed=True, is_scheduled=False)
_PROVENANCE = Provenance("2026-01-14T00:00:00+00:00", "first", "a CPU", {"fake": "1"}, "0b1c2d3")
_BASELINE = Baseline(
    SUITE, DEVICE, _PROVENANCE, {CASE: BaselineCase("00ff", "ab12", {"itl_p10": Series("s", ((0.1, 0.2),))})}
)
_HEADER = encode(Header(SUITE, "2026-01-14T00:00:00+00:00", "ab12"))
_ROUND = b'{"engine":"one","side":"candidate","index":0,"started":"x","seconds":1.0,"cases":[]}'
_RUN = (
    b'{"suite":"small","started":"2026-01-14T00:00:00+00:00","environment":{"device":"cpu/x","product":"p",'
    b'"versions":{},"commit":""},"cases":[],"prepared":[],"rounds":[%b],"schema":1}' % _ROUND
)
_NOW = (
    b'{"suite":"small","started":"2026-01-14T00:00:00+00:00","environment":{"device":"cpu/x86_64-avx512","product":"p",'
    b'"versions":{},"commit":""},"cases":[{"id":"one-b1","engine":"one","kind":"latency","hash":"00ff"}],"prepared":[],'
    b'"rounds":[{"engine":"one","side":"candidate","index":0,"started":"x","seconds":1.0,'
    b'"cases":[{"case":"one-b1","values":{"itl_p10":0.1}}]}],"schema":1}'
)
_METRIC_NOISE = MetricNoise("00ff", Pairing.INTERLEAVED, (), 0.1, 2.0, 0.1, 2.0)
_COMPARISON = (
    b'{"suite":"small","started":"x","seconds":1.0,"policy":"ci","environment":{"device":"cpu/x","product":"p",'
    b'"versions":{},"commit":""},"baseline":null,"cases":[],"alpha":0.01,"beta":0.01,"rounds":1,"schema":1}'
)
_SUITE = b"""schema: 1
suite: small
defaults:
  engine: {backend: "fake_engine:FakeBackend", model: model, engine_args: {step_us: 400}}
engines:
  one: {max_batch_size: 4}
workloads:
  build: {kind: build}
  b1: {kind: latency, prompts: t.jsonl, input_len: 8, output_len: 16, concurrency: 1, requests: 32}
gate:
  metrics: {itl_p10: {margin: 5%, detect: 20%}, engine_bytes: {}}
"""
_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    b'2f\r\ndata: {"choices":[{"text":"a","token_ids":[1]}]}\n\n\r\n'
    b'25\r\ndata: {"choices":[{"text":"b"}]}\n\n  \n\n\r\n'
    b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
)
_WHOLE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 64\r\n\r\n"
    b'{"choices":[{"text":"abc"}],"usage":{"completion_tokens":16}}   '
)
_TEXT = b'{"id": "d0", "text": "def f(x): return x"}\n{"id": "d1", "text": "abc"}\n'
_TRACE = b'{"timestamp": 0, "input_length": 5, "output_length": 2, "hash_ids": [0]}\n'
_CONFIG = (
    b'{"model_type": "llama", "vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128,'
    b' "num_attention_heads": 4, "num_key_value_heads": 2, "eos_token_id": [2], "text_config": {"vocab_size": 256},'
    b' "quantization_config": {"quant_method": "gptq"}, "quantization": {"quant_algo": "FP8"}, "added_tokens": '
    b'[{"id": 1, "special": true}], "mapping": {"tp_size": 1}, "architecture": "x"}'
)
_SERVED = (
    b'{"backend": "vllm", "model_id": "m", "num_prompts": 8, "completed": 8, "failed": 0, "duration": 2.0,'
    b' "total_input_tokens": 80, "total_output_tokens": 80, "request_throughput": 4.0, "output_throughput": 40.0,'
    b' "mean_ttft_ms": 10.0, "p99_ttft_ms": 12.0, "median_itl_ms": 2.0, "max_concurrency": 4,'
    b' "date": "20260101-000000"}'
)
_TICKS = b'{"tick":{"at_s":1.0,"gpus":[{"power_w":400.0,"sm_mhz":1500}]}}\n{"sampling":{"cpu_s":0.1,"ticks":2}}\n'
_ASK = b'{"model":"m","prompt":[1,2],"max_tokens":4,"stream":true,"ignore_eos":true,"temperature":0}'
_HTTP = b"POST /v1/completions HTTP/1.1\r\ncontent-length: %d\r\nhost: x\r\n\r\n%b" % (len(_ASK), _ASK)


def _effect(*changes: Change) -> Effect:
    return Effect("precision", "int4_wo", "fp32", 2, changes)


def _option(value: str, speed: float) -> Option:
    return Option(value, (("precision", value),), {}, {"requests_per_s": (speed, speed)}, ())


_TRADEOFFS = Tradeoffs(
    SUITE, "2026-01-14T00:00:00+00:00", 1.0, Environment(DEVICE, "p", {}, ""), "load", 2, 1,
    (("precision", ("fp32", "int4_wo")),), ("requests_per_s",), (_option("fp32", 10.0), _option("int4_wo", 20.0)),
    (), (), (), {"requests_per_s": Noise(0.01, 2)}, (_effect(Change("requests_per_s", 2.0, 1.9, 2.1, Basis.ROUNDS)),),
    (),
)  # fmt: skip


def _journal(record: bytes) -> bytes:
    return b"%b\n%b\n" % (_HEADER, record)


def _ledger(kind: type[Any]) -> Callable[[Path, bytes], None]:
    return _plain(lambda path: Ledger(path, kind).read(), "j.jsonl")


def _packed(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as pack:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 2
            pack.addfile(member, io.BytesIO(b"{}"))
    return out.getvalue()


def _alike(folder: Path) -> Alike:
    return Alike("fp32", folder / "fp32-text.npz", "", keeps=False)


def _kept_heads() -> bytes:
    heads = Heads(np.zeros((1, 2), np.int32), np.full((1, 2), -0.7, np.float32))
    with tempfile.TemporaryDirectory() as name:
        keep(_alike(Path(name)), {"d0": heads})
        return _alike(Path(name)).path.read_bytes()


def _put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _import(folder: Path, data: bytes) -> None:
    faults = Faults()
    source = read_source(_put(folder, "result.json", data), faults)
    faults.stop()
    if source:
        encode(assemble(read_results([source]), Naming(engine="e", device=DEVICE)))


def _cached(folder: Path, data: bytes) -> None:
    cache = EngineCache(folder, str)
    _put(folder, "ab12/perfgate-engine.json", data)
    cache.entries()
    cache.find("ab12")


def _history(folder: Path, data: bytes) -> None:
    """A whole sqlite file whose stored texts are hostile; the file's own pages are sqlite's to check."""
    for old in folder.glob("history.sqlite*"):
        old.unlink()
    path = folder / "history.sqlite"
    with History(path):
        pass
    places, _, figures = data.decode("latin-1").partition("\n")
    store = sqlite3.connect(path)
    store.execute("INSERT INTO run VALUES (1,'i','small',?,'p','2026','c',?,1)", (DEVICE, places))
    store.execute("INSERT INTO series VALUES (1,'small',?,'one-b1','00ff','one','ab12','itl_p10','s')", (DEVICE,))
    store.execute("INSERT INTO measured VALUES (1,1,'candidate',?,?,?)", (places, figures, places))
    store.commit()
    store.close()
    with History(path) as history:
        asks: list[Callable[[], object]] = [
            history.sessions,
            lambda: history.known(SUITE, DEVICE, {CASE: ("00ff", "ab12")}),
            lambda: history.trail(SUITE, DEVICE, CASE, "00ff"),
            lambda: history.latest(SUITE, DEVICE, {CASE: "00ff"}),
            lambda: history.export(folder / "out.csv"),
        ]
        for ask in asks:
            _tolerated(ask)


def _sqlite(folder: Path, data: bytes) -> None:
    """A whole history file with bytes of it replaced."""
    for old in folder.glob("pages.sqlite*"):
        old.unlink()
    with History(folder / "pages.sqlite") as history:
        history.sessions()
    whole = (folder / "pages.sqlite").read_bytes()
    at = int.from_bytes(data[:2], "big") % len(whole)
    (folder / "pages.sqlite").write_bytes(whole[:at] + data[2:] + whole[at + len(data[2:]) :])
    with History(folder / "pages.sqlite") as history:
        history.sessions()
        history.known(SUITE, DEVICE, {CASE: ("00ff", "ab12")})


def _noise(folder: Path, data: bytes) -> None:
    _put(folder, str(noise_path(folder, DEVICE, SUITE).relative_to(folder)), data)
    load_noise(folder, DEVICE, SUITE)


def _before(folder: Path, data: bytes) -> None:
    """A of `perfgate compare`, and what is told of it beside B."""
    now = decode_record(_NOW, Run, "B")
    before = read_before(_put(folder, "a.json", data), now)
    pairs = parse_pairs(["one=one"], before, now)
    encode(mapped(before, pairs))
    notes(before, pairs, now)


def _heads(folder: Path, data: bytes) -> None:
    _put(folder, "fp32-text.npz", data)
    found = kept(_alike(folder))
    if isinstance(found, str):
        raise RecordError(found)
    for heads in found.values():
        mine = Heads(np.zeros((len(heads), 2), np.int32), np.full((len(heads), 2), -0.7, np.float32))
        with np.errstate(all="ignore"):  # log-probabilities that are no numbers come out as none
            likeness(heads, mine)


def _autotuned(folder: Path, data: bytes) -> None:
    """What is unpacked lies in a folder of its own, as plain files."""
    _put(folder, "entry/autotuner.tar", data)
    with tuned(folder / "entry", keep=False) as path:
        assert all(one.is_file() and not one.is_symlink() for one in path.parent.iterdir())


def _records_of_engines(folder: Path, data: bytes) -> None:
    for name in ("perfgate-tensorrt-llm.json", RECORD):
        _put(folder, name, data)
    for ask in (read_entry, kept_calibration):
        _tolerated(lambda ask=ask: ask(folder))  # type: ignore[misc]


def _swept(folder: Path, data: bytes) -> None:
    swept = read_swept(_put(folder, "tradeoffs.json", data))
    for effect in swept.effects:
        encode([evidence_of(swept, effect, one, 0.99) for one in effect.changes])


def _response(folder: Path, data: bytes) -> None:
    """An answer as the client records it: bytes of the server in one read, read back and decoded."""
    raw = RawResponse(0, Outcome.ENDED, 0, 0, 1, Timing(1, 1, 0, 2, 9), "", (5,), b"\0" * 16, (len(data),), data)
    for is_stream in (True, False):
        done = decode(raw, _ASKED, [], is_stream=is_stream, is_stray=False, most_event_bytes=1 << 20)
        encode(done.record)
    has_token(data)
    del folder


def _raw(folder: Path, data: bytes) -> None:
    path = _put(folder, "load.raw", MAGIC + data)
    RawTail([path]).look()
    for one in read_raw(path).responses:
        decode(one, _ASKED, [], is_stream=True, is_stray=False, most_event_bytes=1 << 20)


def _checkpoint(folder: Path, data: bytes) -> None:
    for name in ("config.json", "tokenizer.json", "hf_quant_config.json"):
        _put(folder, f"model/{name}", data)
    model = folder / "model"
    for ask in (read_shape, vocabulary_size, quantised_by, hf_algorithm, format_of, vocabulary_of):
        _tolerated(lambda ask=ask: ask(model))  # type: ignore[misc]


def _settings(folder: Path, data: bytes) -> None:
    try:
        table = read_table(_put(folder, "pyproject.toml", data))
    except (ValueError, OSError):  # what its caller turns into one line
        return
    settings = Settings(lambda _: None, lambda _: "", table, {})
    settings.faults()
    settings["suite"]


def _gpu(folder: Path, data: bytes) -> None:
    """What NVML and /proc/cpuinfo name: a key must stay two plain folders."""
    keys = [gpu_key(data.decode("utf-8", "replace"), 9, 0, 2**37), cpu_device(_put(folder, "cpuinfo", data)).key]
    for key in keys:
        parts = Path(key).parts
        assert len(parts) == 2, key
        assert ".." not in parts, key


def _logs(folder: Path, data: bytes) -> None:
    log = _put(folder, "a.log", data)
    lines = log_tail(log, 20)
    diagnose(Evidence(1, lines))
    text = data.decode("utf-8", "replace")
    build_phases(text, 1.0)
    for line in [*lines, reason(text), last_beat(log).state]:
        assert line.isprintable(), line


def _line(folder: Path, data: bytes) -> None:
    """Frames between the two processes of the bridge, ours both: a broken line ends them with one of these errors."""
    del folder
    with suppress(ValueError, struct.error):
        for frame in Unpacker().feed(data):
            request_of(frame)


def _requests(folder: Path, data: bytes) -> None:
    reader = Reader()
    reader.feed(data)
    while (request := reader.next()) is not None:
        completion(request.body, AskLimits("m", 4096, 1024, 256))
    del folder


def _tolerated(ask: Callable[[], object]) -> None:
    """Several readers of the same bytes: a refusal of one keeps the others going."""
    try:
        ask()
    except PerfgateError as exc:
        check(exc)


def _plain(ask: Callable[[Path], Any], name: str) -> Callable[[Path, bytes], None]:
    def read(folder: Path, data: bytes) -> None:
        ask(_put(folder, name, data))

    return read


@dataclass(frozen=True, slots=True)
class Input:
    """One reader. read: a folder of its own and the bytes; seeds: what it takes."""

    read: Callable[[Path, bytes], None]
    seeds: tuple[bytes, ...]


INPUTS = {
    "suite": Input(_plain(load_suite, "suite.yaml"), (_SUITE,)),
    "waivers": Input(
        _plain(lambda path: load_waivers(path, path.parent), "waivers.yaml"),
        (b"- {case: '*', metric: itl_p10, reason: known, expires: 2026-12-01}\n",),
    ),
    "baseline": Input(_plain(lambda path: load_baseline(path, DEVICE, SUITE), "b.json"), (encode(_BASELINE),)),
    "run": Input(_plain(lambda path: read_record(path, Run, RUN_SCHEMA), "run.json"), (_RUN,)),
    "comparison": Input(
        _plain(lambda path: read_record(path, Comparison, COMPARISON_SCHEMA), "comparison.json"), (_COMPARISON,)
    ),
    "tradeoffs": Input(_swept, (encode(_TRADEOFFS),)),
    "manifest": Input(_cached, (encode(Entry("ab12", {}, {}, {}, 7, {}, "")),)),
    "journal": Input(_plain(lambda path: Journal(path).read(), "j.jsonl"), (_HEADER + b"\n" + _ROUND + b"\n",)),
    "sweep-journal": Input(_ledger(Visit), (_journal(b'{"key":"a","stage":"round","round":%b}' % _ROUND),)),
    "tune-journal": Input(
        _ledger(KeptTuned), (_journal(b'{"key":"a","stage":"rounds","seconds":1.0,"rounds":[%b]}' % _ROUND),)
    ),
    "quantize-journal": Input(_ledger(KeptQuantised), (_journal(b'{"key":"a","round":%b}' % _ROUND),)),
    "compare-before": Input(_before, (encode(_BASELINE), _NOW)),
    "noise": Input(
        _noise,
        (
            encode(
                NoiseModel(
                    SUITE,
                    DEVICE,
                    "x",
                    {CASE: {"itl_p10": MetricNoise("00ff", Pairing.INTERLEAVED, (), 0.1, 2.0, 0.1, 2.0)}},
                )
            ),
        ),
    ),
    "distributions": Input(_heads, (_kept_heads(),)),
    "autotuner": Input(_autotuned, (_packed("autotuner.json", "autotuner.rank1.json"),)),
    "engine-records": Input(
        _records_of_engines,
        (encode(Entered(Flow.ENGINE, "1.2.1", {"by": "x"})), encode(Calibration("t.jsonl", "ab12", 64, 9))),
    ),
    "history": Input(_history, (b"[0, 1]\n[0.5, 0.25]",)),
    "sqlite": Input(_sqlite, (b"\0\x10abc",)),
    "import": Input(_import, (_SERVED, b"{}\n{}", b"network_name,gpu_idx,perf_case_name\n")),
    "versus": Input(_plain(lambda path: read_side("a", path.parent), "side/concurrency_4.json"), (_SERVED,)),
    "response": Input(_response, (_STREAM, _WHOLE)),
    "raw": Input(_raw, (b"\x01\0\0\0",)),
    "trace": Input(_plain(lambda path: read_trace(path, limits=Limits()), "trace.jsonl"), (_TRACE,)),
    "histogram": Input(_plain(read_histogram, "lengths.json"), (b'{"128": 3, "256": 1}', b"[[1, 2], [3, 4]]")),
    "histogram-csv": Input(_plain(read_histogram, "lengths.csv"), (b"length,weight\n128,3\n",)),
    "documents": Input(_plain(read_documents, "texts.jsonl"), (_TEXT,)),
    "checkpoint": Input(_checkpoint, (_CONFIG,)),
    "settings": Input(_settings, (b'[tool.perfgate]\nsuite = "a.yaml"\nthorough = true\n',)),
    "gpu-names": Input(_gpu, (b"NVIDIA H200", b"flags : avx2\nmodel name : x\n")),
    "gpu-samples": Input(_plain(lambda path: read_samples(path, ("u",), 0.1), "g.jsonl"), (_TICKS,)),
    "logs": Input(_logs, (b"INFO loading\nRuntimeError: CUDA out of memory\n",)),
    "lease": Input(
        lambda _, data: None if str(decode_record(data, Holder, "a lease")).isprintable() else _fail("control codes"),
        (encode(Holder(1, 2, "pytest", "x")),),
    ),
    "ceilings": Input(_plain(lambda path: read_record(path, Kept, 1), "c.json"), (b'{"schema": 1, "ceilings": {}}',)),
    "sweep-seconds": Input(_plain(lambda path: known_seconds(path.parent), "seconds.json"), (b'{"a": [1.0, 2.0]}',)),
    "bridge-requests": Input(_requests, (_HTTP,)),
    "bridge-line": Input(_line, (b"\x01\0\0\0",)),
}


def _fail(why: str) -> None:
    raise AssertionError(why)


def check(exc: PerfgateError) -> None:
    """One clear line for each fault: no control codes, nothing empty, nothing endless."""
    lines = str(exc).split("\n")
    assert all(line.isprintable() and line.strip() for line in lines), repr(str(exc))[:300]
    assert len(str(exc)) < 100_000, f"{len(str(exc))} characters"


def attempt(one: Input, folder: Path, data: bytes) -> bool:
    """Whether a reader accepts these bytes; any error but ours escapes."""
    try:
        one.read(folder, data)
    except PerfgateError as exc:
        check(exc)
        return False
    return True
