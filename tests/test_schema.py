from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from perfgate import schema
from perfgate.errors import SuiteError
from perfgate.schema import (
    Anything,
    Choice,
    Duration,
    Field,
    FilePath,
    Flag,
    Fraction,
    ListOf,
    MapOf,
    Record,
    Tagged,
    Text,
    Whole,
    nearest,
    parse_duration,
    read,
)


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


ACCEPTED: list[tuple[Field, str, Any]] = [
    (Text(), "some words", "some words"),
    (Text(), "'two\n\n  lines'", "two\nlines"),
    (Text(), "12", "12"),
    (Text(), "1.50", "1.50"),
    (Text(), "2026-01-14", "2026-01-14"),
    (Text(r"[a-z]+", "small letters"), "abc", "abc"),
    (Whole(), "0", 0),
    (Whole(), "+7", 7),
    (Whole(1, 8), "8", 8),
    (Whole(-3, 3), "-3", -3),
    (Flag(), "true", True),
    (Flag(), "True", True),
    (Flag(), "yes", True),
    (Flag(), "on", True),
    (Flag(), "false", False),
    (Flag(), "no", False),
    (Flag(), "off", False),
    (Fraction(), "5%", 0.05),
    (Fraction(), "0.5 %", 0.005),
    (Fraction(), "0.05", 0.05),
    (Fraction(), "'0.05'", 0.05),
    (Fraction(), "0", 0.0),
    (Fraction(0.5), "50%", 0.5),
    (Duration(), "90s", 90.0),
    (Duration(), "4min", 240.0),
    (Duration(), "1.5 h", 5400.0),
    (Choice(("red", "green")), "green", "green"),
    (Choice.of(Colour), "red", "red"),
    (Choice(("1",)), "1", "1"),
    (ListOf(Whole()), "[1, 2]", (1, 2)),
    (ListOf(Whole()), "3", (3,)),
    (ListOf(Whole()), "[]", ()),
    (Anything(), "word", "word"),
    (Anything(), "'12'", "12"),
    (Anything(), "12", 12),
    (Anything(), "1.5", 1.5),
    (Anything(), "true", True),
    (MapOf(Whole()), "{a: 1, b.c-d_e: 2}", {"a": 1, "b.c-d_e": 2}),
    (MapOf(Whole()), "{}", {}),
    (Record({"a": Whole(), "b": Flag()}), "{b: no}", {"b": False}),
    (Record({}), "{}", {}),
    (Tagged("kind", {"x": Record({"kind": Text(), "a": Whole()})}), "{a: 1, kind: x}", {"kind": "x", "a": 1}),
]


@pytest.mark.parametrize(("field", "text", "value"), ACCEPTED)
def test_a_field_reads_what_it_describes(tmp_path: Path, field: Field, text: str, value: Any) -> None:
    source = _file(tmp_path, text)

    found = read(source, field)

    assert found == value
    assert type(found) is type(value)


REFUSED: list[tuple[Field, str, str]] = [
    (Text(), "''", "found '', expected a text"),
    (Text(), "'  '", "found '  ', expected a text"),
    (Text(), "true", "found 'true', expected a text"),
    (Text(), "~", "found '~', expected a text"),
    (Text(), "[a]", "found a list, expected a text"),
    (Text(), "{a: b}", "found a mapping, expected a text"),
    (Text(r"[a-z]+", "small letters"), "ABC", "found 'ABC', expected small letters"),
    (FilePath(), "12", "found '12', expected a path relative to the suite's folder"),
    (FilePath(), "''", "found '', expected a path"),
    (FilePath(), r'"a\0b"', "expected a path"),
    (FilePath(), "[a]", "found a list, expected a path"),
    (Whole(1, 8), "0", "found '0', expected a whole number from 1 to 8"),
    (Whole(1, 8), "9", "found '9', expected a whole number from 1 to 8"),
    (Whole(1, 8), "2.0", "found '2.0', expected a whole number from 1 to 8"),
    (Whole(1, 8), "'2'", "found '2', expected a whole number from 1 to 8"),
    (Whole(1, 8), "two", "found 'two', expected a whole number from 1 to 8"),
    (Whole(), "0x10", "found '0x10', expected a whole number"),
    (Whole(), "9" * 5000, "expected a whole number"),
    (Whole(), "!!int abc", "found 'abc', expected a whole number"),
    (Flag(), "1", "found '1', expected true or false"),
    (Flag(), "'true'", "found 'true', expected true or false"),
    (Flag(), "[true]", "found a list, expected true or false"),
    (Fraction(), "-5%", "found '-5%', expected a share such as 5% or 0.05 (0 to 1000%)"),
    (Fraction(0.5), "51%", "found '51%', expected a share such as 5% or 0.05 (0 to 50%)"),
    (Fraction(), "5 percent", "found '5 percent', expected a share"),
    (Fraction(), ".nan", "found '.nan', expected a share"),
    (Fraction(), ".inf", "found '.inf', expected a share"),
    (Fraction(), "1e-2", "found '1e-2', expected a share"),
    (Duration(), "90", "found '90', expected a duration such as 90s, 4min or 2h"),
    (Duration(), "-1s", "found '-1s', expected a duration"),
    (Duration(), "4 minutes", "found '4 minutes', expected a duration"),
    (Duration(), "[4min]", "found a list, expected a duration"),
    (Choice(("red", "green")), "gren", "found 'gren', allowed: red, green; did you mean 'green'?"),
    (Choice(("red", "green")), "violet", "found 'violet', allowed: red, green"),
    (Choice(("red", "green")), "{}", "found a mapping, allowed: red, green"),
    (ListOf(Whole()), "[1, x]", "found 'x', expected a whole number"),
    (Anything(), "[1]", "found a list, expected a text, a number or true/false"),
    (Anything(), "~", "found '~', expected a text, a number or true/false"),
    (Anything(), "2026-01-14", "found '2026-01-14', expected a text, a number or true/false"),
    (MapOf(Whole()), "[a]", "found a list, expected a mapping (key: value)"),
    (MapOf(Whole()), "~", "found '~', expected a mapping (key: value)"),
    (MapOf(Whole()), "{../a: 1}", "found '../a', expected a name of letters, digits, '.', '_' and '-'"),
    (MapOf(Whole()), "{a: 1, <<: {b: 2}}", "found '<<', expected a name of letters, digits"),
    (MapOf(Whole()), "{? [a] : 1}", "found a list as a key, expected a word"),
    (MapOf(Whole()), "{a: 1, a: 2}", "stands twice in this mapping; keep one"),
    (Record({"margin": Whole()}), "{magrin: 1}", "unknown key; allowed: margin; did you mean 'margin'?"),
    (Record({"margin": Whole()}), "{zzz: 1}", "unknown key; allowed: margin"),
    (Record({"a": Whole()}, required=("a",)), "{}", "the key 'a' is missing"),
    (Record({"a": Whole()}, required=("a",)), "x", "found 'x', expected a mapping (key: value)"),
    (Tagged("kind", {"x": Record({"kind": Text()})}), "{a: 1}", "the key 'kind' is missing; allowed: x"),
    (Tagged("kind", {"build": Record({"kind": Text()})}), "{kind: bulid}", "allowed: build; did you mean 'build'?"),
    (Tagged("kind", {"x": Record({"kind": Text()})}), "{kind: x, a: 1}", "unknown key; allowed: kind"),
    (Tagged("kind", {"x": Record({"kind": Text()})}), "x", "found 'x', expected a mapping (key: value)"),
]


@pytest.mark.parametrize(("field", "text", "words"), REFUSED)
def test_a_field_refuses_what_it_does_not_describe(tmp_path: Path, field: Field, text: str, words: str) -> None:
    source = _file(tmp_path, text)

    with pytest.raises(SuiteError) as caught:
        read(source, field)

    assert [fault.what for fault in caught.value.faults if words in fault.what] == [caught.value.faults[0].what]
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize("text", ["!!int abc", "!!float abc", "!!bool maybe", "!own:int 5", "9" * 5000])
def test_a_value_that_yaml_itself_cannot_make_is_a_fault(tmp_path: Path, text: str) -> None:
    source = _file(tmp_path, text)

    with pytest.raises(SuiteError):
        read(source, Anything())


def test_a_flag_that_is_neither_is_a_fault(tmp_path: Path) -> None:
    source = _file(tmp_path, "!!bool maybe")

    with pytest.raises(SuiteError):
        read(source, Flag())


def test_a_path_is_relative_to_the_file_that_names_it(tmp_path: Path) -> None:
    source = _file(tmp_path, "../models/tiny")

    assert read(source, FilePath()) == tmp_path.resolve().parent / "models" / "tiny"


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    source = _file(tmp_path, "/models/tiny")

    assert read(source, FilePath()) == Path("/models/tiny")


def test_a_path_that_no_file_system_can_hold_is_a_fault(tmp_path: Path) -> None:
    source = _file(tmp_path, r'"\uD800"')

    with pytest.raises(SuiteError):
        read(source, FilePath())


def test_every_fault_is_reported_at_once_with_its_line_and_key(tmp_path: Path) -> None:
    source = _file(
        tmp_path, "size: 0\ncolour: rde\nsizes:\n  - 1\n  - x\nown:\n  a: {deep: yes}\n  b: 1\n  b: 2\nextra: 1\n"
    )
    field = Record(
        {
            "size": Whole(1, 8),
            "colour": Choice.of(Colour),
            "sizes": ListOf(Whole(0, 9)),
            "own": MapOf(Whole(0, 9)),
            "extras": Text(),
        },
        required=("name",),
    )

    with pytest.raises(SuiteError) as caught:
        read(source, field)

    assert [str(fault) for fault in caught.value.faults] == [
        f"{source}:1 size: found '0', expected a whole number from 1 to 8",
        f"{source}:2 colour: found 'rde', allowed: red, green; did you mean 'red'?",
        f"{source}:5 sizes[1]: found 'x', expected a whole number from 0 to 9",
        f"{source}:9 own.b: stands twice in this mapping; keep one",
        f"{source}:7 own.a: found a mapping, expected a whole number from 0 to 9",
        f"{source}:10 extra: unknown key; allowed: colour, extras, own, size, sizes; did you mean 'extras'?",
        f"{source}:1: the key 'name' is missing",
    ]


def test_the_error_counts_its_faults_and_shows_each_on_a_line(tmp_path: Path) -> None:
    source = _file(tmp_path, "{a: x, b: y}")

    with pytest.raises(SuiteError) as caught:
        read(source, MapOf(Whole()))

    assert str(caught.value).splitlines() == [
        "the suite has 2 faults:",
        *[f"  {fault}" for fault in caught.value.faults],
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_a_file_that_says_nothing_is_refused(tmp_path: Path, text: str) -> None:
    source = _file(tmp_path, text)

    with pytest.raises(SuiteError, match=source.name):
        read(source, MapOf(Text()))


def test_an_empty_file_says_where_a_start_is_found(tmp_path: Path) -> None:
    source = _file(tmp_path, "")

    with pytest.raises(SuiteError, match=r"the file is empty; `perfgate init` writes one"):
        read(source, MapOf(Text()))


@pytest.mark.parametrize("text", ["{a: &x {b: 1}, c: *x}", "{a: &x word, c: *x}", "&x [*x]", "&x {a: *x}"])
def test_aliases_are_refused(tmp_path: Path, text: str) -> None:
    source = _file(tmp_path, text)

    with pytest.raises(SuiteError, match=r"suite\.yaml:1.*aliases .* are not read; use `defaults:`"):
        read(source, MapOf(MapOf(Text())))


def test_an_alias_to_nothing_is_refused(tmp_path: Path) -> None:
    source = _file(tmp_path, "a: *nothing\n")

    with pytest.raises(SuiteError, match=r"suite\.yaml:1: is not valid YAML: found undefined alias"):
        read(source, MapOf(Text()))


@pytest.mark.parametrize("depth", [30, 100_000])
@pytest.mark.parametrize("text", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused(tmp_path: Path, text: str, depth: int) -> None:
    source = _file(tmp_path, text * depth)

    with pytest.raises(SuiteError):
        read(source, MapOf(Text()))


def test_whole_but_deep_nesting_says_what_is_not_read(tmp_path: Path) -> None:
    source = _file(tmp_path, "[" * 30 + "]" * 30)

    with pytest.raises(SuiteError, match="deep nesting are not read"):
        read(source, ListOf(Text()))


def test_text_that_is_not_utf8_names_the_byte(tmp_path: Path) -> None:
    source = tmp_path / "suite.yaml"
    source.write_bytes(b"name: caf\xe9\n")

    with pytest.raises(SuiteError, match=r"suite\.yaml: is not UTF-8 at byte 9"):
        read(source, MapOf(Text()))


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: [1, 2\nc: 3\n", 3), ("a: 'x\n", 2), ("a: b: c\n", 1), ("\tq: 1\n", 1), ("a: 1\n---\nb: 2\n", 2)],
)
def test_what_is_not_yaml_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    source = _file(tmp_path, text)

    with pytest.raises(SuiteError, match=rf"suite\.yaml:{line}: is not valid YAML: \w+"):
        read(source, MapOf(Text()))


def test_control_characters_are_not_yaml(tmp_path: Path) -> None:
    source = _file(tmp_path, "a: \0")

    with pytest.raises(SuiteError, match=r"suite\.yaml: is not valid YAML"):
        read(source, MapOf(Text()))


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"absent\.yaml: cannot be read: No such file"):
        read(tmp_path / "absent.yaml", MapOf(Text()))


def test_a_folder_is_not_a_suite(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="cannot be read: Is a directory"):
        read(tmp_path, MapOf(Text()))


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MAX_BYTES", 10)
    source = _file(tmp_path, "a: 1234567\n")

    with pytest.raises(SuiteError, match="more than 10 bytes; a suite holds at most"):
        read(source, MapOf(Text()))


def test_a_long_value_is_shown_by_its_beginning(tmp_path: Path) -> None:
    source = _file(tmp_path, "x" * 1000)

    with pytest.raises(SuiteError) as caught:
        read(source, Whole())

    assert caught.value.faults[0].what.startswith(f"found '{'x' * 60}', ")


def test_the_nearest_word_is_offered_only_if_it_is_near() -> None:
    known = ["fp32", "bf16", "int8_wo"]

    assert nearest("int8", known) == "; did you mean 'int8_wo'?"
    assert nearest("gradient", known) == ""
    assert nearest("", known) == ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("2.5min", 150.0),
        (" 2 h ", 7200.0),
        ("0s", 0.0),
        ("50ms", 0.05),
        ("1", None),
        ("s", None),
        ("1d", None),
        ("", None),
    ],
)
def test_durations_need_a_unit(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


def test_the_json_schema_of_a_record_allows_only_its_keys() -> None:
    field = Record({"a": Whole(1, 8), "b": ListOf(Flag())}, required=("a",), docs={"b": "what b is for"})

    assert field.json_schema() == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": 1, "maximum": 8},
            "b": {
                "anyOf": [{"type": "array", "items": {"type": "boolean"}}, {"type": "boolean"}],
                "description": "what b is for",
            },
        },
        "required": ["a"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("field", "described"),
    [
        (Text(hint="a name"), {"type": "string", "description": "a name"}),
        (FilePath(), {"type": "string", "description": "a path relative to the suite's folder"}),
        (Choice.of(Colour), {"enum": ["red", "green"]}),
        (MapOf(Flag()), {"type": "object", "additionalProperties": {"type": "boolean"}}),
        (Anything(), {"type": ["string", "number", "boolean"]}),
        (Duration(), {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|min|h)$"}),
    ],
)
def test_the_json_schema_describes_each_field(field: Field, described: dict[str, Any]) -> None:
    assert field.json_schema() == described


def test_the_json_schema_of_a_share_allows_a_number_and_a_percentage() -> None:
    number, percentage = Fraction().json_schema()["anyOf"]

    assert number["type"] == "number"
    assert percentage["type"] == "string"


def test_the_json_schema_of_a_tagged_record_is_one_of_its_records() -> None:
    build, text = Record({"kind": Text()}), Record({"kind": Text(), "text": FilePath()}, required=("text",))

    first, second = Tagged("kind", {"build": build, "text": text}).json_schema()["oneOf"]

    assert first["properties"] == {"kind": {"const": "build"}}
    assert second["properties"] == {"kind": {"const": "text"}, "text": FilePath().json_schema()}
    assert (first["required"], second["required"]) == (["kind"], ["kind", "text"])


def _file(folder: Path, text: str) -> Path:
    source = folder / "suite.yaml"
    source.write_text(text, encoding="utf-8")
    return source
