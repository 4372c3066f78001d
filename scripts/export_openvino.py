"""Add an OpenVINO model to a HuggingFace checkpoint without a second copy of its weights.

    python scripts/export_openvino.py fixtures/models/tiny-llama
    python scripts/export_openvino.py fixtures/models/tiny-llama-draft

Needs optimum-intel 2.2.0, openvino-tokenizers, transformers 5.5.4 and a CPU build
of torch 2.13.0. An OpenVINO model is an XML file whose Const layers name byte
ranges of a weights file. Here the weights file is never stored: it is
model.safetensors followed by openvino_constants.bin, put together when needed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = "model.safetensors"
CONSTANTS = "openvino_constants.bin"
MODEL = "openvino_model.xml"
SMALLEST_WEIGHT_BYTES = 1024  # smaller ranges could match in safetensors by chance
TOLERANCE = 1e-3  # of logits, absolute
HELD_OUT = Path(__file__).parents[1] / "fixtures" / "prompts" / "held-out.jsonl"


def materialise(model_folder: Path) -> tuple[Path, bytes]:
    """Return the path of the model's XML and the weights that its offsets point into."""
    weights = (model_folder / WEIGHTS).read_bytes() + (model_folder / CONSTANTS).read_bytes()
    return model_folder / MODEL, weights


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model_folder", type=Path)
    model_folder = parser.parse_args().model_folder
    with tempfile.TemporaryDirectory() as scratch:
        convert(model_folder, Path(scratch))
        relocate(Path(scratch), model_folder)
    convert_tokenizer(model_folder)
    check(model_folder)


def convert(model_folder: Path, out: Path) -> None:
    """Write the stateful OpenVINO model, weights in float16, in its usual two files."""
    from optimum.intel import OVModelForCausalLM

    model = OVModelForCausalLM.from_pretrained(
        model_folder, export=True, compile=False, load_in_8bit=False, stateful=True
    )
    model.save_pretrained(out)


def relocate(converted: Path, model_folder: Path) -> None:
    """Write XML and constants that find their weights in the folder's safetensors."""
    converted_weights = (converted / "openvino_model.bin").read_bytes()
    safetensors = (model_folder / WEIGHTS).read_bytes()
    tree = ET.parse(converted / MODEL)  # noqa: S314 -- written by ourselves a moment ago
    constants = bytearray()
    for data in const_layers(tree):
        start, size = int(data.attrib["offset"]), int(data.attrib["size"])
        value = converted_weights[start : start + size]
        offset = safetensors.find(value) if size > SMALLEST_WEIGHT_BYTES else -1
        if offset < 0:
            offset = len(safetensors) + place(value, constants)
        data.set("offset", str(offset))
    remove_hints(tree)
    tree.write(model_folder / MODEL, encoding="utf-8", xml_declaration=True)
    (model_folder / CONSTANTS).write_bytes(constants)


def const_layers(tree: ET.ElementTree[ET.Element]) -> Iterator[ET.Element]:
    """Yield the data element, with offset and size, of each Const layer."""
    for layer in tree.iter("layer"):
        data = layer.find("data")
        if layer.get("type") == "Const" and data is not None:
            yield data


def place(value: bytes, constants: bytearray) -> int:
    """Return where the value stands in the constants, after adding it if need be."""
    offset = constants.find(value)
    if offset < 0:
        offset = len(constants)
        constants += value
    return offset


def remove_hints(tree: ET.ElementTree[ET.Element]) -> None:
    """Drop the run-time options that the export chose, such as the KV-cache precision.

    They would change the defaults of whoever reads the model.
    """
    for info in tree.iter("rt_info"):
        for hints in info.findall("runtime_options"):
            info.remove(hints)


def convert_tokenizer(model_folder: Path) -> None:
    """Write the tokenizer and the detokenizer as OpenVINO models."""
    import openvino
    import openvino_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    models = openvino_tokenizers.convert_tokenizer(tokenizer, with_detokenizer=True)
    for model, name in zip(models, ("tokenizer", "detokenizer"), strict=True):
        openvino.save_model(model, model_folder / f"openvino_{name}.xml")


def check(model_folder: Path) -> None:
    """Raise SystemExit unless logits on held-out text equal those of transformers."""
    ids = held_out_ids(model_folder)
    difference = float(np.abs(openvino_logits(model_folder, ids) - reference(model_folder, ids)).max())
    print(f"{model_folder.name}: largest difference of logits {difference:.1e} on {ids.size} tokens")
    if not difference < TOLERANCE:
        raise SystemExit(f"error: logits differ by {difference:.1e}, allowed {TOLERANCE:.0e}")


def held_out_ids(model_folder: Path) -> NDArray[np.int64]:
    """Return token ids [documents, tokens] of the first held-out documents."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    documents = HELD_OUT.read_text(encoding="utf-8").splitlines()[:8]
    rows = [tokenizer(json.loads(document)["text"])["input_ids"] for document in documents]
    return np.array([row[: min(map(len, rows))] for row in rows], dtype=np.int64)


def openvino_logits(model_folder: Path, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return logits [documents, tokens, vocabulary] computed by OpenVINO in float32."""
    import openvino

    xml, weights = materialise(model_folder)
    core = openvino.Core()
    model = core.read_model(xml.read_bytes(), openvino.Tensor(np.frombuffer(weights, np.uint8)))
    hints = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    request = core.compile_model(model, "CPU", hints).create_infer_request()
    inputs = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "position_ids": np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy(),
        "beam_idx": np.arange(len(ids), dtype=np.int32),
    }
    return np.array(request.infer(inputs)["logits"])


def reference(model_folder: Path, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return logits [documents, tokens, vocabulary] computed by transformers in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    with torch.no_grad():
        return np.array(model(torch.from_numpy(ids)).logits)


if __name__ == "__main__":
    main()
