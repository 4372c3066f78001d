"""Which engine each engine of a suite is compared with: the plainer one of the same model that differs least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from perfgate.case import PLAIN, EngineSpec, KvDtype
from perfgate.claim import value_of
from perfgate.spec_keys import differing

_PLAIN_KV = (KvDtype.AUTO, KvDtype.FP32, KvDtype.FP16, KvDtype.BF16)
# Sizes and machinery say nothing of which of two engines is the plainer one.
_NOT_TECHNIQUES = (
    "name", "model", "backend", "max_batch_size", "max_num_tokens", "max_seq_len", "max_input_len", "engine_args",
    "builder_cmd", "made_by", "flow",
)  # fmt: skip
LOSSY = ("precision", "kv_cache_dtype", "quantisation", "model", "backend", "engine_args", "builder_cmd", "flow")
_DEFAULTS = {field.name: field.default for field in fields(EngineSpec)}


@dataclass(frozen=True, slots=True)
class Changed:
    """A key of a spec that differs from the reference's, in words."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Technique:
    """An engine beside its reference. root: the plainest engine that the references lead to."""

    engine: EngineSpec
    reference: EngineSpec
    root: EngineSpec
    changes: tuple[Changed, ...]

    @property
    def title(self) -> str:
        """'precision fp8, max_num_tokens 2048'."""
        return ", ".join(f"{one.key} {one.after}" for one in self.changes)

    @property
    def may_cost_quality(self) -> bool:
        """Whether the output may differ in more than rounding; drafts are checked by the model itself."""
        return any(one.key.partition(".")[0] in LOSSY for one in self.changes)


def techniques(engines: Sequence[EngineSpec], named: Mapping[str, str]) -> list[Technique]:
    """One for each engine that has a reference among the others, in the order of the engines.

    named: the reference's name by the name of an engine, where the suite says which engine its losses are measured
    from; it counts where the models differ, as pruned and distilled ones do.
    """
    order = sorted(range(len(engines)), key=lambda number: (plainness(engines[number]), number))
    reference_of: dict[str, EngineSpec] = {}
    for place, number in enumerate(order):
        engine = engines[number]
        plainer = [engines[other] for other in order[:place] if _is_comparable(engine, engines[other], named)]
        if plainer:
            reference_of[engine.name] = min(plainer, key=lambda other: len(_keys(engine, other)))
    return [_technique(one, reference_of) for one in engines if one.name in reference_of]


def plainness(spec: EngineSpec) -> int:
    """In how many techniques a spec differs from the plainest one; 0 is plain."""
    return sum(_is_special(key, value) for key, value in _values(spec) if key not in _NOT_TECHNIQUES)


def changes(engine: EngineSpec, reference: EngineSpec) -> tuple[Changed, ...]:
    """What differs, in words; of `engine_args` each argument by itself."""
    return tuple(one for key in _keys(engine, reference) for one in _in_words(key, engine, reference))


def _technique(engine: EngineSpec, reference_of: Mapping[str, EngineSpec]) -> Technique:
    root = reference = reference_of[engine.name]
    while root.name in reference_of:
        root = reference_of[root.name]
    return Technique(engine, reference, root, changes(engine, reference))


def _is_comparable(engine: EngineSpec, other: EngineSpec, named: Mapping[str, str]) -> bool:
    return engine.model == other.model or named.get(engine.name) == other.name


def _keys(a: EngineSpec, b: EngineSpec) -> list[str]:
    return [key for key in differing(a, b) if key != "made_by"]


def _values(spec: EngineSpec) -> list[tuple[str, object]]:
    return [(field.name, getattr(spec, field.name)) for field in fields(EngineSpec)]


def _is_special(key: str, value: object) -> bool:
    match key:
        case "precision":
            return value not in PLAIN
        case "kv_cache_dtype":
            return value not in _PLAIN_KV
        case _:
            return value != _DEFAULTS[key]


def _in_words(key: str, engine: EngineSpec, reference: EngineSpec) -> Iterator[Changed]:
    if key == "engine_args":
        before, after = dict(reference.engine_args), dict(engine.engine_args)
        for name in dict.fromkeys([*before, *after]):
            if before.get(name) != after.get(name):
                yield Changed(f"engine_args.{name}", *(str(side.get(name, "none")) for side in (before, after)))
        return
    if key == "model":
        yield Changed(key, reference.model.name, engine.model.name)
        return
    words = [value_of(spec, key) for spec in (reference, engine)]
    if words[0] == words[1]:  # speculation by one method with other lengths, quantisation with other options
        words = [str(getattr(spec, key)) for spec in (reference, engine)]
    yield Changed(key, *words)
