"""Distil the shipped model into a smaller student: a pruned checkpoint that learns the shipped model's distributions.

    python scripts/prune.py
    python scripts/distill.py                     # tiny-llama-mlp320 -> build/models/tiny-llama-student

Needs torch, transformers and tokenizers, and four minutes of one idle core. The text is this Python's standard library
without the held-out files (fixtures/models/corpus.py), which all of fixtures/prompts is from: with CPython 3.11.7 it is
what the shipped model learned, with another the figures move a little. One thread and one seed: the same machine and
versions give the same weights. compression.json beside them tells the command, the seed and the course of the loss.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "fixtures" / "models"))

from compressing import config_of, save_checkpoint  # noqa: E402 - a folder of scripts

if TYPE_CHECKING:
    from torch import Tensor
    from train import Loss, Recipe
    from transformers import LlamaForCausalLM

SEED = 20
WARMUP = 10  # steps
SHOWN = 25  # steps that one figure of the loss's course is the mean of
MAX_CONTEXT = 2048  # tokens: what the shipped model was trained on
PRUNED_SIZES = {"intermediate_size", "num_attention_heads", "num_key_value_heads"}  # scripts/prune.py changes these


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(arguments)
    if faults := faults_of(options):
        sys.exit("\n".join(f"scripts/distill.py: {fault}" for fault in faults))
    import torch
    from train import distillation_loss
    from transformers import LlamaForCausalLM

    torch.set_num_threads(1)  # sums in another order would be other weights
    torch.manual_seed(SEED)
    tokens = tokens_of(options.teacher)
    student = LlamaForCausalLM.from_pretrained(options.student, dtype=torch.float32)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    losses = distil(student, tokens, recipe_of(options), distillation_loss(options.teacher, "cpu"))
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - begin_cpu
    weights = {name: values.detach().half().numpy() for name, values in student.named_parameters()}
    made = told(options, losses) | {
        "corpus_tokens": len(tokens),
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
        "seconds": round(seconds),
        "cpu_seconds": round(cpu_seconds),
        "parameters": sum(one.size for one in weights.values()),
    }
    save_checkpoint(options.teacher, weights, config_of(options.student), made, options.out)
    print(f"{options.out}: {made['parameters']:,} parameters, {options.steps} steps in {seconds:.0f} s")


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teacher", type=Path, default=ROOT / "fixtures" / "models" / "tiny-llama")
    parser.add_argument("--student", type=Path, default=ROOT / "build" / "models" / "tiny-llama-mlp320")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "models" / "tiny-llama-student")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8, help="sequences in a step")
    parser.add_argument("--context", type=int, default=256, help="tokens in a sequence")
    parser.add_argument("--rate", type=float, default=1e-3, help="of learning, at its peak")
    return parser.parse_args(arguments)


def faults_of(options: argparse.Namespace) -> list[str]:
    """All that is wrong with what was asked for, a line each."""
    faults = [
        f"--{name}: found {value}, expected 1 or more"
        for name, value in (("steps", options.steps), ("batch", options.batch))
        if value < 1
    ]
    if not 1 <= options.context <= MAX_CONTEXT:
        faults.append(f"--context: found {options.context}, expected 1 to {MAX_CONTEXT} tokens")
    if not 0 < options.rate < 1:
        faults.append(f"--rate: found {options.rate:g}, expected more than 0 and less than 1")
    lacking = [one for one in (options.teacher, options.student) if not (one / "model.safetensors").is_file()]
    faults += [f"no checkpoint at {one}: python scripts/prune.py makes those in build/models" for one in lacking]
    if not lacking and (other := differences(options.teacher, options.student)):
        faults.append(f"--student: {options.student.name} was not pruned from {options.teacher.name}: other {other}")
    return faults


def differences(teacher: Path, student: Path) -> str:
    """What of the configuration differs beyond what pruning changes, as the graph is made from the teacher's."""
    one, other = config_of(teacher), config_of(student)
    return ", ".join(sorted(name for name in one if name not in PRUNED_SIZES and one[name] != other.get(name)))


def recipe_of(options: argparse.Namespace) -> Recipe:
    from train import Recipe

    return Recipe(
        steps=options.steps,
        batch=options.batch,
        context=options.context,
        peak_rate=options.rate,
        weight_decay=0.01,
        warmup_steps=min(WARMUP, options.steps // 2),
        evaluate_every=options.steps,
        held_out_tokens=None,
        compile=False,
        seed=SEED,
    )


def tokens_of(folder: Path) -> Tensor:
    """The standard library's training files as one stream of token ids."""
    from corpus import encode, standard_library
    from tokenizers import Tokenizer
    from train import stream

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens = encode(tokenizer, [file.text for file in standard_library() if not file.is_held_out])
    print(f"{tokens.size:,} tokens to learn from", flush=True)
    return stream(tokens.astype("int64"), "cpu")


def distil(student: LlamaForCausalLM, tokens: Tensor, recipe: Recipe, loss: Loss) -> list[float]:
    """Change the student in place by the cross-entropy with the teacher's distribution; the loss of each step, nats.

    AdamW: from pruned weights Muon, which the shipped model was trained with, is behind it after 60 steps (2.62
    against 3.15 nats at the rates of both scripts, fp32, on text that neither had seen).
    """
    import torch
    from train import random_batches, rate_factor

    optimiser = torch.optim.AdamW(
        student.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate_factor(recipe))
    losses: list[float] = []
    for windows in itertools.islice(random_batches(tokens, recipe), recipe.steps):
        step_loss = loss(windows, student(input_ids=windows[:, :-1], use_cache=False).logits)
        step_loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        losses.append(float(step_loss.detach()))
        if len(losses) % SHOWN == 0:
            print(f"step {len(losses)}: {course(losses)[-1]:.3f} nats a token", flush=True)
    return losses


def course(losses: Sequence[float]) -> list[float]:
    """Means of the loss over steps 1 to 25, 26 to 50, ...; the last of what is left."""
    parts: Iterator[Sequence[float]] = (losses[at : at + SHOWN] for at in range(0, len(losses), SHOWN))
    return [round(sum(part) / len(part), 4) for part in parts]


def told(options: argparse.Namespace, losses: Sequence[float]) -> dict[str, object]:
    """What compression.json says of the recipe and of how it went."""
    return {
        "made from": options.student.name,
        "teacher": options.teacher.name,
        "by": "scripts/distill.py",
        "options": {name: getattr(options, name) for name in ("steps", "batch", "context", "rate")},
        "seed": SEED,
        "trained_tokens": options.steps * options.batch * options.context,
        f"loss, nats, mean of {SHOWN} steps": course(losses),
    }


if __name__ == "__main__":
    main()
