"""What tokens cost: from measured throughput and the price of a device's hour, and the energy where it was measured."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perfgate.advising.sources import Sources
from perfgate.case import Case
from perfgate.errors import UsageError
from perfgate.versus import around

_SPEED = "output_tokens_per_s"
_ENERGY = ("gpu_energy_j_per_token", "energy_j_per_token")
_HOUR_S, _MILLION = 3600, 1e6


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """A case's output tokens: how many a second over `rounds`, and what a million of them cost.

    price: in the currency of the price that was given; low, high: its 95 % interval over rounds, None of one round.
    price None where no price was given. devices: how many the engine takes, each at that price. energy_j: a token's;
    None where not measured.
    """

    case: str
    run: str
    tokens_per_s: float
    rounds: int
    devices: int
    price: float | None = None
    low: float | None = None
    high: float | None = None
    energy_j: float | None = None


def parse_price(text: str | None) -> float | None:
    """The price of a device's hour: '2.50/h' or '2.50'; None where none was given.

    Raises:
        UsageError: the text is no positive price.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(?:/h)?", text.strip())
    if found is None or not float(found[1]) > 0:
        raise UsageError(f"--price: found '{text}', expected the price of a device's hour, such as 2.50/h")
    return float(found[1])


def token_prices(sources: Sources, cases: Sequence[Case], price_per_h: float | None) -> list[TokenPrice]:
    """One for each case that generated text; the cheapest first, an engine's devices counted."""
    found = [one for case in cases for one in _token_price(sources, case, price_per_h)]
    return sorted(found, key=lambda one: one.devices / one.tokens_per_s)


def _token_price(sources: Sources, case: Case, price_per_h: float | None) -> Iterator[TokenPrice]:
    found = sources.of(case, _SPEED)
    if found is None:
        return
    source, values = found
    logs = np.log([one.value for one in values])
    devices = case.engine.tp * case.engine.pp
    energies = (sources.values(source, case, name) for name in _ENERGY)
    energy = next(([one.value for one in mine] for mine in energies if mine), None)
    speed = math.exp(float(logs.mean()))
    made = TokenPrice(
        case.id, source.name, speed, len(values), devices,
        energy_j=math.exp(float(np.log(energy).mean())) if energy else None,
    )  # fmt: skip
    yield made if price_per_h is None else _priced(made, logs.tolist(), price_per_h)


def _priced(one: TokenPrice, logs: Sequence[float], price_per_h: float) -> TokenPrice:
    """The price of a million tokens is that of the seconds that they take, on every device."""
    price = price_per_h * one.devices / _HOUR_S * _MILLION / one.tokens_per_s
    low = high = None
    if len(logs) > 1:
        error = float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
        times = around(0.0, error, len(logs) - 1)
        low, high = (price * end for end in (times.low or 1.0, times.high or 1.0))
    return replace(one, price=price, low=low, high=high)
