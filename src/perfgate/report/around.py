"""What surrounds the figures: how this environment differs from the baseline's, and how engines were prepared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perfgate.comparison import Comparison
from perfgate.record import PreparedInfo

_ABSENT = "-"


@dataclass(frozen=True, slots=True)
class Fact:
    """One property of the environment, of the baseline and now."""

    name: str
    before: str
    now: str
    is_changed: bool


def facts(comparison: Comparison) -> list[Fact]:
    """Device, commit, versions and GPU settings on both sides, what differs first; nothing does without a baseline."""
    here, base = comparison.environment, comparison.baseline
    names = sorted({*here.versions, *(base.versions if base else {})})
    now, then = here.settings, base.settings if base else {}
    judged = [*now, *then] if then else []  # baselines of before they were kept differ in nothing
    found = [
        ("product", base.product if base else "", here.product),
        ("commit", base.commit if base else "", here.commit),
        *((name, base.versions.get(name, "") if base else "", here.versions.get(name, "")) for name in names),
        *((name, then.get(name, ""), now.get(name, "")) for name in dict.fromkeys(judged)),
    ]
    made = [Fact(name, old or _ABSENT, new or _ABSENT, base is not None and old != new) for name, old, new in found]
    always = [
        *(Fact(name, _ABSENT, told, is_changed=False) for name, told in now.items() if not then),
        Fact("device", here.device if base else _ABSENT, here.device, is_changed=False),
        Fact("made", base.accepted if base else _ABSENT, comparison.started, is_changed=False),
        Fact("cores", _ABSENT, ", ".join(map(str, here.cpus)) or "not pinned", is_changed=False),
        Fact("baseline file", base.path if base else _ABSENT, _ABSENT, is_changed=False),
    ]
    return sorted(made, key=lambda one: not one.is_changed) + always


def changed(found: Sequence[Fact]) -> str:
    """What differs from the baseline's environment, in a line; empty where nothing is known to."""
    return "; ".join(f"{one.name} {one.before} \N{RIGHTWARDS ARROW} {one.now}" for one in found if one.is_changed)


@dataclass(frozen=True, slots=True)
class Bar:
    """An engine and its phases, each with its seconds, and where it begins and how long it is in per cent."""

    prepared: PreparedInfo
    pieces: tuple[tuple[str, float, float, float], ...]


def bars(prepared: Sequence[PreparedInfo]) -> list[Bar]:
    """One per engine, all on the scale of the slowest."""
    longest = max((one.build_s for one in prepared), default=0.0)
    return [_bar(one, longest) for one in prepared]


def _bar(one: PreparedInfo, longest: float) -> Bar:
    pieces, begin = [], 0.0
    for name, seconds in one.phases.items():
        size = 100 * seconds / longest if 0 < longest < float("inf") else 0.0
        pieces.append((name, seconds, begin, size))
        begin += size
    return Bar(one, tuple(pieces))
