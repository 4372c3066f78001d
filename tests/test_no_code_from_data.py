"""What the source may never do with data: run it, unpickle it, hand it to a shell, or let an archive choose paths."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "perfgate"
MODULES = sorted(SOURCE.rglob("*.py"))
RUNS_CODE = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn"}
LOADS_ANYTHING = {
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "yaml.full_load_all", "yaml.unsafe_load_all"),
    *("yaml.Loader", "yaml.CLoader", "yaml.FullLoader", "yaml.CFullLoader", "yaml.UnsafeLoader", "yaml.CUnsafeLoader"),
    "torch.load",
}
NEVER = SHELLS | LOADS_ANYTHING | {"shutil.unpack_archive"}  # of zip files it takes no filter
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader"}
STARTS = {"subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_call", "subprocess.check_output"}
# Code of the user's own that is run because the user says so by name: a test's function, a backend 'module:Class'.
IMPORTS_BY_NAME = {"guest.py", "engines/__init__.py", "engines/carrying.py", "engines/tensorrt_llm_installed.py"}


Names = Mapping[str, str]  # what names of a module stand for: {"np": "numpy", "system": "os.system"}


def _imported(tree: ast.Module) -> Names:
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {one.asname: one.name for one in names if one.asname}
            case ast.ImportFrom(module=str(module), names=names):
                found |= {one.asname or one.name: f"{module}.{one.name}" for one in names}
    return found


def _name(node: ast.expr | None, known: Names) -> str:
    """'os.path.join' of such an expression, whatever it was imported as; '' of others."""
    if isinstance(node, ast.Name):
        return known.get(node.id, node.id)
    return f"{_name(node.value, known)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def _is_data(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value == "data"


def _is_remote_code(node: ast.expr) -> bool:
    """Whether it is x['trust_remote_code'] or x.trust_remote_code."""
    match node:
        case ast.Subscript(slice=ast.Constant(value="trust_remote_code")) | ast.Attribute(attr="trust_remote_code"):
            return True
    return False


def _is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def faults(source: str, where: str) -> Iterator[str]:
    """What is not allowed in a module, one line each."""
    tree = ast.parse(source)
    known = _imported(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (f"imports {one.name}" for one in names if one.name.partition(".")[0] in UNPICKLES)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in UNPICKLES:
                yield f"imports {module}"
            case ast.ImportFrom(module=str(module), names=names):
                yield from (f"imports {module}.{one.name}" for one in names if f"{module}.{one.name}" in NEVER)
            case ast.Attribute() if _name(node, known) in NEVER:
                yield f"names {_name(node, known)}"
            case ast.Assign(targets=targets, value=value) if any(map(_is_remote_code, targets)):
                yield from () if _is_false(value) else ("sets trust_remote_code",)
            case ast.Call():
                yield from _call_faults(node, where, known)
            case ast.Dict(keys=keys, values=values):
                told = {
                    key.value: value for key, value in zip(keys, values, strict=True) if isinstance(key, ast.Constant)
                }
                if "trust_remote_code" in told and not _is_false(told["trust_remote_code"]):
                    yield "sets trust_remote_code"


def _call_faults(node: ast.Call, where: str, known: Names) -> Iterator[str]:
    name, told = _name(node.func, known), {one.arg: one.value for one in node.keywords}
    if name in RUNS_CODE:
        yield f"calls {name}"
    if name in {"yaml.compose", "yaml.compose_all"} and _name(told.get("Loader"), known) not in SAFE_LOADERS:
        yield f"{name} without Loader=SafeLoader"
    if name.endswith(".setdefault") and _sets_remote_code(node.args):
        yield f"{name} sets trust_remote_code"
    if "shell" in told and not _is_false(told["shell"]):
        yield f"{name} may use a shell"
    if "trust_remote_code" in told and not _is_false(told["trust_remote_code"]):
        yield f"{name} sets trust_remote_code"
    if name in {"np.load", "numpy.load"} and not _is_false(told.get("allow_pickle")):
        yield "np.load without allow_pickle=False"
    if name.endswith((".extractall", ".extract")) and not _is_data(told.get("filter")):
        yield f"{name} without filter='data'"
    if name in STARTS and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr | ast.BinOp):
        yield f"{name} with a text instead of a list of words"
    if name in {"importlib.import_module", "importlib.util.spec_from_file_location"} and where not in IMPORTS_BY_NAME:
        yield f"{name}: only where the user names the code"


def _sets_remote_code(args: Sequence[ast.expr]) -> bool:
    match args:
        case [ast.Constant(value="trust_remote_code"), value]:
            return not _is_false(value)
    return False


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
        *(
            "pack.extractall(x, filter='fully_trusted')",
            "pack.extractall(x, filter=None)",
            "pack.extractall(x, filter=f)",
        ),
        *("import shutil\nshutil.unpack_archive(x)", "from shutil import unpack_archive", "from os import system"),
        *("import os as o\no.system('x')", "run = os.system", "from yaml import load", "from yaml import Loader as L"),
        *("yaml.safe_load(x) or yaml.load(x, Loader=yaml.Loader)", "yaml.compose(x, Loader=yaml.UnsafeLoader)"),
        *("yaml.compose(x)", "d['trust_remote_code'] = True", "d['trust_remote_code'] = wanted"),
        *("a.trust_remote_code = True", "d.setdefault('trust_remote_code', True)", "dict(trust_remote_code=True)"),
        *("from numpy import load\nload(x)", "import numpy as n\nn.load(x)", "from subprocess import run\nrun('a b')"),
    ],
)
def test_the_search_finds_it(source: str) -> None:
    assert list(faults(source, "x.py"))


@pytest.mark.parametrize(
    "source",
    [
        *("pack.extractall(x, filter='data')", "yaml.safe_load(x)", "yaml.compose(x, Loader=yaml.SafeLoader)"),
        *(
            "d['trust_remote_code'] = False",
            "np.load(x, allow_pickle=False)",
            "json.load(x)",
            "subprocess.run(['a', b])",
        ),
    ],
)
def test_the_search_lets_pass_what_is_allowed(source: str) -> None:
    assert list(faults(source, "x.py")) == []
