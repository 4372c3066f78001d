"""What the doubles generate by: the embedded engine where a checkpoint has its files, else a table of 257 tokens."""

import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

VOCABULARY = 257
STEP_S = 0.001
LOGITS = np.random.default_rng(7).standard_normal((VOCABULARY, VOCABULARY)).astype(np.float32)
_FILES = ("openvino_model.xml", "model.safetensors", "openvino_constants.bin")
_PRECISION = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "INFERENCE_NUM_THREADS": 2}


def weights_of(folder):
    """The checkpoint that OpenVINO is to read for a checkpoint or an engine of ours; None: the table."""
    engine = Path(folder) / "rank0.engine"
    if engine.exists():
        named = [line.removeprefix("weights ") for line in engine.read_text().splitlines() if line.startswith("weights ")]
        return Path(named[0]) if named else None
    is_whole = all((Path(folder) / name).exists() for name in _FILES)
    return Path(folder) if is_whole and find_spec("openvino") and find_spec("openvino_genai") else None


def model_of(folder):
    """The model of a folder; says on stderr by what it generates."""
    found = weights_of(folder)
    made = Embedded(found) if found else Table()
    sys.stderr.write(f"[TensorRT-LLM] double: generates by {made.told}\n")
    return made


class Table:
    """The next token depends on the last one alone."""

    told = "a fixed table"
    step_s = STEP_S

    def sequence(self):
        return lambda ids: LOGITS[[token % VOCABULARY for token in ids]]

    def text(self, ids):
        return "double" * len(ids)


class Embedded:
    """OpenVINO on the CPU: one stateful request, with a KV cache of its own, for each sequence."""

    step_s = 0.0

    def __init__(self, folder):
        import openvino

        self._compiled, self._tokenizer = _compiled(folder), tokenizer_of(folder)
        self.told = f"OpenVINO {openvino.get_version()}"

    def sequence(self):
        return _Sequence(self._compiled.create_infer_request())

    def text(self, ids):
        return self._tokenizer.decode(ids)


class _Sequence:
    def __init__(self, request):
        self._request, self._at = request, 0
        self._names = {name for port in request.model_inputs for name in port.get_names()}

    def __call__(self, ids):
        """Logits [n, vocabulary] of n more tokens."""
        begin, self._at = self._at, self._at + len(ids)
        given = {
            "input_ids": np.array([ids], dtype=np.int64),
            "attention_mask": np.ones((1, self._at), dtype=np.int64),
            "position_ids": np.arange(begin, self._at, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, dtype=np.int32),
        }
        self._request.infer({name: value for name, value in given.items() if name in self._names})
        return np.array(self._request.get_tensor("logits").data[0])


@cache
def _compiled(folder):
    import openvino

    xml, weights, rest = ((folder / name).read_bytes() for name in _FILES)
    core = openvino.Core()
    return core.compile_model(core.read_model(model=xml, weights=weights + rest), "CPU", _PRECISION)


@cache
def tokenizer_of(folder):
    import openvino_genai

    return openvino_genai.Tokenizer(str(folder))
