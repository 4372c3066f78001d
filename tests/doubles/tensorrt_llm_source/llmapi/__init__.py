"""The names that tensorrt_llm.llmapi exports in this version."""

from .._tables import HAS_ENGINES, IS_FIRST
from . import llm_args as _args

_NAMES = ["KvCacheConfig", "SchedulerConfig", "CapacitySchedulerPolicy", "QuantConfig", "QuantAlgo"]
_NAMES += ["NGramDecodingConfig", "DraftTargetDecodingConfig", "EagleDecodingConfig", "MTPDecodingConfig"]
if not IS_FIRST:
    _NAMES += ["CudaGraphConfig", "TorchCompileConfig", "MoeConfig"]
if HAS_ENGINES:
    _NAMES += ["BuildConfig", "CalibConfig", "BatchingType", "ExtendedRuntimePerfKnobConfig"]
    _NAMES += ["MedusaDecodingConfig", "LookaheadDecodingConfig"]
globals().update({name: getattr(_args, name) for name in _NAMES})
