"""Which instrument measured figures, so that those of different ones are never compared silently."""

from __future__ import annotations

from collections.abc import Iterable

from perfgate.record import Origin

OURS = "perfgate"  # the instrument of everything that was not imported
_SHOWN = 3  # files of an origin that are named; the others are counted


def instrument_of(origin: Origin | None) -> str:
    """The program that measured."""
    return origin.instrument if origin else OURS


def why_not_comparable(stored: Origin | None, now: Origin | None) -> str | None:
    """Why figures must not be compared, or None where one instrument measured both."""
    before, after = instrument_of(stored), instrument_of(now)
    if before == after:
        return None
    return (
        f"the baseline was measured by {before}, this run by {after}: figures of different instruments are not "
        "compared; measure both with one"
    )


def joined(earlier: Origin | None, later: Origin | None) -> Origin | None:
    """The origin of sessions that are kept together; both are of one instrument."""
    if earlier is None or later is None:
        return later
    untold = tuple(dict.fromkeys((*earlier.untold, *later.untold)))
    return Origin(later.instrument, {**earlier.files, **later.files}, untold)


def repeated_file(stored: Origin | None, now: Origin | None) -> str | None:
    """The name of an imported file whose very bytes were imported before, or None."""
    known = set(stored.files.values()) if stored else set()
    return next((name for name, digest in now.files.items() if digest in known), None) if now else None


def told(side: str, origins: Iterable[Origin | None]) -> list[str]:
    """Lines for people on imported figures; `side` is what they are of: 'this run', 'the baseline'."""
    by_instrument: dict[str, Origin] = {}
    for one in origins:
        if one is not None:
            by_instrument[one.instrument] = joined(by_instrument.get(one.instrument), one) or one
    return [
        f"figures of {side} were imported, measured by {name}: {_files(origin)}; not told: "
        f"{', '.join(origin.untold) or 'nothing'} (docs/importing.md)"
        for name, origin in by_instrument.items()
    ]


def _files(origin: Origin) -> str:
    named = [f"{name} (sha256 {digest[:12]})" for name, digest in origin.files.items()]
    more = [f"{len(named) - _SHOWN} more"] if len(named) > _SHOWN else []
    return ", ".join([*named[:_SHOWN], *more])
