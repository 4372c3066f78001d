"""What quantising an engine would do: its reference, what both are measured on, and the checks before it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from perfgate.case import BuildWork, Case, EngineSpec, PerplexityWork, Quantisation, Workload
from perfgate.device import Device, find_device
from perfgate.engines.carrying import why_skipped
from perfgate.errors import UsageError
from perfgate.pinning import check_cpus
from perfgate.quality_suite import Reference
from perfgate.quantise_suite import ROUNDS
from perfgate.suite import Suite
from perfgate.terms import Gate
from perfgate.workloads.texts import read_documents

_BUILD = "build"  # the workload that is added where the suite has none of the kind


@dataclass(frozen=True, slots=True)
class QuantiseWish:
    """What is told beside the suite. tries: further attempts with other options, where one is not accepted."""

    state: Path
    engine: str
    calibration: Path | None = None
    rounds: int | None = None
    tries: int = 0
    fresh: bool = False

    @property
    def folder(self) -> Path:
        return self.state / "quantize"


@dataclass(frozen=True, slots=True)
class QuantisePlan:
    """One engine to quantise. skip: why it cannot be done here. texts: one reference for each text that both score."""

    suite: Suite
    device: Device
    engine: EngineSpec
    reference: EngineSpec
    works: tuple[Workload, ...]
    texts: tuple[Reference, ...]
    rounds: int
    tries: int
    skip: str | None = None

    def cases(self, spec: EngineSpec) -> tuple[Case, ...]:
        return tuple(Case(spec, work) for work in self.works)

    def references(self, attempt: str) -> tuple[Reference, ...]:
        """From which cases the losses of an attempt are measured, and what each may be."""
        named = {one.case: one.case.removeprefix(f"{one.engine}-") for one in self.texts}
        return tuple(replace(one, case=f"{attempt}-{named[one.case]}", engine=attempt) for one in self.texts)

    def gate(self, attempt: str) -> Gate:
        return replace(self.suite.gate, references=self.references(attempt))


def plan_quantise(suite: Suite, wish: QuantiseWish) -> QuantisePlan:
    """See that the engine can be quantised and judged, without running anything.

    Raises:
        UsageError: no such engine, it is not quantised, it has no reference, or it would be calibrated on texts that
            judge it.
    """
    check_cpus("gate.cpus", suite.gate.cpus)
    device, engines = find_device(), {spec.name: spec for spec in suite.engines}
    spec = _calibrated(_engine(suite, engines, wish.engine), wish.calibration)
    texts = tuple(one for one in suite.gate.references if one.engine == wish.engine)
    if not texts:
        raise UsageError(
            f"engine '{wish.engine}' of {suite.source} has no reference that scores the same text: "
            "name one under quality (docs/quantizing.md)"
        )
    reference = engines[texts[0].reference_engine]
    works = _works(suite, spec.name, reference.name)
    _check_texts(spec, works)
    skips = (why_skipped(Case(one, work), device) for one in (spec, reference) for work in works)
    skip = next((why for why in skips if why), None)
    rounds = wish.rounds or (suite.quantising.rounds if suite.quantising else ROUNDS)
    return QuantisePlan(suite, device, spec, reference, works, texts, rounds, wish.tries, skip)


def _engine(suite: Suite, engines: dict[str, EngineSpec], name: str) -> EngineSpec:
    quantised = [one for one, spec in engines.items() if spec.is_quantised]
    if name not in engines:
        there = ", ".join(quantised) or "none"
        raise UsageError(f"no engine '{name}' in {suite.source}; quantised engines there: {there}")
    if name not in quantised:
        raise UsageError(
            f"engine '{name}' of {suite.source} is {engines[name].precision}, which quantises nothing: "
            f"name one of {', '.join(quantised) or 'its quantised engines (it has none)'}"
        )
    return engines[name]


def _calibrated(spec: EngineSpec, texts: Path | None) -> EngineSpec:
    if texts is None:
        return spec
    return replace(spec, quantisation=replace(spec.quantisation or Quantisation(), calibration=texts.resolve()))


def _works(suite: Suite, engine: str, reference: str) -> tuple[Workload, ...]:
    """What both are measured on, and how large they are."""
    mine = [case.work for case in suite.cases if case.engine.name == engine]
    both = [case.work for case in suite.cases if case.engine.name == reference and case.work in mine]
    if not any(isinstance(work, BuildWork) for work in both):
        taken = {work.name for work in both}
        both.insert(0, BuildWork(_BUILD if _BUILD not in taken else f"quantise-{_BUILD}"))
    return tuple(both)


def _check_texts(spec: EngineSpec, works: tuple[Workload, ...]) -> None:
    """Texts that were fitted to say nothing of others."""
    file = spec.quantisation.calibration if spec.quantisation else None
    if file is None:
        return
    fitted = {one.text for one in read_documents(file)}
    for work in (one for one in works if isinstance(one, PerplexityWork)):
        shared = [one.id for one in read_documents(work.text) if one.text in fitted]
        if shared:
            raise UsageError(
                f"{file} and the text {work.text} that judges '{spec.name}' share {len(shared)} documents "
                f"('{shared[0]}' is one): calibrate on others"
            )
