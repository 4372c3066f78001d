"""The doubles of TensorRT-LLM on the shipped model: they generate and score by the embedded engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from doubles.tensorrt_llm_double import install
from engines.tensorrt_llm_helpers import Bench
from perfgate.engines.openvino import read_checkpoint
from perfgate.workloads.texts import read_documents

openvino = pytest.importorskip("openvino")
genai = pytest.importorskip("openvino_genai")

FIXTURES = Path(__file__).parents[2] / "fixtures"
TINY = FIXTURES / "models" / "tiny-llama"
SCRIPT = """
import json, sys
import numpy as np
from tensorrt_llm import LLM, SamplingParams
from tensorrt_llm.llmapi import KvCacheConfig

llm = LLM(model=sys.argv[1], max_batch_size=2, max_num_tokens=512, max_seq_len=512, return_perf_metrics=True,
          kv_cache_config=KvCacheConfig(enable_block_reuse=False))
ids = llm.tokenizer.encode(sys.argv[2], add_special_tokens=False)[:40]
both = [llm.generate_async(ids, SamplingParams(max_tokens=12), streaming=True) for _ in range(2)]
made, other = [one.result().outputs[0] for one in both]
scoring = SamplingParams(max_tokens=1, return_context_logits=True)
logits = llm.generate_async(ids + made.token_ids, scoring).result().context_logits.float().cpu().numpy()
timing = made.request_perf_metrics.timing_metrics
spans = [timing.first_token_time - timing.arrival_time, timing.last_token_time - timing.first_token_time]
print(json.dumps({"ids": ids, "tokens": made.token_ids, "others": other.token_ids, "logits": logits.tolist(),
                  "spans": [one.total_seconds() for one in spans]}))
llm.shutdown()
"""


def logits_of(ids: Sequence[int]) -> NDArray[np.float32]:
    """The embedded engine's logits [n, vocabulary], without a KV cache between them."""
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(read_checkpoint(TINY), "CPU", exact).create_infer_request()
    given = {
        "input_ids": np.array([ids]),
        "attention_mask": np.ones((1, len(ids)), dtype=np.int64),
        "position_ids": np.arange(len(ids))[None],
        "beam_idx": np.zeros(1, dtype=np.int32),
    }
    names = {name for port in request.model_inputs for name in port.get_names()}
    request.infer({name: value for name, value in given.items() if name in names})
    return np.asarray(request.get_tensor("logits").data[0])


def test_tokens_and_logits_are_those_of_the_shipped_model(tmp_path: Path) -> None:
    text = read_documents(FIXTURES / "prompts" / "held-out.jsonl")[0].text[:2000]

    told = Bench(install(tmp_path / "double", "1.2.1"), tmp_path, tmp_path, {}).python(SCRIPT, TINY, text)

    ids, tokens = told["ids"], told["tokens"]
    expected = logits_of([*ids, *tokens])
    own = genai.Tokenizer(str(TINY)).encode(text, add_special_tokens=False).input_ids.data[0]
    assert ids == own[:40].tolist()
    np.testing.assert_allclose(told["logits"], expected, atol=1e-2)
    assert tokens == told["others"] == expected.argmax(1)[39:-1].tolist()
    assert len(set(tokens)) > 1
    assert min(told["spans"]) > 0
