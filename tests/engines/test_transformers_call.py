"""What rank 0 tells the other ranks; needs neither torch nor transformers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from perfgate.case import EngineSpec
from perfgate.engines.transformers_call import MEMORY, Call, Kind, RankJob, calls
from perfgate.engines.transformers_sharding import Share
from perfgate.record import decode, encode

IDS = arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=5))
CALLS = st.lists(st.builds(Call, st.just(Kind.FORWARD), IDS, st.booleans(), st.integers(0, 9)), max_size=4)


@given(CALLS)
def test_calls_come_as_they_were_told(told: list[Call]) -> None:
    found = list(calls(io.BytesIO(b"".join(call.packed() for call in [*told, MEMORY]))))

    assert [(one.kind, one.has_new_cache, one.keep) for one in found] == [
        *((one.kind, one.has_new_cache, one.keep) for one in told),
        (Kind.MEMORY, False, 0),
    ]
    assert all(np.array_equal(one.ids, other.ids) for one, other in zip(found, told, strict=False))


@pytest.mark.parametrize("left", [1, 39, 41, 55])
def test_a_call_that_was_cut_off_is_the_end(left: int) -> None:
    whole = Call(Kind.FORWARD, np.zeros((1, 2), np.int64)).packed()

    assert len(list(calls(io.BytesIO(whole + whole[:left])))) == 1


def test_a_job_tells_the_share() -> None:
    job = RankJob(EngineSpec("hf", Path("model"), tp=2), Path("prepared"), Path("meet"), 4, 1)

    assert decode(encode(job), RankJob, "job").share == job.share == Share(1, 2)
