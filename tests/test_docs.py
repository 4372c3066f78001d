"""CONTRIBUTING's map of the house knows every module. What pages say is looked at in tests/docs."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_map_knows_every_module() -> None:
    told = (ROOT / "CONTRIBUTING.md").read_text()
    modules = {path.name for path in (ROOT / "src" / "perfgate").glob("*.py")} - {"__init__.py"}

    assert sorted(name for name in modules if f"`{name}`" not in told) == []
