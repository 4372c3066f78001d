"""What was measured: rounds, the cases in them and whole runs, as records that JSON holds losslessly."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from perfgate.errors import RecordError, StorageError
from perfgate.fault_kinds import ProcessFault
from perfgate.floats import Floats, floats_of
from perfgate.gpu.facts import Gpu, settings
from perfgate.gpu.sample import Region
from perfgate.gpu.seen import GpuRound
from perfgate.metrics import Metric
from perfgate.plain_file import read_up_to
from perfgate.printable import printable as printable  # noqa: PLC0414 - many look for it here
from perfgate.roofline import Limits

T = TypeVar("T")

RUN_SCHEMA = 1
_NO_ROUNDS, _NO_ROUNDS_PRETTY = b'"rounds":[]', b'"rounds": []'  # no text: its quotes would be escaped
MOST_BYTES = 1 << 30  # the samples of 100 serving rounds of 10,000 requests take some 400 MB


def now() -> str:
    """The present moment as records hold it: UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Side(StrEnum):
    """Which engine a round measured: the one under test, or the one the baseline was made with."""

    CANDIDATE = "candidate"
    BASELINE = "baseline"


@dataclass(frozen=True, slots=True)
class DocumentScore:
    """Score of one document: summed negative log-likelihood (nats), scored tokens, bytes of text."""

    nll: float
    tokens: int
    text_bytes: int


@dataclass(frozen=True, slots=True)
class Scoring:
    """How the documents of a round were scored: windows, and the context (tokens) that scored tokens had in them."""

    window: int
    stride: int
    tokens: int  # scored
    text_bytes: int
    least_context: int  # of tokens behind their document's first window
    mean_context: float


@dataclass(frozen=True, slots=True)
class Likeness:
    """A document's next-token distributions beside the reference engine's, over `tokens` tokens.

    agreed: tokens before which both find the same next token likeliest.
    kl: sum of lower bounds of KL(reference || engine), nats (`workloads/distributions.py`).
    """

    tokens: int
    agreed: int
    kl: float


@dataclass(frozen=True, slots=True)
class CaseRound:
    """One case in one round.

    values: one number per metric, in the metric's canonical unit.
    samples: what the values were made from, e.g. ttft per request in seconds.
    faults: why figures of this case must not be judged; empty when valid. fault_kind: what ended its process.
    regions: when it was timed.
    broken: why what the engine gave is no answer at all; empty where it is one.
    unchecked: why nobody looked whether it is. unlike: why nothing is known of the likeness to the reference.
    untold: metrics that this round leaves out, and why.
    """

    case: str
    values: Mapping[str, float]
    samples: Mapping[str, Floats] = field(default_factory=dict)
    documents: Mapping[str, DocumentScore] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    fault_kind: ProcessFault | None = None
    regions: tuple[Region, ...] = ()
    broken: tuple[str, ...] = ()
    unchecked: str | None = None
    scoring: Scoring | None = None
    likeness: Mapping[str, Likeness] = field(default_factory=dict)
    unlike: str | None = None
    untold: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Host:
    """The machine while a round was timed; shares are of all CPU time of the machine."""

    foreign_cpu_share: float = 0.0
    steal_share: float = 0.0
    clock_mhz: float | None = None
    cpus: tuple[int, ...] = ()  # cores that the process was pinned to, as read back; empty: not pinned
    client_cpus: tuple[int, ...] = ()  # cores that clients were pinned to; empty: those of the process
    numa_nodes: tuple[int, ...] = ()  # of `cpus`; empty: not pinned, or the system does not tell


@dataclass(frozen=True, slots=True)
class Round:
    """One fresh process that loaded one engine and measured its cases; `index` counts the run's rounds."""

    engine: str
    side: Side
    index: int
    started: str  # UTC, ISO 8601
    seconds: float
    cases: tuple[CaseRound, ...]
    host: Host = Host()
    fault: str | None = None  # why the whole round counts for nothing
    fault_kind: ProcessFault | None = None  # the same as one word, where it is known
    gpu: GpuRound | None = None  # what its GPUs did while it was timed

    @property
    def is_valid(self) -> bool:
        return self.fault is None

    def follows(self, other: Round) -> bool:
        """Whether this was the very next round, of the same engine on the other side."""
        return self.engine == other.engine and self.side is not other.side and self.index == other.index + 1

    def value(self, case: str, metric: str) -> float | None:
        """A metric of a case, or None where this round did not measure it validly."""
        if not self.is_valid:
            return None
        return next((one.values.get(metric) for one in self.cases if one.case == case and not one.faults), None)


@dataclass(frozen=True, slots=True)
class PreparedInfo:
    """How an engine came to be, as its cache entry tells."""

    engine: str
    key: str
    from_cache: bool
    phases: Mapping[str, float]  # seconds per phase of preparing
    engine_bytes: int
    versions: Mapping[str, str]

    @property
    def build_s(self) -> float:
        return sum(self.phases.values())


@dataclass(frozen=True, slots=True)
class Origin:
    """Where imported figures come from.

    instrument: the program that measured them; figures of different instruments are never compared.
    files: SHA-256 (hex) by file name. untold: what these files do not tell, one short phrase each.
    """

    instrument: str
    files: Mapping[str, str]
    untold: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseInfo:
    """A case as a run asked for it; `skip` says why it was not measured.

    origin: None where perfgate measured it. concurrency, family: cases of one family differ in their concurrency
    only (`Case.family`); None where not told.
    """

    id: str
    engine: str
    kind: str
    hash: str
    skip: str | None = None
    origin: Origin | None = None
    concurrency: int | None = None
    family: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """Where and with what a run was made."""

    device: str
    product: str
    versions: Mapping[str, str]
    commit: str
    inject: Mapping[str, float] = field(default_factory=dict)
    cpus: tuple[int, ...] = ()  # cores that rounds were pinned to (`gate.cpus`)
    gpus: tuple[Gpu, ...] = ()  # all that engines see; those of tp x pp take the first so many
    gpu_clocks: str = ""  # what became of a wish for locked clocks in the last round; empty: there was none
    machine: Mapping[str, str] = field(default_factory=dict)  # what hooks of the user's add

    @property
    def settings(self) -> dict[str, str]:
        """How the GPUs are set, by property; empty without any."""
        return {**settings(self.gpus), "GPU clocks": self.gpu_clocks or "not locked"} if self.gpus else {}


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a gate measured; verdicts can be made again from it and the baseline.

    own_metrics: those of the user's own that may stand among the values.
    """

    suite: str
    started: str
    environment: Environment
    cases: tuple[CaseInfo, ...]
    prepared: tuple[PreparedInfo, ...]
    rounds: tuple[Round, ...]
    rerunnable: tuple[str, ...] = ()  # engines whose baseline engine could be run again in this run
    limits: Limits | None = None  # of the device, where they were known, and what each case asks of it
    schema: int = RUN_SCHEMA
    own_metrics: tuple[Metric, ...] = ()

    def values(self, case: str, metric: str, side: Side) -> list[float]:
        """A metric's value in each round that measured it validly, in order."""
        found = (one.value(case, metric) for one in self.rounds if one.side is side)
        return [value for value in found if value is not None]

    def pairs(self, case: str, metric: str) -> list[tuple[float, float]]:
        """(baseline, candidate) values of rounds that followed each other directly, each round used once."""
        out: list[tuple[float, float]] = []
        waiting: Round | None = None
        for one in self.rounds:
            if waiting and one.follows(waiting):
                base, new = (waiting, one) if waiting.side is Side.BASELINE else (one, waiting)
                a, b = base.value(case, metric), new.value(case, metric)
                if a is not None and b is not None:
                    out.append((a, b))
                    waiting = None
                    continue
            waiting = one
        return out


def encode(record: Any) -> bytes:
    """A record as compact JSON."""
    return msgspec.json.encode(record, enc_hook=_encode_ours, order="deterministic")


def encode_pretty(record: Any) -> bytes:
    """A record as JSON for people: indented, sorted keys, final newline."""
    return msgspec.json.format(encode(record), indent=1) + b"\n"


def pieces(run: Run) -> Iterator[bytes]:
    """What `encode` gives of a run, a round at a time: all samples of two hours are never in memory together."""
    before, _, after = encode(replace(run, rounds=())).partition(_NO_ROUNDS)
    yield before + _NO_ROUNDS[:-1]
    for number, one in enumerate(run.rounds):
        yield (b"," if number else b"") + encode(one)
    yield b"]" + after


def pretty_pieces(run: Run) -> Iterator[bytes]:
    """The same of `encode_pretty`."""
    before, _, after = encode_pretty(replace(run, rounds=())).partition(_NO_ROUNDS_PRETTY)
    yield before + _NO_ROUNDS_PRETTY[:-1]
    for number, one in enumerate(run.rounds):
        lines = msgspec.json.format(encode(one), indent=1)
        yield (b",\n  " if number else b"\n  ") + lines.replace(b"\n", b"\n  ")  # within texts it is escaped
    yield (b"\n ]" if run.rounds else b"]") + after


def decode(data: bytes, kind: type[T], source: object) -> T:
    """JSON into a record, strictly typed.

    Raises:
        RecordError: naming `source` and the first place that does not fit.
    """
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=_decode_ours)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise RecordError(f"{source} is damaged or not a perfgate file: {exc}") from exc


def read_record(path: Path, kind: type[T], schema: int) -> T:
    """A record from a file of bounded size, its schema checked before its contents.

    Raises:
        RecordError: unreadable, damaged, or of another schema.
    """
    data = read_bounded(path)
    found = decode(data, dict[str, Any], path).get("schema")
    if found != schema:
        raise RecordError(f"{path} has schema {found!r}, this perfgate reads {schema}; use the perfgate that wrote it")
    return decode(data, kind, path)


def read_bounded(path: Path) -> bytes:
    """The bytes of a file of ours.

    Raises:
        RecordError: it cannot be read, or is larger than any that we write.
    """
    try:
        data = read_up_to(path, MOST_BYTES)
    except (OSError, ValueError) as exc:
        raise RecordError(f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
    if len(data) > MOST_BYTES:
        most = f"more than {MOST_BYTES} bytes, the most that are read"
        raise RecordError(f"{path} cannot be read: it holds {most}; name another, or remove it")
    return data


def write_atomic(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write a file so that readers see all of it or nothing, also after a crash.

    data: all of it, or its pieces in order. What a killed writer of the same file left half-written is removed.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to.
    """
    try:
        _write_atomic(path, (data,) if isinstance(data, bytes) else data)
    except OSError as exc:
        raise StorageError.of(exc, path) from exc


def _write_atomic(path: Path, pieces: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent, glob.escape(path.name))
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{_unfinished(path)}{os.getpid()}.")
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            out.writelines(pieces)
            out.flush()
            os.fsync(out.fileno())
        fresh.chmod(0o644)
        fresh.replace(path)
    except BaseException:
        fresh.unlink()
        raise


def remove_abandoned(folder: Path, name: str = "*") -> None:
    """What processes of this machine that are no more left half-written in a folder, of all files or of one."""
    host = f".{os.uname().nodename}."
    for left in folder.glob(f".{name}{glob.escape(host)}*"):
        pid = left.name.rpartition(host)[2].partition(".")[0]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            left.unlink(missing_ok=True)


def _unfinished(path: Path) -> str:
    """How names of half-written files begin; the machine stands in them, as folders are shared."""
    return f".{path.name}.{os.uname().nodename}."


def _encode_ours(value: object) -> str | list[float]:
    if isinstance(value, Floats):
        return value.as_list()
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is not a record")


def _decode_ours(kind: type, value: object) -> object:
    if kind is Floats:
        return floats_of(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"Expected `str` for a path, got `{type(value).__name__}`")
