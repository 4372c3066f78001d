"""The way to the engines from 1.0 to 1.3.0rc20."""

from tensorrt_llm.llmapi.llm import TrtLLM as LLM  # noqa: F401
