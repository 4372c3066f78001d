"""Blocks of data and code in the documentation are what their readers take: suites load, code imports what exists."""

from __future__ import annotations

import ast
import importlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import PAGES, ROOT, Block, blocks

from perfgate.errors import PerfgateError
from perfgate.suite import SUITE_SCHEMA, load_suite
from perfgate.waivers import load_waivers

BLOCKS = [block for page in PAGES for block in blocks(page)]
SUITE_KEYS = frozenset(SUITE_SCHEMA.json_schema()["properties"])

# YAML that others read, by keys that only theirs has.
OF_OTHERS = {"jobs": "a workflow of GitHub", "dataset_path": "a task of lm-evaluation-harness"}

# What sections speak of and leave out: a suite around them.
AROUND = """
schema: 1
suite: around
defaults: {engine: {backend: openvino, model: ../models/tiny-llama, max_batch_size: 8, max_seq_len: 1024}}
engines: {base: {backend: tensorrt_llm, flow: engine}, llama-bf16: {precision: bf16}, llama-fp8: {precision: fp8}}
workloads:
  build: {kind: build}
  c32: {kind: serving, isl: 64, osl: 16, concurrency: 32, requests: 64}
  text: {kind: perplexity, text: ../prompts/held-out.jsonl, window: 512, stride: 256}
gate: {metrics: {engine_bytes: {}}}
"""


def _of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def _read(block: Block, folder: Path) -> None:
    """Through the reader of its kind.

    Raises:
        PerfgateError: with every fault of a suite or of waivers.
    """
    plain = yaml.safe_load(block.text)
    if isinstance(plain, list):
        (folder / "waivers.yaml").write_text(block.text)
        load_waivers(folder / "waivers.yaml", folder)
    elif set(plain) <= SUITE_KEYS:
        _load_suite(plain, folder)
    else:
        assert _is_of_others(plain), f"no rule says what reads YAML with the keys {', '.join(plain)}"


def _is_of_others(plain: Any) -> bool:
    jobs = [job for job in plain.values() if isinstance(job, dict)]
    return any(key in plain for key in OF_OTHERS) or any("script" in job for job in jobs)


def _load_suite(section: dict[str, Any], folder: Path) -> None:
    around = yaml.safe_load(AROUND)
    gate = around["gate"] | section.get("gate", {})
    workloads = around["workloads"] | section.get("workloads", {})
    whole = around | section | {"gate": gate, "workloads": workloads}
    (folder / "suites").mkdir()
    for name in ("models", "prompts"):
        (folder / name).symlink_to(ROOT / "fixtures" / name)
    (folder / "suites" / "suite.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    load_suite(folder / "suites" / "suite.yaml")


@pytest.mark.parametrize("block", _of("yaml"), ids=str)
def test_yaml_is_read_by_its_reader(block: Block, tmp_path: Path) -> None:
    _read(block, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engines: {one: {precison: fp8}}", "precison"),
        ("gate: {budget: soon}", "budget"),
        ("- {case: a, reason: b, expires: never}", "expires"),
    ],
)
def test_wrong_yaml_is_seen(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(PerfgateError, match=said):
        _read(Block(ROOT / "README.md", 1, "yaml", text), tmp_path)


def test_yaml_of_no_kind_is_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no rule"):
        _read(Block(ROOT / "README.md", 1, "yaml", "engine: {one: {}}"), tmp_path)


@pytest.mark.parametrize("block", _of("json", "toml"), ids=str)
def test_data_parses(block: Block) -> None:
    parse: Callable[[str], object] = {"json": json.loads, "toml": tomllib.loads}[block.language]

    parse(block.text)


@pytest.mark.parametrize("block", _of("python"), ids=str)
def test_code_imports_what_exists(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("perfgate"):
            module = importlib.import_module(str(node.module))
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_languages_are_known() -> None:
    known = {"", "bash", "console", "json", "python", "sh", "text", "toml", "yaml"}

    assert [str(block) for block in BLOCKS if block.language not in known] == []
