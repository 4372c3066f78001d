"""What NVML tells of GPUs: facts, samples while a round is timed, and whether such a round counts."""
