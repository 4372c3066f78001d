"""The command `perfgate quantize`."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

EXIT_OK, EXIT_ADJUST = 0, 1
_MORE = """\
exit code 0: accepted; 1: to be adjusted, or it failed or was stopped; 4: a mistake in suite, checkpoint or options. A
command that was stopped or killed goes on where it was when it is given again.
"""


def add_quantize(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.set_defaults(command=_quantize)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _MORE
    parser.add_argument("model", type=Path, nargs="?", help="a checkpoint, where no suite names an engine of it")
    parser.add_argument("--suite", type=Path, help="suite with the engine, its reference and what it may lose")
    parser.add_argument("--engine", help="the quantised engine of the suite")
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="texts to calibrate on (JSON Lines: id, text)")
    parser.add_argument("--try", dest="go_on", action="store_true", help="try other options until one is accepted")
    parser.add_argument(
        "--tries", type=int, metavar="N", help="at most so many further ones (default 6); implies --try"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="measuring processes of the engine and of the reference"
    )
    parser.add_argument("--fresh", action="store_true", help="build and measure anew, whatever is kept")
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="journal, logs, engine cache")
    parser.add_argument("--out", type=Path, default=Path("perfgate-out"), help="folder for quantization.json and .md")
    alone = parser.add_argument_group("of a checkpoint without a suite")
    alone.add_argument("--backend", default="openvino", help="default openvino")
    alone.add_argument("--precision", help="int8_wo, int4_wo, fp8, ... (docs/quantizing.md)")
    alone.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="a key of quantisation")
    alone.add_argument("--text", type=Path, metavar="FILE", help="held-out texts that the loss is measured on")
    alone.add_argument("--prompts", type=Path, metavar="FILE", help="prompts that the speed is measured on")
    alone.add_argument("--allow", metavar="SHARE", help="loss of perplexity that is allowed (1%%; 3%% of int4)")


def _quantize(args: argparse.Namespace) -> int:
    from perfgate.errors import UsageError
    from perfgate.quantise_plan import QuantiseWish, plan_quantise
    from perfgate.quantise_record import Outcome
    from perfgate.quantise_run import close_quantise, run_quantise
    from perfgate.quantise_suite import TRIES
    from perfgate.report.quantised import quantised_lines, write_quantised
    from perfgate.rounds_option import checked_rounds
    from perfgate.stopping import ended_by_signals, goes_on
    from perfgate.suite import load_suite
    from perfgate.terminal import PlainScreen, Terminal

    rounds = checked_rounds(args.rounds)
    if args.tries is not None and args.tries < 1:
        raise UsageError(f"--tries: found {args.tries}, expected 1 or more")
    tries = args.tries or (TRIES if args.go_on else 0)
    source, engine = _suite_of(args)
    wish = QuantiseWish(args.state, engine, args.calibration, rounds, tries, fresh=args.fresh)
    plan = plan_quantise(load_suite(source), wish)
    if plan.skip:
        raise UsageError(f"engine '{engine}' cannot be quantised here: {plan.skip}")
    with ExitStack() as held:
        with ended_by_signals(goes_on(args.fresh)), Terminal.on_stdout() as progress:
            found = run_quantise(plan, wish, progress, held)
        paths = write_quantised(found, args.out)
        close_quantise(plan, wish)  # once the files are there
    screen = PlainScreen()
    screen.write_line("\n".join(["", *quantised_lines(found)]))
    screen.write_line(f"\nreports: {args.out}/ ({', '.join(path.name for path in paths)})")
    return EXIT_OK if found.outcome is Outcome.ACCEPT else EXIT_ADJUST


def _suite_of(args: argparse.Namespace) -> tuple[Path, str]:
    """The suite and the engine that are asked for; of a checkpoint alone, a suite is written that says the same."""
    from perfgate.errors import UsageError
    from perfgate.quantise_alone import Alone, write_suite

    if args.model is None:
        if args.engine is None:
            raise UsageError(
                "name what to quantise: --suite FILE --engine NAME, or a checkpoint with --precision and --text"
            )
        return args.suite or Path("fixtures/suites/quantize.yaml"), args.engine
    if args.suite or args.engine:
        raise UsageError("give either a checkpoint or --suite with --engine")
    missing = [f"--{name}" for name in ("precision", "text") if getattr(args, name) is None]
    if missing:
        raise UsageError(f"a checkpoint alone needs {' and '.join(missing)} (perfgate quantize --help)")
    asked = Alone(args.model, args.backend, args.precision, args.text, args.prompts, args.allow, tuple(args.option))
    return write_suite(asked, args.state / "quantize"), asked.precision
