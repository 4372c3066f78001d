"""Write a checkpoint folder of a Llama shape without weights: config.json, a tokenizer of single bytes, and prompts.

    python scripts/llama_shape.py DIR [--shape 1b|8b|70b]

For speed alone, with `load_format: dummy` (random weights). Shapes are those of Llama 3.1 and 3.2 as published in
their config.json. prompts.jsonl holds 256 texts of 2,100 letters, shared.jsonl as many that begin with the same 1,024;
they are the same at every call. Needs the package `tokenizers`.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from string import ascii_lowercase

SHAPES = {
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "head_dim": 64,
    },
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "head_dim": 128,
    },
    "70b": {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "head_dim": 128,
    },
}
BOS, EOS = 256, 257
PROMPTS, LETTERS, SHARED = 256, 2100, 1024
COMMON = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "hidden_act": "silu",
    "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0, "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
    "bos_token_id": BOS, "eos_token_id": EOS, "use_cache": True,
}  # fmt: skip


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    _write(args.folder / "config.json", COMMON | SHAPES[args.shape])
    _write(args.folder / "generation_config.json", {"bos_token_id": BOS, "eos_token_id": EOS})
    write_tokenizer(args.folder)
    write_prompts(args.folder / "prompts.jsonl", 0)
    write_prompts(args.folder / "shared.jsonl", SHARED)


def write_prompts(path: Path, shared: int) -> None:
    """Texts of random letters, the first `shared` the same in all."""
    draw = random.Random(7)  # noqa: S311 - no secret
    head = "".join(draw.choices(ascii_lowercase, k=shared))
    texts = (head + "".join(draw.choices(ascii_lowercase, k=LETTERS - shared)) for _ in range(PROMPTS))
    path.write_text("".join(json.dumps({"id": f"{at}", "text": text}) + "\n" for at, text in enumerate(texts)))


def write_tokenizer(folder: Path) -> None:
    """One token for each byte, and the two special ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {letter: at for at, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary | {"<s>": BOS, "</s>": EOS}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    _write(folder / "tokenizer_config.json", names)


def _write(path: Path, plain: object) -> None:
    path.write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
