"""What the plugin adds to `pytest --collect-only`: without a suite, and with 2,000 cases.

    python benchmarks/plugin_cost.py [--repeats 7]

Each figure is the median over repeats of fresh processes, run in turn; the spread is min to max.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENGINES, WORKLOADS = 40, 50
TEST = "import pytest\n@pytest.mark.perfgate('latency')\ndef test_it(perfgate_verdict): pass\n"
PLAIN = f"import pytest\n@pytest.mark.parametrize('n', range({ENGINES * WORKLOADS}))\ndef test_it(n): pass\n"


def suite() -> str:
    """A suite of 2,000 cases."""
    engines = "\n".join(f"  e{i}: {{backend: openvino, model: m, max_batch_size: {i + 1}}}" for i in range(ENGINES))
    works = "\n".join(f"  w{i}: {{kind: latency, prompts: p, input_len: {i + 1}}}" for i in range(WORKLOADS))
    gate = "gate: {metrics: {tpot_p50: {}}}"
    return f"schema: 1\nsuite: many\nengines:\n{engines}\nworkloads:\n{works}\n{gate}\n"


def seconds(folder: Path, *args: str) -> float:
    """Wall time of one collection."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", *args]
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for part, text in (("plain", PLAIN), ("cases", TEST)):
            (root / part).mkdir()
            (root / part / "test_it.py").write_text(text)
            (root / part / "pytest.ini").write_text("[pytest]\n")
        (root / "cases" / "suite.yaml").write_text(suite())
        runs = {
            "2,000 plain tests, plugin off": (root / "plain", ("-p", "no:perfgate")),
            "2,000 plain tests, plugin on, no suite": (root / "plain", ()),
            "2,000 cases of a suite": (root / "cases", ("--perfgate-suite", "suite.yaml")),
        }
        times: dict[str, list[float]] = {label: [] for label in runs}
        for _ in range(repeats):
            for label, (folder, args) in runs.items():
                times[label].append(seconds(folder, *args))
    base = statistics.median(times["2,000 plain tests, plugin off"])
    for label, values in times.items():
        middle = statistics.median(values)
        print(f"{label:<40} {middle:6.3f} s ({min(values):.3f} to {max(values):.3f}), {middle - base:+.3f} s")


if __name__ == "__main__":
    main()
