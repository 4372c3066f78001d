"""What the source may never do with data: run it, unpickle it, hand it to a shell, or let an archive choose paths."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "perfgate"
MODULES = sorted(SOURCE.rglob("*.py"))
RUNS_CODE = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn"}
LOADS_ANYTHING = {"yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "torch.load"}
STARTS = {"subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_call", "subprocess.check_output"}
# Code of the user's own that is run because the user says so by name: a test's function, a backend 'module:Class'.
IMPORTS_BY_NAME = {"guest.py", "engines/__init__.py", "engines/carrying.py", "engines/tensorrt_llm_installed.py"}


def _name(node: ast.expr) -> str:
    """'os.path.join' of such an expression; '' of others."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{_name(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def _is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def faults(source: str, where: str) -> Iterator[str]:
    """What is not allowed in a module, one line each."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (f"imports {one.name}" for one in names if one.name.partition(".")[0] in UNPICKLES)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in UNPICKLES:
                yield f"imports {module}"
            case ast.Call():
                yield from _call_faults(node, where)
            case ast.Dict(keys=keys, values=values):
                told = {
                    key.value: value for key, value in zip(keys, values, strict=True) if isinstance(key, ast.Constant)
                }
                if "trust_remote_code" in told and not _is_false(told["trust_remote_code"]):
                    yield "sets trust_remote_code"


def _call_faults(node: ast.Call, where: str) -> Iterator[str]:
    name, told = _name(node.func), {one.arg: one.value for one in node.keywords}
    if name in RUNS_CODE | SHELLS | LOADS_ANYTHING:
        yield f"calls {name}"
    if "shell" in told and not _is_false(told["shell"]):
        yield f"{name} may use a shell"
    if "trust_remote_code" in told and not _is_false(told["trust_remote_code"]):
        yield f"{name} sets trust_remote_code"
    if name in {"np.load", "numpy.load"} and not _is_false(told.get("allow_pickle")):
        yield "np.load without allow_pickle=False"
    if name.endswith((".extractall", ".extract")) and "filter" not in told:
        yield f"{name} without filter='data'"
    if name in STARTS and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr | ast.BinOp):
        yield f"{name} with a text instead of a list of words"
    if name in {"importlib.import_module", "importlib.util.spec_from_file_location"} and where not in IMPORTS_BY_NAME:
        yield f"{name}: only where the user names the code"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_does_nothing_of_the_kind(path: Path) -> None:
    assert list(faults(path.read_text(), str(path.relative_to(SOURCE)))) == []


@pytest.mark.parametrize(
    "source",
    [
        *("eval('1')", "import pickle", "from marshal import loads", "import os\nos.system('x')", "yaml.load(x)"),
        *("torch.load(x)", "np.load(x)", "np.load(x, allow_pickle=True)", "subprocess.run('a b', shell=True)"),
        *("subprocess.Popen(f'a {b}')", "AutoModel.from_pretrained(x, trust_remote_code=True)", "pack.extractall(x)"),
        *("{'trust_remote_code': wanted}", "importlib.import_module(told)"),
    ],
)
def test_the_search_finds_it(source: str) -> None:
    assert list(faults(source, "x.py"))
