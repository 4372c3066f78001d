"""What a calibration found, and the noise model that it leaves behind: records and their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from perfgate.blocks import encode_blocks
from perfgate.boundness import Waiting
from perfgate.record import Environment, encode_pretty, read_record, write_atomic
from perfgate.sampling import SampleCurve
from perfgate.spread import Ratio, Spread, Trend
from perfgate.terms import Pairing

CALIBRATION_SCHEMA = 1
NOISE_SCHEMA = 1
LOSS = 0.1  # by which a lever may make figures worse before that is told, and it is not recommended


@dataclass(frozen=True, slots=True)
class MetricFigures:
    """The noise of one metric of one case.

    level: geometric mean of its rounds, in the metric's canonical unit; session_count: sessions behind
    `sessions`, history's among them; curve: only of metrics that are made from kept samples.
    """

    case: str
    engine: str
    metric: str
    is_gated: bool
    level: float
    rounds: Spread | None
    pairs: Spread | None
    sessions: Spread | None
    session_count: int
    trend: Trend | None
    shape: str  # two levels or heavy tails, in words; empty: neither was seen
    waits: Waiting
    curve: SampleCurve | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The summaries of one latency of one case, by the spread of their pairs, the least noisy first.

    gated: those that the suite gates; p: of 'the best gated one scatters as little as the best', by
    Pitman and Morgan; 1 where it is the best, or none is gated.
    """

    case: str
    stem: str  # "itl"
    spreads: Mapping[str, Spread]  # by summary: "p10"
    gated: tuple[str, ...]
    p: float


class Outcome(StrEnum):
    """What a lever did to the noise."""

    HELPED = "helped"
    NONE = "no difference seen"
    WORSE = "worse"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class LeverCase:
    """One metric of one case with a lever pulled (`changed`) and without.

    level_change: relative change of the metric's value itself, signed so that larger is worse;
    is_level_clear: whether it is more than the rounds' own scatter gives.
    """

    case: str
    metric: str
    changed: Spread
    unchanged: Spread
    ratio: Ratio | None
    level_change: float
    is_level_clear: bool


@dataclass(frozen=True, slots=True)
class LeverFigures:
    """What a lever did: per gated metric and case, and per metric over all engines.

    pair_s: mean seconds of a pair with it and without; skipped: why it was not tried, else empty.
    """

    name: str
    what: str  # in words: "pinned to cores 1-7"
    cases: tuple[LeverCase, ...] = ()
    pooled: Mapping[str, Ratio] | None = None
    pair_s: float = 0.0
    unchanged_pair_s: float = 0.0
    skipped: str = ""

    @property
    def loss(self) -> float:
        """By how much it made a case's figure worse at most; 0 where none clearly got worse."""
        return max((one.level_change for one in self.cases if one.is_level_clear), default=0.0)

    def outcome(self, metric: str) -> Outcome:
        """Whether the interval of the variance ratio lies below one, above it, or holds it."""
        found = (self.pooled or {}).get(metric)
        if found is None:
            return Outcome.UNKNOWN
        if found.high < 1:
            return Outcome.HELPED
        return Outcome.WORSE if found.low > 1 else Outcome.NONE


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything a calibration found.

    tests: noisy and paired tests of the suite's whole gate, over which alpha is shared;
    pair_s: mean seconds of a pair of rounds by engine; clocks_mhz: lowest and highest seen;
    stopped: why measuring ended early, empty where not.
    """

    suite: str
    started: str
    seconds: float
    environment: Environment
    pairing: Pairing
    sessions: int
    pairs: int  # asked for per engine and session
    tests: int
    pair_s: Mapping[str, float]
    hashes: Mapping[str, str]  # of cases, by id
    metrics: tuple[MetricFigures, ...]
    choices: tuple[Choice, ...] = ()
    levers: tuple[LeverFigures, ...] = ()
    clocks_mhz: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    schema: int = CALIBRATION_SCHEMA
    stopped: str = ""

    @property
    def gated(self) -> tuple[MetricFigures, ...]:
        return tuple(one for one in self.metrics if one.is_gated)


# ------------------------------------------------------------- noise model


@dataclass(frozen=True, slots=True)
class MetricNoise:
    """The noise of one metric of one case on one device, for the same case, pairing and cores only.

    Standard deviations of log values, each with its degrees of freedom. session_sd is None where one
    session is all that is known.
    """

    case_hash: str
    pairing: Pairing
    cpus: tuple[int, ...]
    round_sd: float
    round_df: float
    pair_sd: float
    pair_df: float
    session_sd: float | None = None
    session_df: float = 0.0


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """The noise of a suite on a device: [case id][metric]."""

    suite: str
    device: str
    made: str  # UTC, ISO 8601: of the newest calibration in it
    cases: Mapping[str, Mapping[str, MetricNoise]]
    schema: int = NOISE_SCHEMA


def noise_path(state: Path, device: str, suite: str) -> Path:
    """Where the noise model of a suite on a device (by its key) lies."""
    return state / "noise" / device / f"{suite}.json"


def load_noise(state: Path, device: str, suite: str) -> Mapping[tuple[str, str], MetricNoise]:
    """Noise by (case id, metric); empty where nothing was calibrated.

    Raises:
        RecordError: the file is damaged or of another schema.
    """
    path = noise_path(state, device, suite)
    if not path.exists():
        return {}
    model = read_record(path, NoiseModel, NOISE_SCHEMA)
    return {(case, name): noise for case, metrics in model.cases.items() for name, noise in metrics.items()}


def save_noise(found: Calibration, state: Path) -> Path:
    """Put a calibration into the noise model; cases that it did not measure keep what is known of them.

    Raises:
        RecordError: the present file is damaged or of another schema.
    """
    path = noise_path(state, found.environment.device, found.suite)
    known = dict(read_record(path, NoiseModel, NOISE_SCHEMA).cases) if path.exists() else {}
    model = NoiseModel(found.suite, found.environment.device, found.started, known | _noise_of(found))
    write_atomic(path, encode_blocks(model))
    return path


def _noise_of(found: Calibration) -> dict[str, dict[str, MetricNoise]]:
    cases: dict[str, dict[str, MetricNoise]] = {}
    for one in found.metrics:
        if one.rounds and one.pairs:
            noise = MetricNoise(
                found.hashes[one.case], found.pairing, found.environment.cpus,
                one.rounds.sd, one.rounds.df, one.pairs.sd, one.pairs.df,
            )  # fmt: skip
            if one.sessions:
                noise = replace(noise, session_sd=one.sessions.sd, session_df=one.sessions.df)
            cases.setdefault(one.case, {})[one.metric] = noise
    return cases


def write_calibration(found: Calibration, out: Path) -> Path:
    """Write `calibration.json`."""
    path = out / "calibration.json"
    write_atomic(path, encode_pretty(found))
    return path
