"""The names that tensorrt_llm.llmapi exports in this version."""

from .._tables import HAS_ENGINES, IS_FIRST, has
from . import llm_args as _args

_NAMES = ["KvCacheConfig", "SchedulerConfig", "CapacitySchedulerPolicy", "QuantConfig", "QuantAlgo"]
_NAMES += ["NGramDecodingConfig", "DraftTargetDecodingConfig", "EagleDecodingConfig", "MTPDecodingConfig"]
if not IS_FIRST:
    _NAMES += ["CudaGraphConfig", "TorchCompileConfig", "MoeConfig"]
_NAMES += ["AutoDecodingConfig"] if has("1.1") else []
_NAMES += ["Eagle3DecodingConfig"] if has("1.2") else []
_NAMES += ["PARDDecodingConfig"] if has("1.3.0rc0") else []
if HAS_ENGINES:
    _NAMES += ["BuildConfig", "CalibConfig", "BatchingType", "ExtendedRuntimePerfKnobConfig"]
    _NAMES += ["MedusaDecodingConfig", "LookaheadDecodingConfig"]
globals().update({name: getattr(_args, name) for name in _NAMES})
