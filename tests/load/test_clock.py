from __future__ import annotations

import struct
import time

from perfgate.load.clock import Offset, Stamps, stamps, take_offset

SECOND = 1_000_000_000


def timespecs(*real_ns: int) -> bytes:
    return b"".join(struct.pack("qq", *divmod(one, SECOND)) for one in real_ns)


def test_a_kernel_stamp_is_told_on_the_monotonic_clock() -> None:
    offsets = [Offset(0, 50 * SECOND), Offset(2 * SECOND, 50 * SECOND)]

    assert stamps([1_000, 5_000], timespecs(50 * SECOND + 900, 50 * SECOND + 4_000), offsets) == Stamps((900, 4_000), 2)


def test_an_offset_that_drifts_is_drawn_between_its_readings() -> None:
    offsets = [Offset(0, SECOND), Offset(1_000_000, SECOND + 100)]

    assert stamps([500_000], timespecs(SECOND + 490_050), offsets) == Stamps((490_000,), 1)


def test_the_offset_is_level_before_the_first_reading_and_behind_the_last() -> None:
    offsets = [Offset(1_000, SECOND), Offset(2_000, SECOND + 100), Offset(3_000, SECOND + 300)]
    own = [500, 1_600, 2_600, 3_500]
    real = timespecs(SECOND + 400, SECOND + 1_560, SECOND + 2_720, SECOND + 3_700)

    assert stamps(own, real, offsets) == Stamps((400, 1_500, 2_500, 3_400), 4)


def test_the_own_stamp_stands_where_the_kernel_gave_none() -> None:
    assert stamps([10, 20], timespecs(0, SECOND + 15), [Offset(0, SECOND)]) == Stamps((10, 15), 1)
    assert stamps([10, 20], timespecs(0, 0), [Offset(0, SECOND)]) == Stamps((10, 20), 0)
    assert stamps([10, 20], timespecs(SECOND + 5, SECOND + 15), []) == Stamps((10, 20), 0)


def test_a_stamp_after_the_own_or_before_the_last_is_not_used() -> None:
    assert stamps([10, 20], timespecs(SECOND + 11, SECOND + 9), [Offset(0, SECOND)]) == Stamps((10, 20), 0)


def test_a_clock_that_was_set_between_two_readings_is_not_used() -> None:
    offsets = [Offset(0, SECOND), Offset(1_000, 3 * SECOND), Offset(9_000, 3 * SECOND)]

    assert stamps([500, 5_000], timespecs(SECOND + 400, 3 * SECOND + 4_000), offsets) == Stamps((500, 4_000), 1)


def test_the_offset_is_that_of_the_two_clocks() -> None:
    found = take_offset()

    assert abs(found.offset_ns - (time.time_ns() - time.monotonic_ns())) < 50_000_000
