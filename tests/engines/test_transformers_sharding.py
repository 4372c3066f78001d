"""Which models are cut over ranks; needs neither torch nor transformers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from perfgate.engines.transformers_sharding import WHOLE, Share, cut
from perfgate.errors import EngineError


@pytest.mark.parametrize("plan", [None, {}])
def test_a_model_without_a_plan_is_refused(plan: object) -> None:
    with pytest.raises(EngineError, match="no tensor-parallel plan for SimpleNamespace: set tp to 1"):
        cut(SimpleNamespace(tp_plan=plan), Share(0, 2))


def test_a_plan_of_other_layers_is_refused() -> None:
    plan = {"model.layers.*.mlp.experts": "moe_tp_experts", "model.layers.*.self_attn.q_proj": "colwise"}

    with pytest.raises(EngineError, match="holds moe_tp_experts: this backend cuts plain linear layers alone"):
        cut(SimpleNamespace(tp_plan=plan), Share(1, 2))


def test_the_whole_model_needs_no_plan() -> None:
    cut(SimpleNamespace(), WHOLE)
