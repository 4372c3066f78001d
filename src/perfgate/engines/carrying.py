"""What a backend can carry out: kinds of workload, and servers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.case import Case, EngineSpec, Precision, WorkKind
from perfgate.device import Device
from perfgate.engines import backend
from perfgate.plant import Plant

if TYPE_CHECKING:  # a plan needs no server
    from perfgate.engines.openai import Server

ALL_KINDS = frozenset(WorkKind)


def kinds_of(one: Any) -> frozenset[WorkKind]:
    """The kinds of workload that a backend has; one that does not say has all: whatever loads can be served."""
    kinds: frozenset[WorkKind] = getattr(one, "kinds", ALL_KINDS)
    return kinds


def why_skipped(case: Case, device: Device) -> str | None:
    """Why a case cannot be measured here, in words; None where it can.

    A backend whose engines carry a kind of workload only where they are made for it has a method
    `refusal(spec, kind)`, which is asked about supported specs.

    Raises:
        UsageError: there is no such backend.
    """
    one = backend(case.engine.backend)
    kinds = kinds_of(one)
    if case.kind not in kinds:
        return f"the backend {case.engine.backend} has no {case.kind} workloads; it has {', '.join(sorted(kinds))}"
    own: Callable[[EngineSpec, WorkKind], str | None] = getattr(one, "refusal", lambda *_: None)
    return why_unsupported(case.engine, device) or own(case.engine, case.kind)


def why_unsupported(spec: EngineSpec, device: Device) -> str | None:
    """Why an engine cannot run here, in words; None where it can.

    Raises:
        UsageError: there is no such backend.
    """
    one = backend(spec.backend)
    if spec.made_by is not None and (missing := _missing_checkpoint(spec)):
        return f"the checkpoint {missing.name} is not there yet: run {spec.made_by}"
    if reason := one.support(spec, device).reason:
        return reason
    return _why_not_quantised(spec, getattr(one, "quantising", {}), getattr(one, "calibrated", frozenset()))


def _missing_checkpoint(spec: EngineSpec) -> Path | None:
    """The model's folder, or the draft's, where it is not there."""
    draft = spec.speculative.model if spec.speculative else None
    return next((folder for folder in (spec.model, draft) if folder and not folder.is_dir()), None)


def _why_not_quantised(
    spec: EngineSpec, taken: Mapping[Precision, frozenset[str]], calibrated: frozenset[Precision]
) -> str | None:
    """An option of `quantisation` that a backend has not, or calibration texts that are missing; else None.

    taken: options by precision; calibrated: precisions that are made on texts.
    """
    options, known = spec.quantisation.given if spec.quantisation else {}, taken.get(spec.precision, frozenset())
    for name in options:
        if name not in known:
            has = ", ".join(sorted(known)) or "none"
            where = f"{spec.precision} in backend {spec.backend}"
            return f"quantisation.{name} is no option of {where}; it has: {has}"
    if "calibration" in options or (spec.precision not in calibrated and not options.get("scale_estimation")):
        return None
    what = spec.precision.value if spec.precision in calibrated else "scale_estimation"
    return f"{what} is made on calibration texts: set quantisation.calibration, or give --calibration"


def can_rerun(spec: EngineSpec) -> bool:
    """Whether an engine of the same key is surely the same: one that we did not start may have changed untold."""
    return bool(getattr(backend(spec.backend), "can_rerun", lambda _: True)(spec))


def serving(spec: EngineSpec, prepared: Path, plant: Plant, folder: Path) -> AbstractContextManager[Server]:
    """A server of a prepared engine, its log and files in the folder; leaving the context ends it.

    By the backend's own server, or else by one of ours around the engine as the backend loads it.
    """
    one: Any = backend(spec.backend)
    serve = getattr(one, "serve", None) or importlib.import_module("perfgate.engines.bridge").serve_engine
    made: AbstractContextManager[Server] = serve(spec, prepared, plant, folder)
    return made
