"""A strict double of tensorrt_llm: it refuses what the real one refuses, and generates on the CPU."""

import sys

from ._tables import HAS_ENGINES, IS_FIRST, VERSION

__version__ = VERSION
sys.stderr.write(f"[TensorRT-LLM] tensorrt_llm double {VERSION}\n")

from .llmapi.llm import TorchLLM, TrtLLM  # noqa: E402
from .sampling_params import SamplingParams  # noqa: E402, F401

LLM = TrtLLM if IS_FIRST else TorchLLM
LLM.__name__ = "LLM"
if HAS_ENGINES:
    from .llmapi.llm_args import BuildConfig  # noqa: F401
