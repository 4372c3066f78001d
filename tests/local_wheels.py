"""Wheels made by hand, so that tests install packages without a network."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

OWN = ("filelock", "msgspec", "numpy")  # what perfgate's children import


def wheel(folder: Path, name: str, version: str, module: str, requires: Sequence[str] = ()) -> Path:
    """A pure wheel of one module, whose text is `module`."""
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
    kind = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        f"{name.replace('-', '_')}.py": module.encode(),
        f"{stem}.dist-info/METADATA": about.encode(),
        f"{stem}.dist-info/WHEEL": kind.encode(),
    }
    return _write(folder / f"{stem}-py3-none-any.whl", f"{stem}.dist-info", files)


def wheel_of_installed(folder: Path, package: str) -> Path:
    """An installed package as a wheel again."""
    found = metadata.distribution(package)
    listed = [file for file in found.files or [] if ".." not in file.parts and "__pycache__" not in file.parts]
    files = {str(file): Path(str(file.locate())).read_bytes() for file in listed if file.name != "RECORD"}
    info = next(file.parts[0] for file in listed if file.name == "METADATA")
    tag = next(line for line in (found.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: "))
    return _write(folder / f"{info.removesuffix('.dist-info')}-{tag.removeprefix('Tag: ')}.whl", info, files)


def _write(path: Path, info: str, files: Mapping[str, bytes]) -> Path:
    names = [*files, f"{info}/RECORD"]
    with zipfile.ZipFile(path, "w") as out:
        for name, data in files.items():
            out.writestr(name, data)
        out.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
    return path
