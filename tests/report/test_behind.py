from __future__ import annotations

from pathlib import Path

from perfgate.baselines import Baseline, BaselineCase, Provenance, Series
from perfgate.measured import Point
from perfgate.recall import Past
from perfgate.report.behind import Behind


def test_accepted_rounds_of_all_sessions_in_order() -> None:
    case = BaselineCase("h", "k", {"ttft_p50": Series("s", ((1.0, 2.0), (3.0,)))})
    stored = Path("b.json"), Baseline("s", "d", Provenance("", "", "", {}, ""), {"e-w": case})
    trails = {("e-w", "ttft_p50"): (Point("", "", "", "", 1.0),)}

    found = Behind.of(stored, Past(trails=trails))

    assert found == Behind({("e-w", "ttft_p50"): (1.0, 2.0, 3.0)}, trails)


def test_without_a_baseline_nothing_is_stored() -> None:
    assert Behind.of(None, Past()) == Behind()
