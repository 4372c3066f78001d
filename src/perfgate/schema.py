"""A small declarative reader of YAML that reports every fault at once, with line and nearest match.

A schema is a tree of fields. `read` walks a YAML node tree beside it, so that faults carry
line numbers; `json_schema` turns the same tree into a JSON Schema for editors.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import yaml

from perfgate.errors import Fault, SuiteError
from perfgate.plain_file import read_up_to

MAX_BYTES = 1_000_000
MAX_DEPTH = 20


class Context:
    """Where we are in which file, and the faults found so far."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.faults: list[Fault] = []
        self._lines: dict[str, int] = {}

    def at(self, path: str, node: yaml.Node) -> str:
        """Remember where a key stands; returns its path."""
        self._lines[path] = node.start_mark.line + 1
        return path

    def fault(self, node: yaml.Node, path: str, what: str) -> None:
        line = node.start_mark.line + 1
        self.faults.append(Fault(f"{self.source}:{line} {path}".rstrip(), what))

    def conflict(self, path: str, what: str) -> None:
        """A fault that needs more than one key to see, at the line of the nearest key that was read."""
        known = path
        while known and known not in self._lines:
            known = known.rpartition(".")[0]
        self.faults.append(Fault(f"{self.source}:{self._lines.get(known, 1)} {path}".rstrip(), what))


class Field(Protocol):
    """One value of a schema. `parse` returns None after it has reported a fault."""

    def parse(self, node: yaml.Node, path: str, context: Context) -> Any: ...

    def json_schema(self) -> dict[str, Any]: ...


Conflicts = Callable[[Any], Iterable[tuple[str, str]]]


def no_conflicts(_: Any) -> Iterable[tuple[str, str]]:
    """For schemas whose keys do not depend on each other."""
    return ()


def read(source: Path, schema: Field, conflicts: Conflicts = no_conflicts) -> Any:
    """Read a YAML file against a schema; `conflicts` yields (key path, what) for a value without other faults.

    Raises:
        SuiteError: with every fault in the file.
    """
    context = Context(source)
    root = _compose(source)
    if root is None:
        raise SuiteError([Fault(str(source), "the file is empty; `perfgate init` writes one to start from")])
    _refuse_deep(root, context)
    value = None if context.faults else schema.parse(root, "", context)
    if not context.faults:
        for path, what in conflicts(value):
            context.conflict(path, what)
    if context.faults:
        raise SuiteError(context.faults)
    return value


def _compose(source: Path) -> yaml.Node | None:
    try:
        text = read_up_to(source, MAX_BYTES)
        if len(text) > MAX_BYTES:
            raise SuiteError([Fault(str(source), f"more than {MAX_BYTES} bytes; a suite holds at most that many")])
        node: yaml.Node | None = yaml.compose(text.decode(), Loader=yaml.SafeLoader)
    except FileNotFoundError as exc:
        then = "name another one, or let `perfgate init` write one"
        raise SuiteError([Fault(str(source), f"cannot be read: {exc.strerror}; {then}")]) from exc
    except OSError as exc:
        raise SuiteError([Fault(str(source), f"cannot be read: {exc.strerror}")]) from exc
    except UnicodeDecodeError as exc:
        raise SuiteError([Fault(str(source), f"is not UTF-8 at byte {exc.start}")]) from exc
    except (yaml.YAMLError, RecursionError) as exc:
        raise SuiteError([Fault(_yaml_place(source, exc), _yaml_problem(exc))]) from exc
    return node


def _yaml_place(source: Path, exc: Exception) -> str:
    mark = getattr(exc, "problem_mark", None)
    return f"{source}:{mark.line + 1}" if mark else str(source)


def _yaml_problem(exc: Exception) -> str:
    return f"is not valid YAML: {getattr(exc, 'problem', None) or 'nested too deeply or unreadable'}"


def _refuse_deep(root: yaml.Node, context: Context) -> None:
    """Refuse nesting that no suite needs, and aliases: both are ways to make a small file explode."""
    seen: set[int] = set()
    stack = [(root, 0)]
    while stack:
        node, depth = stack.pop()
        if id(node) in seen or depth > MAX_DEPTH:
            context.fault(node, "", "aliases (&name, *name) and deep nesting are not read; use `defaults:`")
            return
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            stack += [(child, depth + 1) for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            stack += [(child, depth + 1) for child in node.value]


def nearest(word: str, known: Sequence[str]) -> str:
    """' (did you mean 'x'?)' for the closest known word, else nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def _scalar(node: yaml.Node, tags: Sequence[str]) -> str | None:
    """The text of a scalar node whose YAML type is one of `tags`, else None."""
    tag = node.tag.rsplit(":", 1)[-1]
    return node.value if isinstance(node, yaml.ScalarNode) and tag in tags else None


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return f"'{node.value[:60]}'"
    return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"


@dataclass(frozen=True, slots=True)
class Text:
    """A string, optionally of a given form."""

    pattern: str = r"(?s).*\S.*"
    hint: str = "a text"

    def parse(self, node: yaml.Node, path: str, context: Context) -> str | None:
        value = _scalar(node, ["str", "int", "float", "timestamp"])
        if value is not None and re.fullmatch(self.pattern, value):
            return value
        context.fault(node, path, f"found {_shown(node)}, expected {self.hint}")
        return None

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "description": self.hint}


@dataclass(frozen=True, slots=True)
class FilePath:
    """A path relative to the suite file's folder; the result is absolute. Existence is checked at use."""

    def parse(self, node: yaml.Node, path: str, context: Context) -> Path | None:
        value = _scalar(node, ["str"])
        if value and "\0" not in value and value.isprintable():
            return (context.source.resolve().parent / value).resolve()
        context.fault(node, path, f"found {_shown(node)}, expected a path relative to the suite's folder")
        return None

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "description": "a path relative to the suite's folder"}


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer within bounds."""

    least: int = 0
    most: int = 1_000_000

    def parse(self, node: yaml.Node, path: str, context: Context) -> int | None:
        value = _scalar(node, ["int"])
        if value is not None and re.fullmatch(r"[+-]?\d{1,12}", value) and self.least <= int(value) <= self.most:
            return int(value)
        context.fault(node, path, f"found {_shown(node)}, expected a whole number from {self.least} to {self.most}")
        return None

    def json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


_YES, _NO = ("true", "yes", "on"), ("false", "no", "off")


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    def parse(self, node: yaml.Node, path: str, context: Context) -> bool | None:
        value = (_scalar(node, ["bool"]) or "").lower()
        if value in _YES or value in _NO:
            return value in _YES
        context.fault(node, path, f"found {_shown(node)}, expected true or false")
        return None

    def json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Fraction:
    """A share, written as '5%' or 0.05; the result is the fraction."""

    most: float = 10.0

    def parse(self, node: yaml.Node, path: str, context: Context) -> float | None:
        number = parse_fraction(_scalar(node, ["str", "int", "float"]) or "")
        if number is not None and number <= self.most:
            return number
        context.fault(node, path, f"found {_shown(node)}, expected a share such as 5% or 0.05 (0 to {self.most:.0%})")
        return None

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?\s*%$"}]}


@dataclass(frozen=True, slots=True)
class Duration:
    """A time such as 50ms, 90s, 4min or 2h; the result is in seconds."""

    def parse(self, node: yaml.Node, path: str, context: Context) -> float | None:
        seconds = parse_duration(_scalar(node, ["str", "int", "float"]) or "")
        if seconds is None:
            context.fault(node, path, f"found {_shown(node)}, expected a duration such as 90s, 4min or 2h")
        return seconds

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|min|h)$"}


def parse_fraction(text: str) -> float | None:
    """The fraction that a text such as 5% or 0.05 says; None where it is no share."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(%?)", text)
    return float(found[1]) / (100 if found[2] else 1) if found else None


def parse_duration(text: str) -> float | None:
    """Seconds of '50ms', '90s', '4min' or '2h'; None where the text is something else."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)\s*(ms|s|min|h)", text.strip())
    return float(found[1]) * {"ms": 0.001, "s": 1, "min": 60, "h": 3600}[found[2]] if found else None


@dataclass(frozen=True, slots=True)
class Choice:
    """One word of a closed set."""

    words: tuple[str, ...]

    @staticmethod
    def of(enum: type[StrEnum]) -> Choice:
        return Choice(tuple(member.value for member in enum))

    def parse(self, node: yaml.Node, path: str, context: Context) -> str | None:
        value = _scalar(node, ["str", "int", "float", "bool"])
        if value in self.words:
            return value
        near = nearest(value or "", self.words)
        context.fault(node, path, f"found {_shown(node)}, allowed: {', '.join(self.words)}{near}")
        return None

    def json_schema(self) -> dict[str, Any]:
        return {"enum": [*self.words, *(int(word) for word in self.words if word.isdigit())]}


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of one kind of value; a single value counts as a list of one."""

    item: Field

    def parse(self, node: yaml.Node, path: str, context: Context) -> tuple[Any, ...]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        return tuple(self.item.parse(child, f"{path}[{index}]", context) for index, child in enumerate(nodes))

    def json_schema(self) -> dict[str, Any]:
        one = self.item.json_schema()
        return {"anyOf": [{"type": "array", "items": one}, one]}


_PLAIN_TAGS = tuple(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool"))
LONGEST_SCALAR = 1000


@dataclass(frozen=True, slots=True)
class Anything:
    """Scalars passed through to a backend, as YAML types them."""

    def parse(self, node: yaml.Node, path: str, context: Context) -> str | int | float | bool | None:
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN_TAGS and len(node.value) <= LONGEST_SCALAR:
            with contextlib.suppress(ValueError, KeyError):
                value: str | int | float | bool = yaml.safe_load(yaml.serialize(node))
                return value
        context.fault(node, path, f"found {_shown(node)}, expected a text, a number or true/false")
        return None

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["string", "number", "boolean"]}


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping from names to one kind of value."""

    item: Field
    key: Text = field(
        default_factory=lambda: Text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}", "a name of letters, digits, '.', '_' and '-'")
    )

    def parse(self, node: yaml.Node, path: str, context: Context) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in _pairs(node, path, context):
            where = context.at(f"{path}.{key.value}".lstrip("."), key)
            name = self.key.parse(key, where, context)
            if name is not None:
                out[name] = self.item.parse(value, where, context)
        return out

    def json_schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.item.json_schema()}


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with known keys. Absent optional keys are absent from the result."""

    fields: Mapping[str, Field]
    required: tuple[str, ...] = ()
    docs: Mapping[str, str] = field(default_factory=dict)

    def parse(self, node: yaml.Node, path: str, context: Context) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in _pairs(node, path, context):
            where = context.at(f"{path}.{key.value}".lstrip("."), key)
            if key.value not in self.fields:
                known = sorted(self.fields)
                context.fault(key, where, f"unknown key; allowed: {', '.join(known)}{nearest(key.value, known)}")
                continue
            out[key.value] = self.fields[key.value].parse(value, where, context)
        self._report_missing(node, path, out, context)
        return out

    def _report_missing(self, node: yaml.Node, path: str, out: Mapping[str, Any], context: Context) -> None:
        if isinstance(node, yaml.MappingNode):
            for name in self.required:
                if name not in out:
                    context.fault(node, path, f"the key '{name}' is missing")

    def json_schema(self) -> dict[str, Any]:
        properties = {name: dict(item.json_schema()) for name, item in self.fields.items()}
        for name, doc in self.docs.items():
            properties[name]["description"] = doc
        return {
            "type": "object",
            "properties": properties,
            "required": list(self.required),
            "additionalProperties": False,
        }


@dataclass(frozen=True, slots=True)
class Tagged:
    """A record whose other keys depend on the value of one of them."""

    tag: str
    records: Mapping[str, Record]

    def parse(self, node: yaml.Node, path: str, context: Context) -> dict[str, Any] | None:
        tags = [value for key, value in _pairs(node, path, context) if key.value == self.tag]
        if not tags:
            if isinstance(node, yaml.MappingNode):
                context.fault(node, path, f"the key '{self.tag}' is missing; allowed: {', '.join(self.records)}")
            return None
        word = Choice(tuple(self.records)).parse(tags[0], f"{path}.{self.tag}", context)
        return self.records[word].parse(node, path, context) if word else None

    def json_schema(self) -> dict[str, Any]:
        return {"oneOf": [self._tagged(word, record.json_schema()) for word, record in self.records.items()]}

    def _tagged(self, word: str, schema: dict[str, Any]) -> dict[str, Any]:
        properties = {**schema["properties"], self.tag: {"const": word}}
        return {**schema, "properties": properties, "required": [self.tag, *schema["required"]]}


def _pairs(node: yaml.Node, path: str, context: Context) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """Key and value nodes of a mapping; other nodes, keys that are no words and repeated keys are faults."""
    if not isinstance(node, yaml.MappingNode):
        context.fault(node, path, f"found {_shown(node)}, expected a mapping (key: value)")
        return []
    pairs: dict[str, tuple[yaml.ScalarNode, yaml.Node]] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            context.fault(key, path, f"found {_shown(key)} as a key, expected a word")
        elif key.value in pairs:
            context.fault(key, f"{path}.{key.value}".lstrip("."), "stands twice in this mapping; keep one")
        else:
            pairs[key.value] = (key, value)
    return list(pairs.values())
