"""The tuned engine as a suite file that can be run as it is, or pasted from: beside the engine it began with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from perfgate.case import WorkKind, Workload
from perfgate.suite import SCHEMA_VERSION, Suite
from perfgate.tune_record import Tuned

_TEXT = WorkKind.PERPLEXITY
_HISTOGRAMS = (".json", ".csv")  # lengths of serving workloads that are files


def tuned_suite(found: Tuned, suite: Suite, out: Path) -> str:
    """YAML of both engines, their gated workloads and the gate; paths are relative to `out`, where it is to lie."""
    raw = yaml.safe_load(suite.source.read_bytes())
    cases = [case for case in suite.cases if case.engine.name == found.engine and _is_kept(case.kind, suite)]
    works = {case.work.name: case.work for case in cases}
    tuned = f"{found.engine}-tuned"[:60]
    made: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "suite": f"{found.suite}-tuned"[:60],
        "engines": {found.engine: _engine(found.start, out), tuned: _engine(found.tuned, out)},
        "workloads": {name: _work(raw["workloads"][name], work, out) for name, work in works.items()},
        "gate": raw["gate"],
    }
    if any(case.kind == _TEXT for case in cases):
        made["gate"] = _with_text(raw["gate"], suite)
        made["quality"] = {"reference": found.engine, "perplexity": found.max_loss}
    if "policy" in raw:
        made["policy"] = raw["policy"]
    head = (
        f"# {found.engine} of suite {found.suite}, tuned for {found.goal} on {found.environment.product}, "
        f"{found.started}: {', '.join(one.words for one in found.kept) or 'nothing was kept'}.\n"
    )
    return head + str(yaml.safe_dump(made, sort_keys=False, width=120))


def _is_kept(kind: str, suite: Suite) -> bool:
    """A case of which nothing is gated is invalid in a gate; texts stay, for the limit of what tuning may cost."""
    return kind == _TEXT or _is_gated(kind, suite)


def _with_text(raw: Mapping[str, Any], suite: Suite) -> dict[str, Any]:
    """The gate as the file has it, with perplexity where it gates nothing of texts."""
    return {**raw, "metrics": raw["metrics"] if _is_gated(_TEXT, suite) else {**raw["metrics"], "perplexity": {}}}


def _is_gated(kind: str, suite: Suite) -> bool:
    return any(metric.is_of(kind) and not metric.is_optional for metric in suite.gate.metrics)


def _engine(keys: Mapping[str, Any], out: Path) -> dict[str, Any]:
    own = dict(keys)
    for holder in (own, own.get("speculative"), own.get("quantisation")):
        for key in ("model", "calibration"):
            if holder and key in holder:
                holder[key] = _relative(Path(holder[key]), out)
    return own


def _work(raw: Mapping[str, Any], work: Workload, out: Path) -> dict[str, Any]:
    return {key: _moved(value, getattr(work, key, None), out) for key, value in raw.items()}


def _moved(written: Any, read: Any, out: Path) -> Any:
    """A value as the file has it, a path in it as seen from `out`."""
    is_file = isinstance(read, Path) or (isinstance(read, str) and read.endswith(_HISTOGRAMS))
    return _relative(Path(read), out) if is_file else written


def _relative(path: Path, out: Path) -> str:
    return os.path.relpath(path.resolve(), out.resolve())
