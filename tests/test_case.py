from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.case import (
    Batching,
    BuildWork,
    Case,
    Drafting,
    EngineSpec,
    Flow,
    KvDtype,
    LatencyWork,
    PerplexityWork,
    Precision,
    Quantisation,
    Speculation,
    WorkKind,
    Workload,
    canonical,
    short_hash,
)

SPEC = EngineSpec("fp32", Path("/tree/models/tiny"))
CHAT = LatencyWork("chat", Path("/tree/prompts/chat.jsonl"))
TEXT = PerplexityWork("text", Path("/tree/prompts/held-out.jsonl"))
CASE = Case(SPEC, CHAT)

SPEC_CHANGES: dict[str, Any] = {
    "model": Path("/tree/models/other"),
    "backend": "transformers",
    "precision": Precision.INT8_WO,
    "kv_cache_dtype": KvDtype.INT8,
    "batching": Batching.STATIC,
    "paged_kv": False,
    "prefix_caching": True,
    "chunked_prefill": True,
    "speculative": Speculation(Drafting.NGRAM),
    "max_batch_size": 16,
    "max_num_tokens": 4096,
    "max_seq_len": 2048,
    "cuda_graphs": True,
    "overlap_scheduler": True,
    "context_fmha": False,
    "remove_input_padding": False,
    "tp": 2,
    "pp": 2,
    "engine_args": (("threads", 2),),
    "flow": Flow.ENGINE,
    "max_input_len": 512,
    "builder_cmd": "make engine",
    "quantisation": Quantisation(group_size=64),
}
CHAT_CHANGES: dict[str, Any] = {
    "prompts": Path("/tree/prompts/code.jsonl"),
    "input_len": 129,
    "output_len": 65,
    "concurrency": 2,
    "requests": 17,
    "warmup_requests": 5,
}
TEXT_CHANGES: dict[str, Any] = {"text": Path("/tree/prompts/code.jsonl"), "window": 256, "stride": 128}


def test_an_id_reads_engine_then_workload() -> None:
    assert CASE.id == "fp32-chat"


@pytest.mark.parametrize(
    ("work", "kind"),
    [(BuildWork("build"), WorkKind.BUILD), (CHAT, WorkKind.LATENCY), (TEXT, WorkKind.PERPLEXITY)],
)
def test_the_kind_is_that_of_the_workload(work: Workload, kind: WorkKind) -> None:
    assert Case(SPEC, work).kind is kind


@pytest.mark.parametrize("name", SPEC_CHANGES)
def test_each_field_of_a_spec_changes_the_hash(name: str) -> None:
    changed = replace(SPEC, **{name: SPEC_CHANGES[name]})

    assert Case(changed, CHAT).hash != CASE.hash


@pytest.mark.parametrize("name", CHAT_CHANGES)
def test_each_field_of_a_latency_workload_changes_the_hash(name: str) -> None:
    changed = replace(CHAT, **{name: CHAT_CHANGES[name]})

    assert Case(SPEC, changed).hash != CASE.hash


@pytest.mark.parametrize("name", TEXT_CHANGES)
def test_each_field_of_a_perplexity_workload_changes_the_hash(name: str) -> None:
    changed = replace(TEXT, **{name: TEXT_CHANGES[name]})

    assert Case(SPEC, changed).hash != Case(SPEC, TEXT).hash


@pytest.mark.parametrize(
    ("record", "changes"),
    [(SPEC, SPEC_CHANGES), (CHAT, CHAT_CHANGES), (TEXT, TEXT_CHANGES)],
    ids=["spec", "chat", "text"],
)
def test_no_field_but_the_name_is_left_out_above(record: Any, changes: dict[str, Any]) -> None:
    assert {field.name for field in fields(record)} - {"made_by"} == {"name", *changes}  # a command is no measurement


@pytest.mark.parametrize(
    "change",
    [
        {"method": Drafting.NGRAM},
        {"draft_len": 4},
        {"model": Path("/tree/models/other-draft")},
    ],
)
def test_each_field_of_speculation_changes_the_hash(change: dict[str, Any]) -> None:
    before = Speculation(Drafting.DRAFT_MODEL, 3, Path("/tree/models/draft"))

    after = replace(before, **change)

    assert Case(replace(SPEC, speculative=before), CHAT).hash != Case(replace(SPEC, speculative=after), CHAT).hash


def test_an_engine_argument_changes_the_hash_by_value_and_by_name() -> None:
    args: list[tuple[tuple[str, int], ...]] = [(), (("threads", 1),), (("threads", 2),), (("streams", 2),)]

    hashes = {Case(replace(SPEC, engine_args=one), CHAT).hash for one in args}

    assert len(hashes) == len(args)


def test_keys_that_came_later_change_no_hash_while_unset() -> None:
    assert CASE.hash == "e114cf76615e9069"
    assert {"flow", "max_input_len", "builder_cmd", "quantisation", "made_by"}.isdisjoint(canonical(SPEC))


def test_workloads_of_different_kinds_have_different_hashes() -> None:
    assert len({Case(SPEC, work).hash for work in (BuildWork("w"), CHAT, TEXT)}) == 3


def test_names_do_not_change_the_hash() -> None:
    renamed = Case(replace(SPEC, name="reference"), replace(CHAT, name="talk"))

    assert renamed.hash == CASE.hash
    assert renamed.id != CASE.id


def test_cases_that_differ_in_their_load_only_are_a_family() -> None:
    wider = replace(CHAT, name="c64", concurrency=64, requests=512, warmup_requests=64)
    longer = replace(CHAT, output_len=CHAT.output_len + 1)

    assert Case(SPEC, wider).concurrency == 64
    assert Case(SPEC, wider).family == CASE.family
    assert Case(SPEC, longer).family != CASE.family
    assert Case(replace(SPEC, max_batch_size=99), CHAT).family != CASE.family
    assert (Case(SPEC, BuildWork("build")).concurrency, Case(SPEC, BuildWork("build")).family) == (None, None)


def test_the_place_of_the_tree_does_not_change_the_hash() -> None:
    moved = Case(
        replace(SPEC, model=Path("/elsewhere/models/tiny")),
        replace(CHAT, prompts=Path("/elsewhere/prompts/chat.jsonl")),
    )

    assert moved.hash == CASE.hash


def test_the_place_of_a_draft_model_does_not_change_the_hash() -> None:
    here, there = (Speculation(Drafting.DRAFT_MODEL, 3, Path(root, "models/draft")) for root in ("/tree", "/other"))

    assert Case(replace(SPEC, speculative=here), CHAT).hash == Case(replace(SPEC, speculative=there), CHAT).hash


def test_a_canonical_form_is_plain_data_without_a_name() -> None:
    plain = canonical(replace(SPEC, speculative=Speculation(Drafting.NGRAM, 2), engine_args=(("threads", 2),)))

    assert json.loads(json.dumps(plain)) == plain
    assert "name" not in plain
    assert plain["model"] == "models/tiny"
    assert plain["precision"] == "fp32"
    assert plain["speculative"] == {"method": "ngram", "draft_len": 2, "model": None}
    assert plain["engine_args"] == [["threads", 2]]


def test_a_build_has_an_empty_canonical_form() -> None:
    assert canonical(BuildWork("build")) == {}


def test_a_hash_stays_what_it_was() -> None:
    assert short_hash({"b": [1, 2.5, None, True], "a": "x"}) == "89e790eedaf1aca8"


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=5))
def test_the_order_of_keys_does_not_change_a_hash(data: dict[str, Any]) -> None:
    backwards = dict(reversed(data.items()))

    assert short_hash(backwards) == short_hash(data)
    assert len(short_hash(data)) == 16
