"""A double of vLLM 0.26.0 (see tests/doubles/vllm-0.26/README.md)."""

import os

from vllm.engine.arg_utils import EngineArgs
from vllm.llm_engine import LLMEngine
from vllm.sampling_params import SamplingParams

__all__ = ["EngineArgs", "LLMEngine", "SamplingParams"]
__version__ = "0.26.0+double"

for needed in ("VLLM_CACHE_ROOT", "HF_HUB_OFFLINE"):
    if needed not in os.environ:  # read at import by the libraries beneath
        raise ImportError(f"double: {needed} must be set before vllm is imported")
