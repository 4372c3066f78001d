"""SamplingParams: keyword-only, no unknown names."""

from dataclasses import dataclass
from typing import Any


@dataclass(kw_only=True)
class SamplingParams:
    end_id: Any = None
    pad_id: Any = None
    max_tokens: int = 32
    ignore_eos: bool = False
    min_tokens: Any = None
    n: int = 1
    best_of: Any = None
    use_beam_search: bool = False
    temperature: Any = None
    top_p: Any = None
    top_k: Any = None
    seed: Any = None
    logprobs: Any = None
    prompt_logprobs: Any = None
    return_context_logits: bool = False
    return_generation_logits: bool = False
    return_perf_metrics: bool = False
    exclude_input_from_output: bool = True
    detokenize: bool = True
    skip_special_tokens: bool = True
    add_special_tokens: bool = True
    truncate_prompt_tokens: Any = None
