"""The limits of a device, what a case asks of it, and how near to the limits the case came.

A roofline (Williams, Waterman, Patterson, CACM 52(4), 2009) has two numbers: how many bytes a device moves in a second
and how many operations it does. Work that moves B bytes and does F operations cannot take less than
max(B / bandwidth, F / rate) seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rate:
    """A measured rate a second: the median of `repeats`, the lowest and the highest of them."""

    median: float
    low: float
    high: float
    repeats: int

    @property
    def spread(self) -> float:
        """From the lowest to the highest, as a share of the median."""
        return (self.high - self.low) / self.median


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What one device reaches: measured, never a data sheet.

    copy_bytes_per_s: bytes read plus bytes written by copies of buffers that fit in no cache, as STREAM counts.
    matrix_flops: floating-point (integer for int8) operations a second of large matrix products, by precision; a
    multiplication and an addition are two. cache_bytes: the last-level cache. untold: what was not measured, and why.
    """

    device: str
    product: str
    made_with: Mapping[str, str]  # versions of what measured, and of the driver
    measured: str  # UTC, ISO 8601
    copy_bytes_per_s: Rate
    matrix_flops: Mapping[str, Rate]
    cache_bytes: int | None = None
    untold: Mapping[str, str] = field(default_factory=dict)
