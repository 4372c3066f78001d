"""Coverage-guided fuzzing of every reader of untrusted data, by atheris, in a process each.

    python benchmarks/fuzz/fuzz.py --seconds 60 [READER ...]

needs `pip install atheris` beside perfgate. What it finds is written to --out; docs/promises-input.md has the tally.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

_SEEN = ["perfgate", "tarfile", "zipfile"]  # whose branches guide it: what is ours, and parsers in Python of archives
_TABLE = "| {:<16} | {:>9} | {:>7} | {:>8} | {} |"


def main() -> int:
    """Run the chosen readers one after the other; exit code 1 where one broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("fuzz-out"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _fuzz(args.child, args.seconds, args.out)
    from readers import INPUTS  # type: ignore[import-not-found,unused-ignore] # of tests/

    print(_TABLE.format("reader", "inputs", "seconds", "coverage", "found"))
    print("|---|---:|---:|---:|---|")
    found = [_run(name, args.seconds, args.out / name) for name in args.readers or INPUTS]
    return int(any(found))


def _run(name: str, seconds: int, out: Path) -> bool:
    """Fuzz one reader in a process of its own; whether it broke."""
    out.mkdir(parents=True, exist_ok=True)
    begin, log = time.monotonic(), out / "log.txt"
    command = [sys.executable, __file__, "--child", name, "--seconds", str(seconds), "--out", str(out)]
    with log.open("wb") as file:
        done = subprocess.run(command, stdout=file, stderr=file, check=False)
    text = log.read_text(errors="replace")
    counts, covered = re.findall(r"^#(\d+)\s", text, re.MULTILINE), re.findall(r"cov: (\d+)", text)
    is_broken = done.returncode != 0
    what = re.findall(r"^ *=== Uncaught Python exception: ===\n(.*)", text, re.MULTILINE) or ["it ended early"]
    said = what[0][:120] if is_broken else "nothing"
    spent = f"{time.monotonic() - begin:.0f}"
    print(_TABLE.format(name, (counts or ["0"])[-1], spent, (covered or ["0"])[-1], said), flush=True)
    return is_broken


def _fuzz(name: str, seconds: int, out: Path) -> None:
    """Hand this process to libFuzzer; it does not come back."""
    import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore] # of this script alone

    with atheris.instrument_imports(include=_SEEN):
        from readers import INPUTS, attempt  # type: ignore[import-not-found,unused-ignore]

    corpus = out / "corpus"
    corpus.mkdir(exist_ok=True)
    for at, seed in enumerate(INPUTS[name].seeds):
        (corpus / f"seed-{at}").write_bytes(seed)
    with tempfile.TemporaryDirectory() as folder:
        options = [f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=4096", "-timeout=20"]
        atheris.Setup(
            [sys.argv[0], *options, f"-artifact_prefix={out}/", str(corpus)],
            lambda data: attempt(INPUTS[name], Path(folder), data),
        )
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
