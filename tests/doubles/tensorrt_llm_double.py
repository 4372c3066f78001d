"""Install a strict double of TensorRT-LLM of one version into a folder: a package, its metadata and its programs.

They accept and refuse what the public sources of that version do, as far as perfgate touches it, and say
'double' in every version and log, so that nothing they make can pass for a result.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

VERSIONS = ("0.20.0", "1.0.0", "1.1.0", "1.2.1", "1.3.0rc20", "1.3.0rc21")
HERE = Path(__file__).parent
_TABLES = """
from packaging.version import Version

VERSION = "{version}"
HAS_ENGINES = {engines}  # the TensorRT engines, to 1.3.0rc20
IS_FIRST = {first}  # 0.20: LLM is the engines' class, and CUDA graphs have a flat name
HAS_PROMPT_LOGPROBS = {logprobs}


def has(first):
    return Version(VERSION.partition("+")[0]) >= Version(first)
"""


@dataclass(frozen=True, slots=True)
class Double:
    """Where a double lies."""

    version: str
    site: Path  # to be put on the import path
    programs: Path  # to be put on PATH

    def variables(self, *import_path: Path, **more: str) -> dict[str, str]:
        """The environment of a child process that finds the double."""
        path = os.pathsep.join([str(self.site), *map(str, import_path)])
        programs = os.pathsep.join([str(self.programs), os.environ.get("PATH", "")])
        return {**os.environ, "PYTHONPATH": path, "PATH": programs, **more}


def install(folder: Path, version: str) -> Double:
    """Write the double of a version into an empty folder."""
    told, number = f"{version}+double", Version(version)
    site, programs = folder / "site", folder / "bin"
    package = site / "tensorrt_llm"
    shutil.copytree(HERE / "tensorrt_llm_source", package, ignore=shutil.ignore_patterns("__pycache__"))
    is_first, has_engines = number < Version("1.0"), number < Version("1.3.0rc21")
    tables = _TABLES.format(version=told, engines=has_engines, first=is_first, logprobs=number >= Version("1.1"))
    (package / "_tables.py").write_text(tables)
    if is_first or not has_engines:
        shutil.rmtree(package / "_tensorrt_engine")
    info = site / f"tensorrt_llm-{told}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: {told}\nSummary: a double\n")
    programs.mkdir()
    _write_program(programs / "trtllm-serve", "trtllm_serve.py", tables)
    _write_program(programs / "trtllm-bench", "trtllm_bench.py", tables)
    _write_program(programs / "quantize.py", "quantize.py", tables)
    if has_engines:
        _write_program(programs / "trtllm-build", "trtllm_build.py", tables)
    return Double(told, site, programs)


def _write_program(path: Path, source: str, tables: str) -> None:
    text = (HERE / "programs" / source).read_text()
    docstring, _, body = text.partition('"""\n')
    path.write_text(f'#!{sys.executable}\n{docstring}"""\n{tables}\n{body}')
    path.chmod(0o755)
