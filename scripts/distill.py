"""Distil the shipped model into a smaller student: a pruned checkpoint that learns the shipped model's distributions.

    python scripts/prune.py
    python scripts/distill.py                     # tiny-llama-mlp320 -> build/models/tiny-llama-student

Needs torch, transformers and tokenizers; its 300 steps want an idle CPU. The text is this Python's standard library
without the held-out files (fixtures/models/corpus.py), so the figures move a little from one Python to the next.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "fixtures" / "models"))

from compressing import config_of, save_checkpoint  # noqa: E402 - a folder of scripts
from corpus import encode, standard_library  # noqa: E402

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

SEED = 20
WARMUP = 10  # steps


def main() -> None:
    options = parse_options()
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(SEED)
    teacher = LlamaForCausalLM.from_pretrained(options.teacher, dtype=torch.float32).eval()
    student = LlamaForCausalLM.from_pretrained(options.student, dtype=torch.float32)
    begin = time.perf_counter()
    losses = distil(teacher, student, batches(tokens_of(options.teacher), options), options)
    seconds = time.perf_counter() - begin
    weights = {name: values.detach().half().numpy() for name, values in student.named_parameters()}
    made = {
        "made from": options.student.name,
        "teacher": options.teacher.name,
        "by": "scripts/distill.py",
        "steps": options.steps,
        "tokens": options.steps * options.batch * options.context,
        "rate": options.rate,
        "loss": [round(sum(losses[at : at + 50]) / len(losses[at : at + 50]), 4) for at in range(0, len(losses), 50)],
        "seconds": round(seconds),
        "parameters": sum(one.size for one in weights.values()),
    }
    save_checkpoint(options.teacher, weights, config_of(options.student), made, options.out)
    print(f"{options.out}: {made['parameters']:,} parameters, {options.steps} steps in {seconds:.0f} s")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teacher", type=Path, default=ROOT / "fixtures" / "models" / "tiny-llama")
    parser.add_argument("--student", type=Path, default=ROOT / "build" / "models" / "tiny-llama-mlp320")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "models" / "tiny-llama-student")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8, help="sequences in a step")
    parser.add_argument("--context", type=int, default=256, help="tokens in a sequence")
    parser.add_argument("--rate", type=float, default=1e-3, help="of learning, at its peak")
    return parser.parse_args()


def tokens_of(folder: Path) -> torch.Tensor:
    """The standard library's training files as one stream of token ids."""
    import torch
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    stream = encode(tokenizer, [file.text for file in standard_library() if not file.is_held_out])
    print(f"{stream.size:,} tokens to learn from", flush=True)
    return torch.from_numpy(stream.astype("int64"))


def batches(tokens: torch.Tensor, options: argparse.Namespace) -> Iterator[torch.Tensor]:
    """Token ids [batch, context] from anywhere, for ever."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    places = torch.arange(options.context)
    while True:
        starts = torch.randint(len(tokens) - options.context, (options.batch, 1), generator=generator)
        yield tokens[starts + places]


def distil(
    teacher: LlamaForCausalLM, student: LlamaForCausalLM, data: Iterator[torch.Tensor], options: argparse.Namespace
) -> list[float]:
    """Change the student in place by the cross-entropy with the teacher's distribution; the loss of each step, nats."""
    import torch

    optimiser = torch.optim.AdamW(student.parameters(), lr=options.rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.rate, total_steps=options.steps, pct_start=min(0.5, WARMUP / options.steps)
    )
    losses = []
    for step, ids in enumerate(itertools.islice(data, options.steps), 1):
        with torch.no_grad():
            wanted = teacher(input_ids=ids, use_cache=False).logits.flatten(0, 1).softmax(-1)
        found = student(input_ids=ids, use_cache=False).logits.flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(found, wanted)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % 50 == 0:
            print(f"step {step}: {sum(losses[-50:]) / 50:.3f} nats a token", flush=True)
    return losses


if __name__ == "__main__":
    main()
