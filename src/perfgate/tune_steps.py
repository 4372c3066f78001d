"""The steps of a tuning in their order, as data: when each applies, and what of the engine's spec it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from perfgate.boundness import Bound
from perfgate.case import Case, EngineSpec, KvDtype, LatencyWork, Precision, ServingWork, Speculation, Workload
from perfgate.case import Drafting as Draft
from perfgate.device import Device
from perfgate.engines.carrying import why_skipped
from perfgate.percent import percent
from perfgate.tune_goal import Goal, input_len, streams
from perfgate.workloads.texts import Document, read_documents

LONG_PROMPT = 0.5  # of max_num_tokens: from here on a prompt keeps others waiting for whole steps
FEW_STREAMS = 4  # above, drafts compete with other requests for the same arithmetic
HEAD_CHARACTERS = 200  # that prompts share: some 50 tokens, a few blocks of a paged KV cache
SHARED = 0.5  # of the prompts
BACK = 0.8  # of the largest batch that ran before memory ran out
_DOUBLINGS = 16  # of an open loop


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known when a step is looked at. work: the goal's workload; waits: what the best engine waits for.

    draft: the draft model that the suite has for this checkpoint. has_text: whether a text tells what is lost.
    """

    goal: Goal
    device: Device
    works: tuple[Workload, ...]
    work: Workload
    has_text: bool
    draft: Speculation | None = None
    waits: Bound = Bound.UNKNOWN


WhyNot = Callable[[EngineSpec, Scene], str | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One row. change: the keys of the spec; why_not: of the workload or the spec, None where it applies.

    is_lossy: it may change what the engine says. repeats: it is taken again as long as it is kept.
    """

    name: str
    words: str
    change: Callable[[EngineSpec, Scene], Mapping[str, object]]
    why_not: WhyNot
    is_lossy: bool = False
    repeats: bool = False

    def spec(self, best: EngineSpec, scene: Scene) -> EngineSpec:
        """The candidate; it is named after what it changes."""
        changed = replace(best, **self.change(best, scene))  # type: ignore[arg-type]
        return replace(changed, name=f"{self.name}-{changed.max_batch_size}" if self.repeats else self.name)

    def told(self, spec: EngineSpec) -> str:
        """The step in words, once it has a candidate."""
        return f"batch of {spec.max_batch_size}" if self.repeats else self.words

    def refusal(self, best: EngineSpec, scene: Scene) -> str | None:
        """Why it is no candidate; None where it is one."""
        if why := self.why_not(best, scene):
            return why
        if self.is_lossy and not scene.has_text:
            return "no workload of kind perplexity: nothing would tell what it loses"
        return why_unable(self.spec(best, scene), scene)


def why_unable(spec: EngineSpec, scene: Scene) -> str | None:
    """Why the backend cannot run a spec here under these workloads."""
    return next((why for work in scene.works if (why := why_skipped(Case(spec, work), scene.device))), None)


# ------------------------------------------------------------------ precision

_BITS = {
    Precision.FP32: 32, Precision.FP16: 16, Precision.BF16: 16, Precision.FP8: 8, Precision.INT8_WO: 8,
    Precision.INT8_SQ: 8, Precision.INT4_WO: 4, Precision.INT4_AWQ: 4, Precision.INT4_GPTQ: 4,
}  # fmt: skip
_KV_BITS = {
    KvDtype.AUTO: 16, KvDtype.FP32: 32, KvDtype.FP16: 16, KvDtype.BF16: 16, KvDtype.FP8: 8, KvDtype.INT8: 8,
    KvDtype.INT4: 4,
}  # fmt: skip


def _weights(to: Precision, unless: Precision | None = None) -> Step:
    """unless: where the device has that precision, it is the one to take."""

    def why_not(best: EngineSpec, scene: Scene) -> str | None:
        if _BITS[best.precision] <= _BITS[to]:
            return f"the weights are {best.precision} already"
        if unless and why_unable(replace(best, precision=unless, quantisation=None), scene) is None:
            return f"{unless} is there on {scene.device.key}"
        return None

    return Step(
        to.value, f"weights in {to.value}", lambda _, __: {"precision": to, "quantisation": None}, why_not,
        is_lossy=True,
    )  # fmt: skip


def _kv(to: KvDtype, unless: KvDtype | None = None) -> Step:
    def why_not(best: EngineSpec, scene: Scene) -> str | None:
        if _KV_BITS[best.kv_cache_dtype] <= _KV_BITS[to]:
            return f"the KV cache is {best.kv_cache_dtype} already"
        if unless and why_unable(replace(best, kv_cache_dtype=unless), scene) is None:
            return f"{unless} is there on {scene.device.key}"
        return None

    return Step(
        f"kv-{to.value}", f"KV cache in {to.value}", lambda _, __: {"kv_cache_dtype": to}, why_not, is_lossy=True
    )  # fmt: skip


# ---------------------------------------------------------------------- batch


def _no_larger_batch(best: EngineSpec, scene: Scene) -> str | None:
    if scene.goal is not Goal.THROUGHPUT:
        return f"serves the goal {Goal.THROUGHPUT} only"
    if streams(scene.work) <= best.max_batch_size:
        return (
            f"a batch of {best.max_batch_size} holds the {streams(scene.work)} streams of {scene.work.name}; "
            "with more concurrency there the search would go on"
        )
    return None


# -------------------------------------------------------------------- prompts


def _no_long_prompts(best: EngineSpec, scene: Scene) -> str | None:
    if best.chunked_prefill:
        return "it is on already"
    longest = max(map(input_len, scene.works))
    if longest <= LONG_PROMPT * best.max_num_tokens:
        return f"prompts of {longest:.0f} tokens are short against max_num_tokens {best.max_num_tokens}"
    return None


def _no_shared_heads(best: EngineSpec, scene: Scene) -> str | None:
    if best.prefix_caching:
        return "it is on already"
    match scene.work:
        case ServingWork(prefix=prefix):
            return None if prefix else f"the prompts of {scene.work.name} share no prefix"
        case LatencyWork():
            return _why_unshared(scene.work)
        case _:
            return f"{scene.work.name} has no prompts"


def _why_unshared(work: LatencyWork) -> str | None:
    texts, asked = read_documents(work.prompts), work.requests + work.warmup_requests
    if asked > len(texts):
        return f"{work.name} asks {len(texts)} prompts more than once: what a cache gained would be the repetition"
    share = shared_heads(texts)
    return None if share >= SHARED else f"{percent(share, 0)} of the prompts of {work.name} begin like another"


def shared_heads(texts: Sequence[Document]) -> float:
    """Share of the texts whose first characters are another one's too."""
    heads = Counter(one.text[:HEAD_CHARACTERS] for one in texts)
    return sum(number for number in heads.values() if number > 1) / len(texts)


# ----------------------------------------------------------------------- host


def _host(key: str, words: str, name: str) -> Step:
    def why_not(best: EngineSpec, scene: Scene) -> str | None:
        if not scene.device.is_gpu:
            return "the engine runs on the CPU: no launch of kernels is waited for"
        if getattr(best, key):
            return "it is on already"
        return "the GPU is busy: it does not wait for the host" if scene.waits is Bound.GPU else None

    return Step(name, words, lambda _, __: {key: True}, why_not)


# ---------------------------------------------------------------- speculation


def _speculation(draft: Draft, name: str, words: str) -> Step:
    def chosen(scene: Scene) -> Speculation | None:
        return Speculation(draft) if draft is Draft.NGRAM else scene.draft

    def why_not(best: EngineSpec, scene: Scene) -> str | None:
        if scene.goal is not Goal.LATENCY:
            return f"serves the goal {Goal.LATENCY} only"
        if best.speculative is not None:
            return "it speculates already"
        if streams(scene.work) > FEW_STREAMS:
            return f"for at most {FEW_STREAMS} streams at a time; {scene.work.name} has {streams(scene.work)}"
        return None if chosen(scene) else "no engine of the suite names a draft model for this checkpoint"

    return Step(name, words, lambda _, scene: {"speculative": chosen(scene)}, why_not)


STEPS: tuple[Step, ...] = (
    _weights(Precision.FP8),
    _weights(Precision.INT8_WO, unless=Precision.FP8),
    _weights(Precision.INT4_WO, unless=Precision.FP8),
    _kv(KvDtype.FP8),
    _kv(KvDtype.INT8, unless=KvDtype.FP8),
    Step(
        "batch", "batch doubled", lambda best, _: {"max_batch_size": 2 * best.max_batch_size}, _no_larger_batch,
        repeats=True,
    ),
    Step("chunked", "chunked context", lambda _, __: {"chunked_prefill": True}, _no_long_prompts),
    Step("prefix", "prefix caching", lambda _, __: {"prefix_caching": True}, _no_shared_heads),
    _host("cuda_graphs", "CUDA graphs", "graphs"),
    _host("overlap_scheduler", "overlap scheduler", "overlap"),
    _speculation(Draft.NGRAM, "ngram", "n-gram speculation"),
    _speculation(Draft.DRAFT_MODEL, "draft", "speculation with a draft model"),
)  # fmt: skip


def back_from(largest: int, below: int) -> int | None:
    """The batch 20 % below the largest that ran, where that is still larger than the one below; else None."""
    size = int(largest * BACK)
    return size if size > below else None


def looks(best: EngineSpec, scene: Scene) -> int:
    """How many candidates a search may judge at most: each has its part of the probabilities of a wrong verdict."""
    fold = streams(scene.work) // best.max_batch_size if scene.goal is Goal.THROUGHPUT else 0
    doublings = min(fold.bit_length(), _DOUBLINGS)
    return len(STEPS) + doublings + 1
