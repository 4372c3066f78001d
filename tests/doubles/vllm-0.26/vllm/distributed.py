"""A double of `vllm.distributed`."""

import os
from pathlib import Path


def cleanup_dist_env_and_memory() -> None:
    """Leaves a trace, so that tests see that it was called."""
    (Path(os.environ["VLLM_CACHE_ROOT"]) / "cleaned").touch()
