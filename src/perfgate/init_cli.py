"""`perfgate init`: looks, asks what it cannot know, writes a starting gate and plans it."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.errors import UsageError

if TYPE_CHECKING:
    from perfgate.device import Device
    from perfgate.starter import Answers, Entry, State
    from perfgate.starter_look import Fitting

WORKLOADS = ("latency", "perplexity", "serving")
_USUAL = "latency,perplexity"


def add_init(parser: argparse.ArgumentParser) -> None:
    """The options of the command: every question has one."""
    parser.set_defaults(command=_init)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="the repository (default: here)")
    parser.add_argument("--model", type=Path, metavar="DIR", help="folder of a checkpoint")
    parser.add_argument(
        "--backend", metavar="NAME", help="openvino, transformers, vllm, tensorrt_llm, openai, module:Class"
    )
    parser.add_argument("--workloads", metavar="KINDS", help=f"some of {','.join(WORKLOADS)} (default: {_USUAL})")
    parser.add_argument(
        "--gpus", type=int, metavar="N", help="GPUs that an engine takes: tensor parallelism (default: 1)"
    )
    parser.add_argument("--ci", choices=["github", "gitlab", "none"], help="where the gate runs beside here")
    parser.add_argument("--texts", type=Path, nargs="+", default=[], metavar="PATH", help="make prompts of these texts")
    parser.add_argument("--name", help="name of the suite (default: the folder's)")
    parser.add_argument("--url", help="of a running server, for --backend openai")
    parser.add_argument("--action", metavar="OWNER/REPO@COMMIT", help="where perfgate's GitHub action lies")
    parser.add_argument("--yes", action="store_true", help="ask nothing: take what was found where no option says more")
    parser.add_argument("--force", action="store_true", help="replace files that are there, and add to shared ones")


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks on a terminal; takes the default elsewhere."""

    is_live: bool
    read: Callable[[str], str] = input

    def __call__(self, question: str, default: str, allowed: Sequence[str] = ()) -> str:
        if not self.is_live:
            return default
        choices = f" ({', '.join(allowed)})" if allowed else ""
        while True:
            try:
                found = self.read(f"{question}{choices} [{default}]: ").strip() or default
            except (EOFError, KeyboardInterrupt):
                raise UsageError("no answer: nothing was written") from None
            if not allowed or found in allowed:
                return found
            print(f"  one of {', '.join(allowed)}")


def _say(lines: Iterable[str]) -> None:
    """Lines, broken between words where a terminal would break them within one."""
    from perfgate.terminal import fitted

    for line in lines:
        print("\n".join(fitted(line, sys.stdout)))


def _init(args: argparse.Namespace) -> int:
    from perfgate.device import find_device
    from perfgate.starter import entries, write

    root, device = args.folder.resolve(), find_device()
    ask = _Asker(is_live=not args.yes and sys.stdin.isatty() and sys.stdout.isatty())
    _say([f"device    {device.key} ({device.product})"])
    answers, fitting, device = _asked(args, root, device, ask)
    size = _size(answers, fitting, device)
    missing = f": {fitting.missing}" if fitting.missing else ""
    _say([f"model     {answers.model}: {size}", f"backend   {answers.backend}{missing}"])
    wanted = [*entries(answers, fitting, device, root, size), *_texts(args, answers, root)]
    done = write(root, wanted, force=args.force)
    _say(_written(root, done))
    is_judged = _plan(root)
    _say(["", "next", *_next(args, answers, fitting, done, is_judged=is_judged)])
    return 0


# ------------------------------------------------------------------ questions


def _asked(
    args: argparse.Namespace, root: Path, device: Device, ask: _Asker
) -> tuple[Answers, Fitting, Device]:  # fmt: skip
    """The answers, how the backend takes them, and the device that the gate is for."""
    from perfgate.case import WorkKind
    from perfgate.engines import BACKENDS
    from perfgate.starter import ACTION, Answers, Ci
    from perfgate.starter_look import usual_backend

    model = _model(args, root, ask)
    name = args.backend or ask("backend", "openai" if args.url else usual_backend(device), tuple(BACKENDS))
    kinds = _kinds(args.workloads or ask("workloads", "serving" if name == "openai" else _USUAL))
    gpus = _gpus(args, device, ask)
    ci = Ci(args.ci or ask("CI", _ci_seen(root), tuple(Ci)))
    engine_args = _url(args, name)
    if args.action and not re.fullmatch(r"[\w.-]+/[\w./-]+@[\w./-]+", args.action):
        raise UsageError(f"--action: found '{args.action}', expected OWNER/REPO@COMMIT")
    found, device = _fitted(name, model, device, gpus, engine_args)
    suite = re.sub(r"[^A-Za-z0-9_.-]+", "-", args.name or root.name).strip("-._") or "gate"
    answers = Answers(
        suite, model, name, tuple(WorkKind(kind) for kind in kinds), ci, gpus, args.action or ACTION, engine_args
    )
    return answers, found, device


def _fitted(name: str, model: Path, device: Device, gpus: int, args: dict[str, str]) -> tuple[Fitting, Device]:
    """How the backend takes the model: here, or on a GPU elsewhere, for which a gate may be begun on any machine."""
    from perfgate.capabilities import GPU
    from perfgate.starter_look import fitting

    found = fitting(name, model, device, gpus, args)
    if not isinstance(found, str):
        return found, device
    elsewhere = found if device.is_gpu else fitting(name, model, GPU, gpus, args)
    if isinstance(elsewhere, str):
        raise UsageError(f"{name} cannot run {model}: {found}; name another one with --backend")
    _say([f"not here  {found}; the suite is written for a GPU such as {GPU.product}"])
    return elsewhere, GPU


def _model(args: argparse.Namespace, root: Path, ask: _Asker) -> Path:
    from perfgate.starter_look import checkpoints

    near = [] if args.model else checkpoints(root)
    given = args.model or Path(ask("model: folder of a checkpoint", str(near[0]) if near else ""))
    if given == Path():
        raise UsageError("no model: give --model DIR, the folder of a checkpoint (none was found below this one)")
    if not given.is_dir():
        raise UsageError(f"--model: no folder '{given}'; a checkpoint is a folder with config.json and weights")
    return given.resolve()


def _gpus(args: argparse.Namespace, device: Device, ask: _Asker) -> int:
    if args.gpus is not None and args.gpus < 1:
        raise UsageError(f"--gpus: found {args.gpus}, expected 1 or more")
    numbers = [str(number) for number in range(1, len(device.gpus) + 1)]
    return args.gpus or (int(ask("GPUs for an engine", "1", numbers)) if numbers[1:] else 1)


def _kinds(text: str) -> list[str]:
    kinds = [kind.strip() for kind in text.split(",") if kind.strip()]
    if wrong := [kind for kind in kinds if kind not in WORKLOADS]:
        raise UsageError(f"--workloads: found '{', '.join(wrong)}', expected some of {', '.join(WORKLOADS)}")
    return kinds


def _url(args: argparse.Namespace, name: str) -> dict[str, str]:
    if name == "openai" and not args.url:
        raise UsageError("--backend openai measures a running server: give --url http://host:port")
    return {"url": args.url} if args.url else {}


def _ci_seen(root: Path) -> str:
    if (root / ".gitlab-ci.yml").exists():
        return "gitlab"
    config = root / ".git" / "config"
    text = config.read_text(errors="replace") if config.is_file() else ""
    return "github" if (root / ".github").is_dir() or "github.com" in text else "gitlab" if "gitlab" in text else "none"


def _size(answers: Answers, fitting: Fitting, device: Device) -> str:
    from perfgate.doctor_facts import memory
    from perfgate.starter import batch_of
    from perfgate.starter_look import size_line

    here = None if device.is_gpu else memory()[0]  # of a GPU that is not here nothing is known
    room = device.gpus[0].memory_bytes if device.gpus else here
    return size_line(answers.model, fitting.precision, device, answers.tp, room, batch_of(device) * 1024)


def _texts(args: argparse.Namespace, answers: Answers, root: Path) -> list[Entry]:
    """Prompts: the user's own where there are any, else of the texts named, else perfgate's."""
    from perfgate.case import WorkKind
    from perfgate.starter import Entry
    from perfgate.starter_texts import GENERATION, HELD_OUT, own_texts, texts_of

    if not {WorkKind.LATENCY, WorkKind.PERPLEXITY} & set(answers.kinds):
        return []
    has_own = all((root / name).exists() for name in (GENERATION, HELD_OUT))
    if has_own and not args.texts:
        return []
    found: Mapping[str, bytes] = texts_of(args.texts) if args.texts else own_texts()
    return [Entry(name, content, is_ours=False) for name, content in found.items()]


# ------------------------------------------------------------------ what is told


def _written(root: Path, done: Sequence[tuple[Entry, State]]) -> Iterator[str]:
    """Each file with what became of it; of files that were kept, what would be written."""
    from perfgate.starter import State

    yield ""
    for entry, state in done:
        yield f"{state:<14} {entry.path}"
        if state is State.KEPT and entry.is_ours:
            yield from (f"  | {line}" for line in _difference(root / entry.path, entry))


def _difference(path: Path, entry: Entry) -> Iterator[str]:
    from perfgate.starter import missing_from

    before = path.read_bytes()
    if entry.adds:
        yield from (f"+{line}" for line in missing_from(before, entry).decode().splitlines())
        return
    old, new = before.decode("utf-8", "replace").splitlines(), entry.content.decode().splitlines()
    yield from difflib.unified_diff(old, new, "there", "perfgate init", lineterm="", n=1)


def _plan(root: Path) -> bool:
    """Print what a gate would do; whether anything can be measured here."""
    from perfgate.plan import Options, make_plan
    from perfgate.suite import load_suite
    from perfgate.terminal import plan_lines

    suite = load_suite(root / "suite.yaml")
    plan = make_plan(suite, suite.cases, Options(root / "baselines", root / ".perfgate"))
    _say(["", *plan_lines(plan, suite)])
    return bool(plan.engines)


def _next(
    args: argparse.Namespace,
    answers: Answers,
    fitting: Fitting,
    done: Sequence[tuple[Entry, State]],
    *,
    is_judged: bool,
) -> Iterator[str]:
    from perfgate.starter import ACTION, Ci, State

    kept = [entry.path for entry, state in done if state is State.KEPT]
    if kept:
        yield f"  {', '.join(kept)}: take over what is shown above by hand, or run this again with --force"
    if fitting.missing:
        yield f"  {fitting.missing}"
    elif not is_judged:
        yield "  no case can be measured here: the reasons stand in the plan"
    yield "  perfgate doctor        is this machine fit for measuring"
    yield "  pytest perf_tests      the first run records this machine's baseline, the second judges"
    yield "  pytest perf_tests --perfgate-inject decode=1.25      see it find a planted slowdown"
    yield "  pytest perf_tests --perfgate-update --perfgate-reason TEXT      a reviewed baseline, for CI: commit it"
    if answers.ci is Ci.GITHUB and not args.action and answers.action == ACTION:
        yield f"  .github/workflows/perfgate.yml: put the place of perfgate's action for {ACTION}"
