"""Weights that are pickles run what is written in them when they are read: only where a suite says so by name."""

from __future__ import annotations

from perfgate.case import EngineSpec

_PICKLES = ("*.bin", "*.ckpt", "*.pkl", "*.pt", "*.pth")
_SAFE = ("model.safetensors", "model.safetensors.index.json")  # what loaders take first, beside whatever else
_OTHERWISE = ("dummy", "npcache", "pt")  # load formats of no weights, or of pickles by name
ALLOWED = "pickles"  # the key of engine_args


def why_refused(spec: EngineSpec) -> str:
    """Which of a spec's checkpoints, target or draft, has weights as pickles alone; empty where none would be read."""
    if spec.builder_cmd or dict(spec.engine_args).get("load_format") in _OTHERWISE:  # the suite's own words
        return ""
    draft = spec.speculative.model if spec.speculative else None
    for folder in filter(None, (spec.model, draft)):
        found = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if found and not any((folder / name).is_file() for name in _SAFE):
            return (
                f"the weights of {folder} are pickles ({found[0]}), and reading those runs what is written in them: "
                "found no model.safetensors; convert them"
            )
    return ""
