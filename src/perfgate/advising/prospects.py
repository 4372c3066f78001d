"""Techniques that were not measured, that the backend has on this device, and that could help: each with its reason.

What could help follows from what the time goes to (`perfgate.advising.bounds`): where memory is what is waited for,
only fewer bytes a token help; where the host is, what takes work off it; where the prompt takes a large part, what
computes less of it or lets others go on beside it. `most` is what arithmetic leaves open, never an expectation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from perfgate.advising.bounds import Bounds, prompt_tokens, streams
from perfgate.advising.goals import Goal
from perfgate.advising.room import stored_bytes
from perfgate.case import PLAIN, Drafting, EngineSpec, KvDtype, LatencyWork, Precision, ServingWork, Speculation
from perfgate.demand import demand_of, widths_of
from perfgate.device import Device
from perfgate.engines import backend
from perfgate.engines.carrying import why_unsupported
from perfgate.model_shape import ModelShape, read_shape
from perfgate.model_work import Split, kv_bytes_per_token
from perfgate.percent import percent
from perfgate.roofline import Ceilings, distance
from perfgate.spec_keys import is_alike

_KV = (KvDtype.FP8, KvDtype.INT8, KvDtype.INT4)
_QUANTISED = tuple(one for one in Precision if one not in PLAIN)
PROMPT_HEAVY = 0.25  # of a request's time, from which what its prompt takes is worth a try
_FEW_STREAMS = 4  # drafts are checked almost for free up to about so many


@dataclass(frozen=True, slots=True)
class Prospect:
    """A technique to try on top of an engine. keys: what a spec says to ask for it.

    most: times as good, at most, by arithmetic; None where no figure bounds it. install: what has to be installed
    first. known_as: an engine of the suite that has it and was not measured; empty: none.
    """

    engine: str
    title: str
    keys: Mapping[str, Any]
    reason: str
    most: float | None = None
    install: str = ""
    known_as: str = ""


@dataclass(frozen=True, slots=True)
class Ground:
    """What prospects of an engine follow from: its bounds, the limits of the device, and the goal."""

    goal: Goal
    spec: EngineSpec
    bounds: Bounds
    device: Device
    ceilings: Ceilings | None


def prospects(ground: Ground, engines: Sequence[EngineSpec], measured: Sequence[EngineSpec]) -> list[Prospect]:
    """Those with the largest gain left open first; what no figure bounds last.

    engines: of the suite; measured: those with rounds, whose techniques are not proposed again.
    """
    made = (_prospect(ground, title, keys, reason, most) for title, keys, reason, most in _ideas(ground))
    able = [one for one in made if one is not None]
    new = [_known(one, ground, engines) for one in able if not _has(one, ground, measured)]
    return sorted(new, key=lambda one: -(one.most or 0.0))


def not_worth(ground: Ground) -> Iterator[str]:
    """What usually helps and cannot here, with the figure that says so."""
    busy = ground.bounds.busy
    is_of_speed = ground.goal not in (Goal.MEMORY, Goal.LONG_CONTEXT)
    if ground.bounds.is_of_device and busy is not None and is_of_speed:
        yield (
            f"CUDA graphs and the overlap scheduler cannot make {ground.bounds.case.id} more than {1 / busy:.2f}x as "
            f"fast: the device worked {percent(busy, 0)} of a decode step ({ground.bounds.run})"
        )


_Idea = tuple[str, Mapping[str, Any], str, float | None]  # title, keys, reason, most


def _ideas(ground: Ground) -> Iterator[_Idea]:
    if ground.goal in (Goal.MEMORY, Goal.LONG_CONTEXT):
        yield from _smaller(ground)
        yield from _longer(ground) if ground.goal is Goal.LONG_CONTEXT else ()
        return
    if ground.bounds.is_of_host:
        yield from _off_the_host(ground)
    elif ground.bounds.is_of_memory or ground.bounds.is_of_device:
        yield from _fewer_bytes(ground)
        yield from _fewer_steps(ground)
    yield from _prompts(ground)


# ------------------------------------------------------------------ what makes the device's work less


def _fewer_bytes(ground: Ground) -> Iterator[_Idea]:
    for title, keys in _narrower(ground.spec):
        told = _bytes_told(ground, replace(ground.spec, **keys))
        yield title, keys, f"{_waits(ground)}: only fewer bytes or steps a token help; {told[0]}", told[1]


def _narrower(spec: EngineSpec) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if spec.precision in PLAIN:
        yield from ((f"precision {one}", {"precision": one}) for one in _QUANTISED)
    if spec.kv_cache_dtype not in _KV:
        yield from ((f"KV cache {one}", {"kv_cache_dtype": one}) for one in _KV)


def _waits(ground: Ground) -> str:
    """'decode of bf16-c1 uses 85 % of the memory bandwidth (RUN)'."""
    bounds, case = ground.bounds, ground.bounds.case.id
    if bounds.is_of_memory and bounds.decode is not None and bounds.decode.share is not None:
        return (
            f"decode of {case} uses {percent(bounds.decode.share, 0)} of the measured memory bandwidth ({bounds.run})"
        )
    if bounds.is_of_memory and bounds.decode is not None and bounds.decode.distance is not None:
        return f"decode of {case} is {bounds.decode.distance.times:.2f}x its least time, by memory ({bounds.run})"
    return f"the device worked {percent(bounds.busy or 0.0, 0)} of a decode step of {case} ({bounds.run})"


def _bytes_told(ground: Ground, after: EngineSpec) -> tuple[str, float | None]:
    """Bytes of a decode step before and after, and what that leaves open where the device's limits are known."""
    case = ground.bounds.case
    assert isinstance(case.work, LatencyWork | ServingWork)
    was, would = demand_of(case), demand_of(replace(case, engine=after))
    if was.decode is None or would.decode is None:
        return f"bytes of a step: {was.untold.get('decode') or would.untold.get('decode') or 'not known'}", None
    words = f"a step would move {_gb(would.decode.moved_bytes)} instead of {_gb(was.decode.moved_bytes)}"
    phase = ground.bounds.decode
    if ground.ceilings is None or phase is None or phase.distance is None:
        return words, None
    after_it = distance(would.decode, phase.distance.seconds, would, ground.ceilings)
    if after_it is None or after_it.floor_s >= phase.distance.floor_s:
        return words, None
    return words, after_it.times  # as fast as its own least time: no kernel does better


def _fewer_steps(ground: Ground) -> Iterator[_Idea]:
    few = streams(ground.bounds.case)
    if ground.goal is not Goal.LATENCY or not 0 < few <= _FEW_STREAMS or ground.spec.speculative is not None:
        return
    draft = Speculation(Drafting.NGRAM)
    why = (
        f"{_waits(ground)} at {few} at a time, so that checking {draft.draft_len} drafts costs little more than a "
        "step; what is accepted depends on the texts"
    )
    yield "n-gram speculation", {"speculative": draft}, why, draft.draft_len + 1.0


# ------------------------------------------------------------------ what takes work off the host


def _off_the_host(ground: Ground) -> Iterator[_Idea]:
    bounds = ground.bounds
    busy = bounds.busy or 0.0
    why = (
        f"the device worked {percent(busy, 0)} of a decode step of {bounds.case.id} and waited for the host otherwise "
        f"({bounds.run})"
    )
    most = 1 / busy if busy else None
    if ground.spec.cuda_graphs is not True:
        yield "CUDA graphs on", {"cuda_graphs": True}, why, most
    if ground.spec.overlap_scheduler is not True:
        yield "overlap scheduler on", {"overlap_scheduler": True}, why, most


# ------------------------------------------------------------------ prompts


def _prompts(ground: Ground) -> Iterator[_Idea]:
    bounds = ground.bounds
    if ground.goal is Goal.COST or bounds.prompt_share is None or bounds.prompt_share < PROMPT_HEAVY:
        return
    heavy = percent(bounds.prompt_share, 0)
    took = f"the first token of {bounds.case.id} takes {heavy} of a request's time ({bounds.run})"
    if bounds.prefill is not None and bounds.prefill.share is not None:
        least = "at least " if bounds.prefill.is_least else ""
        took += f", with {least}{percent(bounds.prefill.share, 0)} of the matrix rate"
    if streams(bounds.case) > 1 and not ground.spec.chunked_prefill:
        why = f"{took}: chunks let other requests decode beside a long prompt"
        yield "chunked prefill", {"chunked_prefill": True}, why, None
    if not ground.spec.prefix_caching:
        why = f"{took}: prompts that begin alike need not be computed again; without such prompts it gives nothing"
        # Beside others a prompt also slows their steps: only alone the rest of the request bounds the gain.
        most = 1 / (1 - bounds.prompt_share) if streams(bounds.case) == 1 else None
        yield "prefix caching", {"prefix_caching": True}, why, most


def _longer(ground: Ground) -> Iterator[_Idea]:
    tokens = prompt_tokens(ground.bounds.case)
    if not ground.spec.chunked_prefill:
        why = f"prompts of {tokens:,.0f} tokens ({ground.bounds.case.id}) are computed in one piece, others wait"
        yield "chunked prefill", {"chunked_prefill": True}, why, None
    yield from (idea for idea in _prompts(ground) if "prefix_caching" in idea[1])


# ------------------------------------------------------------------ memory


def _smaller(ground: Ground) -> Iterator[_Idea]:
    shape = read_shape(ground.spec.model)
    for title, keys in _narrower(ground.spec):
        after = replace(ground.spec, **keys)
        if isinstance(shape, str):
            yield title, keys, f"{_widths_told(ground.spec, after)}; bytes of the whole: {shape}", None
        else:
            yield title, keys, *_stored_told(shape, ground.spec, after)


def _widths_told(before: EngineSpec, after: EngineSpec) -> str:
    was, would = widths_of(before), widths_of(after)
    if before.kv_cache_dtype is not after.kv_cache_dtype:
        return f"bytes of a value in the KV cache: {would.kv:g} instead of {was.kv:g}"
    return f"bytes of a weight in the layers: {would.block:.3g} instead of {was.block:.3g}"


def _stored_told(shape: ModelShape, before: EngineSpec, after: EngineSpec) -> tuple[str, float | None]:
    split = Split(before.tp, before.pp)
    if before.kv_cache_dtype is not after.kv_cache_dtype:
        was, would = (kv_bytes_per_token(shape, widths_of(one), split) for one in (before, after))
        words = f"a token of the KV cache would take {would / 1e3:,.1f} kB instead of {was / 1e3:,.1f} kB"
    else:
        was, would = (stored_bytes(shape, widths_of(one), split) for one in (before, after))
        words = f"weights would take {_gb(would)} instead of {_gb(was)}"
    return f"{words} (by the model's shape)", was / would if would else None


def _gb(size: float) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e9 else f"{size / 1e6:,.2f} MB"  # noqa: PLR2004


# ------------------------------------------------------------------ what is there already, and what can be


def _prospect(ground: Ground, title: str, keys: Mapping[str, Any], reason: str, most: float | None) -> Prospect | None:
    """None where the backend has no such thing on this device, or where arithmetic leaves nothing to win."""
    spec = replace(ground.spec, **keys)
    found = backend(spec.backend).support(spec, ground.device)
    if not (found.is_supported or found.is_missing) or (most is not None and most <= 1):
        return None
    if found.is_supported and why_unsupported(spec, ground.device) is not None:
        return None
    return Prospect(ground.spec.name, title, keys, reason, most, (found.reason or "") if found.is_missing else "")


def _has(one: Prospect, ground: Ground, measured: Sequence[EngineSpec]) -> bool:
    return any(_is_it(one, ground, spec) for spec in measured)


def _is_it(one: Prospect, ground: Ground, spec: EngineSpec) -> bool:
    """Whether an engine is the prospect's own, or has its technique on the same model by the same backend."""
    alike = (spec.model, spec.backend) == (ground.spec.model, ground.spec.backend)
    return alike and all(is_alike(getattr(spec, key), value) for key, value in one.keys.items())


def _known(one: Prospect, ground: Ground, engines: Sequence[EngineSpec]) -> Prospect:
    there = next((spec.name for spec in engines if _is_it(one, ground, spec)), "")
    return replace(one, known_as=there)
