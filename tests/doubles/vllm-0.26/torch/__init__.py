"""A double of torch for the double of vLLM: a GPU that is a queue with an end time."""

from torch import cuda

__all__ = ["cuda"]
__version__ = "2.11.0+double"
