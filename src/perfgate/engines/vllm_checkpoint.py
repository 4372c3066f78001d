"""The checkpoint files that vLLM reads, linked into a cache entry."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from perfgate.case import EngineSpec
from perfgate.engines.vllm_arguments import IN_CHECKPOINT
from perfgate.errors import ModelError
from perfgate.foreign_json import ForeignJsonError, read_json

_WEIGHTS = "*.safetensors"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_FILES = (
    *("config.json", "generation_config.json", "hf_quant_config.json", "quantize_config.json"),
    *(_WEIGHTS, "model.safetensors.index.json", *_TOKENIZERS),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
)


def link_checkpoint(spec: EngineSpec, into: Path) -> None:
    """The target into `into/model`, the draft into `into/draft`; never code or pickles.

    With load_format: dummy, weights are random and no weight file is needed or linked.

    Raises:
        ModelError: a configuration, weight or tokenizer file is missing, or the precision is not in the checkpoint.
    """
    has_weights = dict(spec.engine_args).get("load_format") != "dummy"
    _link(spec.model, into / "model", has_weights=has_weights)
    if spec.speculative and spec.speculative.model:
        _link(spec.speculative.model, into / "draft", has_weights=has_weights)
    expected, found = IN_CHECKPOINT.get(spec.precision), quantised_by(spec.model)
    if expected and found not in expected:
        raise ModelError(
            f"precision {spec.precision} must be in the checkpoint: {spec.model / 'config.json'} has "
            f"quantization_config by {found or 'nothing'}, expected {' or '.join(expected)}"
        )


def quantised_by(folder: Path) -> str | None:
    """`quant_method` of a checkpoint's config.json, '' where it has none; None where it cannot be read."""
    try:
        config = read_json(folder / "config.json")
    except (OSError, ForeignJsonError):
        return None
    settings = config.get("quantization_config") if isinstance(config, dict) else None
    return str(settings.get("quant_method", "")) if isinstance(settings, dict) else ""


def _link(folder: Path, into: Path, *, has_weights: bool) -> None:
    files = {path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()}
    files = {path for path in files if has_weights or not path.match(_WEIGHTS)}
    for patterns in (("config.json",), _TOKENIZERS, *([(_WEIGHTS,)] if has_weights else [])):
        if not any(path.match(pattern) for path in files for pattern in patterns):
            raise ModelError(f"the checkpoint {folder} lacks {' or '.join(patterns)}")
    into.mkdir(parents=True)
    for path in sorted(files):
        _place(path, into / path.name)


def _place(source: Path, target: Path) -> None:
    """A second name of the same file, else a copy: weights of 100 GB are not written twice where that can be."""
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        try:
            shutil.copyfile(source, target)
        except OSError as exc:
            raise ModelError(f"the checkpoint file {source} cannot be copied to {target}: {exc.strerror}") from exc
