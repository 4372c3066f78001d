"""A double of examples/quantization/quantize.py: a HuggingFace checkpoint in, a converted one out."""

import argparse
import json
from pathlib import Path

ALGORITHMS = {
    "full_prec": None,
    "fp8": "FP8",
    "int8_sq": "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN",
    "int8_wo": "W8A16",
    "int4_wo": "W4A16",
    "int4_awq": "W4A16_AWQ",
    "w4a8_awq": "W4A8_AWQ",
}


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model_dir", required=True)
    parser.add_argument("--output_dir", default="exported_model")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float16", "bfloat16", "float32"))
    parser.add_argument("--qformat", default="full_prec", choices=tuple(ALGORITHMS))
    parser.add_argument("--kv_cache_dtype", choices=("int8", "fp8"))
    parser.add_argument("--calib_size", type=int, default=512)
    parser.add_argument("--calib_dataset", default="cnn_dailymail")
    parser.add_argument("--calib_max_seq_length", type=int, default=512)
    parser.add_argument("--awq_block_size", type=int, default=128)
    for name in ("tp_size", "pp_size"):
        parser.add_argument(f"--{name}", type=int, default=1)
    wish = parser.parse_args()
    if Path(wish.calib_dataset).is_dir():  # as the real one reads a local dataset: split train, column text
        lines = (Path(wish.calib_dataset) / "train.jsonl").read_text().splitlines()
        print(f"calibrating on {len([json.loads(line)['text'] for line in lines][: wish.calib_size])} texts")
    config = json.loads((Path(wish.model_dir) / "config.json").read_text())
    told = {
        "architecture": config["architectures"][0],
        "dtype": "bfloat16" if wish.dtype == "auto" else wish.dtype,
        "mapping": {"world_size": wish.tp_size * wish.pp_size, "tp_size": wish.tp_size, "pp_size": wish.pp_size},
        "quantization": {
            "quant_algo": ALGORITHMS[wish.qformat],
            "kv_cache_quant_algo": wish.kv_cache_dtype.upper() if wish.kv_cache_dtype else None,
        },
        "producer": "quantize.py double",
    }
    output = Path(wish.output_dir)
    output.mkdir(parents=True)
    (output / "config.json").write_text(json.dumps(told))
    source = Path(wish.model_dir).resolve()
    weights = f"weights {source}\n" if (source / "openvino_model.xml").exists() else ""  # what its engines generate by
    (output / "rank0.safetensors").write_text(f"double\n{weights}")
    print(f"quantize.py double: {wish.qformat}")


if __name__ == "__main__":
    main()
