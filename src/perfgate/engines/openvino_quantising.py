"""Weights quantised by NNCF: what it can of a spec's options, and the calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perfgate.case import EngineSpec, Outer, Precision, Quantisation
from perfgate.engines.base import first_line
from perfgate.engines.calibration_texts import calibration_ids, keep_calibration
from perfgate.errors import EngineError

INT4_GROUP = 32  # weights that share a scale
_TEXTS = frozenset({"calibration", "calibration_texts", "calibration_tokens"})
_INT4 = _TEXTS | {"group_size", "symmetric", "int4_share", "outer", "scale_estimation"}
TAKEN = {  # options by precision
    Precision.INT8_WO: frozenset({"symmetric"}),
    Precision.INT8_SQ: _TEXTS | {"smoothing"},
    Precision.INT4_WO: _INT4,
    Precision.INT4_AWQ: _INT4,
    Precision.INT4_GPTQ: _INT4 - {"scale_estimation"},
}
CALIBRATED = frozenset({Precision.INT8_SQ, Precision.INT4_AWQ, Precision.INT4_GPTQ})


def compressed(model: Any, spec: EngineSpec, tokenizer: Path, into: Path) -> Any:
    """The model with weights (and, of int8_sq, activations) of the spec's precision.

    Texts that it was calibrated on are recorded in the folder `into`.

    Raises:
        EngineError: NNCF refused.
    """
    if not spec.is_quantised:
        return model
    options = spec.quantisation or Quantisation()
    texts = _samples(model, options, tokenizer, into) if options.calibration else None
    try:
        return _smoothed(model, options, texts) if spec.precision is Precision.INT8_SQ else _weights(model, spec, texts)
    except Exception as exc:  # NNCF raises classes of its own and of what it uses
        raise EngineError(f"NNCF cannot quantise '{spec.name}': {first_line(exc)}") from exc


def _weights(model: Any, spec: EngineSpec, texts: Sequence[Any] | None) -> Any:
    import nncf

    mode, options = nncf.CompressWeightsMode, spec.quantisation or Quantisation()
    if spec.precision is Precision.INT8_WO:
        return nncf.compress_weights(model, mode=mode.INT8_SYM if options.symmetric else mode.INT8_ASYM)
    calibrating = {"dataset": nncf.Dataset(texts), "subset_size": len(texts)} if texts else {}
    return nncf.compress_weights(
        model,
        mode=mode.INT4_SYM if options.symmetric else mode.INT4_ASYM,
        group_size=INT4_GROUP if options.group_size is None else options.group_size,
        ratio=1.0 if options.int4_share is None else options.int4_share,
        all_layers=options.outer is Outer.INT4,
        scale_estimation=bool(options.scale_estimation) or None,
        awq=spec.precision is Precision.INT4_AWQ or None,
        gptq=spec.precision is Precision.INT4_GPTQ or None,
        **calibrating,
    )


def _smoothed(model: Any, options: Quantisation, texts: Sequence[Any] | None) -> Any:
    """Weights and activations in 8 bits, outliers of activations moved into the weights (SmoothQuant)."""
    import nncf

    assert texts is not None  # support asks for them
    advanced = {}
    if options.smoothing is not None:
        alphas = nncf.AdvancedSmoothQuantParameters(matmul=options.smoothing)
        advanced = {"advanced_parameters": nncf.AdvancedQuantizationParameters(smooth_quant_alphas=alphas)}
    return nncf.quantize(
        model, nncf.Dataset(texts), model_type=nncf.ModelType.TRANSFORMER, preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(texts), **advanced,
    )  # fmt: skip


def _samples(model: Any, options: Quantisation, tokenizer: Path, into: Path) -> list[dict[str, Any]]:
    """Inputs of the model, one for each text."""
    import openvino_genai as genai

    reader = genai.Tokenizer(str(tokenizer))
    texts = calibration_ids(options, lambda text: reader.encode(text, add_special_tokens=False).input_ids.data[0])
    keep_calibration(options, into, len(texts), sum(map(len, texts)))
    names = {name for port in model.inputs for name in port.get_names()}
    return [_sample(ids, names) for ids in texts]


def _sample(ids: Sequence[int], names: set[str]) -> dict[str, Any]:
    given = {
        "input_ids": np.asarray([ids], dtype=np.int64),
        "attention_mask": np.ones((1, len(ids)), dtype=np.int64),
        "position_ids": np.arange(len(ids), dtype=np.int64)[None],
        "beam_idx": np.zeros(1, dtype=np.int32),
    }
    return {name: value for name, value in given.items() if name in names}
