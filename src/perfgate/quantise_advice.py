"""What to try next where a quantised engine is not accepted: options that its backend has, best prospects first.

How much of the loss each thing leaves was measured on the shipped model (docs/quantizing.md); it only orders them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from perfgate.case import EngineSpec, Outer, Precision, Quantisation, canonical, short_hash
from perfgate.device import Device
from perfgate.engines import backend
from perfgate.engines.calibration_texts import TEXTS
from perfgate.engines.carrying import why_unsupported
from perfgate.percent import percent

_INT4 = (Precision.INT4_WO, Precision.INT4_AWQ, Precision.INT4_GPTQ)
_SMALLEST_GROUP = 16


@dataclass(frozen=True, slots=True)
class Idea:
    """An engine to try; leaves: share of the loss that is expected to remain.

    is_manual: the user has to give something first, and the spec only stands for what it leads to.
    """

    what: str
    why: str
    leaves: float
    spec: EngineSpec
    is_manual: bool = False


def ideas_for(
    spec: EngineSpec, device: Device, loss: float | None, allowed: float, tried: Sequence[EngineSpec], texts: int = 0
) -> list[Idea]:
    """Those whose expected loss is allowed first, then the others; of each the ones that cost least first.

    loss: None where output was broken or nothing could be measured; then the mildest quantisation comes first.
    texts: how many calibration texts there are in all, where there are any.
    """
    known = {_key(one) for one in tried}
    able = [
        one for one in _ideas(spec, texts) if why_unsupported(one.spec, device) is None and _key(one.spec) not in known
    ]
    if loss is None:
        return sorted(able, key=lambda one: one.leaves)
    return sorted(able, key=lambda one: one.leaves * loss > allowed)


def _key(spec: EngineSpec) -> str:
    return short_hash(canonical(spec))


def _ideas(spec: EngineSpec, texts: int) -> Iterator[Idea]:
    """In the order of what they cost in bytes; those that the backend lacks are sorted out afterwards."""
    options = spec.quantisation or Quantisation()
    if spec.precision in _INT4:
        yield from _of_int4(spec, options)
    if _is_symmetric(spec, options):
        yield Idea("asymmetric", "a zero point for each scale", 0.84, _with(spec, symmetric=False))
    if spec.precision is Precision.INT8_SQ:
        yield from (
            Idea(f"smoothing {alpha}", "more of the outliers moves into the weights", 0.9, _with(spec, smoothing=alpha))
            for alpha in (0.5, 0.8)
            if alpha != options.smoothing
        )
    if options.calibration:
        yield from _of_texts(spec, options, texts)
    if spec.precision in _INT4:
        yield from _mixed(spec, options)
    if spec.precision is not Precision.INT8_WO:
        plain = replace(spec, precision=Precision.INT8_WO, quantisation=None)
        yield Idea("int8 weights (int8_wo)", "8 bits a weight and nothing else", 0.03, plain)


def _of_int4(spec: EngineSpec, options: Quantisation) -> Iterator[Idea]:
    if options.calibration is None and spec.precision is Precision.INT4_WO:
        able = replace(spec, precision=Precision.INT4_GPTQ, quantisation=replace(options, calibration=spec.model))
        why = "int4_gptq fits the weights to them"
        yield Idea("give calibration texts (--calibration texts.jsonl)", why, 0.4, able, is_manual=True)
    elif spec.precision is Precision.INT4_WO:
        fitted = replace(spec, precision=Precision.INT4_GPTQ, quantisation=replace(options, scale_estimation=None))
        yield Idea("int4_gptq", "each layer makes up for the errors of its own rounding", 0.39, fitted)
        yield Idea(
            "int4_awq", "channels with large activations keep more", 1.0, replace(spec, precision=Precision.INT4_AWQ)
        )
    if options.calibration and not options.scale_estimation:
        yield Idea("scale estimation", "scales that lose least on the texts", 0.82, _with(spec, scale_estimation=True))
    if options.outer is Outer.INT4:
        yield Idea(
            "embeddings and output head in 8 bits", "they are the most sensitive", 0.83, _with(spec, outer=Outer.INT8)
        )
    group = options.group_size or getattr(backend(spec.backend), "int4_group_size", None)
    if group is not None and (group < 0 or group > _SMALLEST_GROUP):
        smaller = 128 if group < 0 else group // 2
        yield Idea(f"groups of {smaller}", "fewer weights share a scale", 0.85, _with(spec, group_size=smaller))


def _of_texts(spec: EngineSpec, options: Quantisation, texts: int) -> Iterator[Idea]:
    read = options.calibration_texts or min(TEXTS, texts)
    if texts > read:
        more = min(2 * read, texts)
        yield Idea(f"{more} calibration texts", f"it read {read}", 0.95, _with(spec, calibration_texts=more))


def _mixed(spec: EngineSpec, options: Quantisation) -> Iterator[Idea]:
    share = 1.0 if options.int4_share is None else options.int4_share
    for less, leaves in ((0.8, 0.6), (0.5, 0.3)):
        if less < share:
            what = f"{percent(less, 0)} of the weights in 4 bits, the rest in 8"
            yield Idea(what, "the most sensitive layers keep 8 bits", leaves, _with(spec, int4_share=less))


def _is_symmetric(spec: EngineSpec, options: Quantisation) -> bool:
    if options.symmetric is not None:
        return options.symmetric
    return spec.precision in _INT4 and bool(getattr(backend(spec.backend), "int4_is_symmetric", False))


def _with(spec: EngineSpec, **changes: object) -> EngineSpec:
    options = replace(spec.quantisation or Quantisation(), **changes)  # type: ignore[arg-type]
    return replace(spec, quantisation=options if options.given else None)
