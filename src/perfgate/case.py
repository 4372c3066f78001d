"""What is measured: engine specs, workloads and cases, as frozen records with ids and hashes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Precision(StrEnum):
    """Weight and compute precision, in the field's words."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8_WO = "int8_wo"
    INT8_SQ = "int8_sq"
    INT4_WO = "int4_wo"
    INT4_AWQ = "int4_awq"
    INT4_GPTQ = "int4_gptq"


PLAIN = (Precision.FP32, Precision.FP16, Precision.BF16)  # nothing is quantised


class KvDtype(StrEnum):
    """Precision of the KV cache; `auto` is the engine's own choice, recorded where it tells."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"


class Batching(StrEnum):
    """Static: a batch starts and ends together. In-flight: requests join and leave at any step."""

    STATIC = "static"
    INFLIGHT = "inflight"


class Flow(StrEnum):
    """TensorRT-LLM's two ways: engines compiled ahead of time, or its PyTorch backend."""

    ENGINE = "engine"
    PYTORCH = "pytorch"


class Drafting(StrEnum):
    """Where draft tokens come from in speculative decoding."""

    DRAFT_MODEL = "draft_model"
    NGRAM = "ngram"


@dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative decoding: `draft_len` tokens proposed per step of the target model."""

    method: Drafting
    draft_len: int = 3
    model: Path | None = None  # the draft checkpoint, for DRAFT_MODEL


class Outer(StrEnum):
    """Precision of embeddings and output head beside 4-bit weights."""

    INT8 = "int8"
    INT4 = "int4"


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How weights are quantised. What is None is the backend's own choice.

    group_size: weights that share a scale; -1: all of a channel. int4_share: of the weights in 4 bits, the others stay
    in 8. smoothing: SmoothQuant's alpha, the part of activations' outliers that goes into the weights.
    calibration: JSON Lines with the key `text`, of which `calibration_texts` are read, each up to so many tokens.
    """

    group_size: int | None = None
    symmetric: bool | None = None
    int4_share: float | None = None
    outer: Outer | None = None
    scale_estimation: bool | None = None
    smoothing: float | None = None
    calibration: Path | None = None
    calibration_texts: int | None = None
    calibration_tokens: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        """What is not left to the backend, by key."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine configuration. `None` leaves a choice to the engine."""

    name: str
    model: Path
    backend: str = "openvino"
    precision: Precision = Precision.FP32
    kv_cache_dtype: KvDtype = KvDtype.AUTO
    batching: Batching = Batching.INFLIGHT
    paged_kv: bool = True
    prefix_caching: bool = False
    chunked_prefill: bool = False
    speculative: Speculation | None = None
    max_batch_size: int = 8
    max_num_tokens: int = 2048
    max_seq_len: int = 1024
    cuda_graphs: bool | None = None
    overlap_scheduler: bool | None = None
    context_fmha: bool | None = None
    remove_input_padding: bool | None = None
    tp: int = 1
    pp: int = 1
    engine_args: tuple[tuple[str, str | int | float | bool], ...] = ()
    flow: Flow | None = None
    max_input_len: int | None = None
    builder_cmd: str | None = None  # a command line of the user's own that builds the engine
    quantisation: Quantisation | None = None
    made_by: str | None = None  # the command that makes the checkpoint where it is not there

    @property
    def is_quantised(self) -> bool:
        return self.precision not in PLAIN


class WorkKind(StrEnum):
    """The kinds of workload; each has one record below and one module under workloads/."""

    BUILD = "build"
    LATENCY = "latency"
    PERPLEXITY = "perplexity"
    TASKS = "tasks"
    SERVING = "serving"


@dataclass(frozen=True, slots=True)
class BuildWork:
    """Preparing and loading the engine: build seconds, bytes, load seconds, peak memory."""

    name: str


@dataclass(frozen=True, slots=True)
class LatencyWork:
    """Closed-loop generation: `concurrency` streams until `requests` requests are done.

    Lengths are in tokens; every request generates exactly `output_len` (EOS ignored).
    """

    name: str
    prompts: Path
    input_len: int = 128
    output_len: int = 64
    concurrency: int = 1
    requests: int = 16
    warmup_requests: int = 4


@dataclass(frozen=True, slots=True)
class PerplexityWork:
    """Scoring of held-out documents by strided windows (`window`, `stride` in tokens)."""

    name: str
    text: Path
    window: int = 512
    stride: int = 256


@dataclass(frozen=True, slots=True)
class TasksWork:
    """Tasks of lm-evaluation-harness, whose files lie in `folder`; of each at most `limit` items."""

    name: str
    tasks: tuple[str, ...]
    folder: Path
    limit: int | None = None


class Arrivals(StrEnum):
    """How the requests of an open loop are spread: evenly, or as independent users come."""

    POISSON = "poisson"
    CONSTANT = "constant"


class ServingRoute(StrEnum):
    """The OpenAI route that requests go to."""

    COMPLETIONS = "completions"
    CHAT = "chat"


class PromptKind(StrEnum):
    """What a prompt is: random token ids of exactly the wanted number, or a text that has so many tokens."""

    IDS = "ids"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class PromptPrefix:
    """Prompts that begin alike: `share` of them with one of `groups` prefixes of `tokens` tokens, taken in turn."""

    groups: int
    tokens: int
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Slo:
    """What a good request keeps to; None: any time will do. Times count as in the metrics of the same name."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2el_s: float | None = None


@dataclass(frozen=True, slots=True)
class ServingTimeouts:
    """How long a request may take before it counts as failed, and a load run; None: the client's own bound."""

    connect_s: float | None = None
    first_token_s: float | None = None
    idle_s: float | None = None
    total_s: float | None = None
    run_s: float | None = None


@dataclass(frozen=True, slots=True)
class ServingWork:
    """A load on a server: a closed loop of `concurrency` streams, or an open one of `request_rate` requests/s.

    isl, osl: input and output lengths in tokens as `perfgate.load.lengths` reads them ("512", "uniform:100:500");
    a histogram is named by its path. `requests` are measured, after `warmup_requests` at the same load.
    """

    name: str
    isl: str = "512"
    osl: str = "128"
    concurrency: int | None = None
    request_rate: float | None = None
    arrivals: Arrivals | None = None  # of an open loop
    requests: int = 100
    warmup_requests: int = 10
    seed: int = 0
    prefix: PromptPrefix | None = None
    route: ServingRoute = ServingRoute.COMPLETIONS
    prompts: PromptKind = PromptKind.IDS
    ignore_eos: bool = True
    slo: Slo | None = None
    timeouts: ServingTimeouts | None = None


Workload = BuildWork | LatencyWork | PerplexityWork | TasksWork | ServingWork

KIND_OF: dict[type[Workload], WorkKind] = {
    BuildWork: WorkKind.BUILD,
    LatencyWork: WorkKind.LATENCY,
    PerplexityWork: WorkKind.PERPLEXITY,
    TasksWork: WorkKind.TASKS,
    ServingWork: WorkKind.SERVING,
}


_SCALES_WITH_LOAD = ("concurrency", "requests", "warmup_requests")


@dataclass(frozen=True, slots=True)
class Case:
    """An engine under a workload. The id is for people, the hash for comparing."""

    engine: EngineSpec
    work: Workload

    @property
    def id(self) -> str:
        return f"{self.engine.name}-{self.work.name}"

    @property
    def kind(self) -> WorkKind:
        return KIND_OF[type(self.work)]

    @property
    def hash(self) -> str:
        """Changes when anything that defines the measurement changes; names and folders do not count."""
        return short_hash({"engine": canonical(self.engine), "work": canonical(self.work), "kind": self.kind})

    @property
    def concurrency(self) -> int | None:
        """Streams at a time; None for a workload that has no such number."""
        return getattr(self.work, "concurrency", None)

    @property
    def family(self) -> str | None:
        """The same for cases that differ only in concurrency and, with it, in how many requests are sent."""
        if self.concurrency is None:
            return None
        work = {key: value for key, value in canonical(self.work).items() if key not in _SCALES_WITH_LOAD}
        return short_hash({"engine": canonical(self.engine), "work": work, "kind": self.kind})


def canonical(record: EngineSpec | Workload) -> dict[str, Any]:
    """A record as plain data without its name; a path counts by its last two parts, wherever the tree lies.

    Of serving workloads what is not asked for (None) is left out, so that new wishes leave old hashes as they are.
    """
    plain = asdict(record)
    del plain["name"]
    plain.pop("made_by", None)
    if isinstance(record, ServingWork):
        plain = _asked(plain) | {key: _length(plain[key]) for key in ("isl", "osl")}
    if plain.get("quantisation"):
        plain["quantisation"] = _asked(plain["quantisation"])
    return {key: _plain(value) for key, value in plain.items() if value is not None or key not in _LATER}


_LATER = (
    "flow",
    "max_input_len",
    "builder_cmd",
    "quantisation",
)  # keys that came later: left out while unset, so that hashes stay


def _asked(plain: dict[str, Any]) -> dict[str, Any]:
    """Without the keys that are None, at any depth."""
    kept = {key: value for key, value in plain.items() if value is not None}
    return {key: _asked(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _length(text: str) -> str | Path:
    """A length as it is hashed: a histogram is a path."""
    return Path(text) if text.endswith((".json", ".csv")) else text


def _plain(value: Any) -> Any:
    match value:
        case Path():
            return "/".join(value.parts[-2:])
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
        case _:
            return value


def short_hash(data: Any) -> str:
    """The first 16 hex digits of the SHA-256 of canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
