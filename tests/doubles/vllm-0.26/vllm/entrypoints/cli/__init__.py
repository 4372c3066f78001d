"""A double of vLLM 0.26.0 (see tests/doubles/vllm-0.26/README.md)."""
