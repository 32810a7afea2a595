"""The device's clock and the host's: delays on the way, drift, jumps. No clock is read here."""

import numpy as np
import pytest

from skelanon.sensors.device_clock import JUMP_NS, PATIENCE_NS, WINDOW_NS, DeviceClock

SECOND_NS = 1_000_000_000
MS_NS = 1_000_000
PERIOD_USEC = 33_333
START_USEC = 8_000_000
HOST_NS = 77_000 * SECOND_NS
"""The host's clock when the device's stood at 0."""


def captured(device_usec: int) -> int:
    """The true time of capture on the host's clock."""
    return HOST_NS + 1000 * device_usec


def test_times_are_those_of_the_least_delay_and_increase() -> None:
    rng = np.random.default_rng(0)
    clock = DeviceClock()
    errors_ns = []
    last_ns = 0
    for number in range(3000):
        usec = START_USEC + PERIOD_USEC * number
        delay_ns = 12 * MS_NS + int(rng.exponential(8 * MS_NS))
        found_ns, jumped = clock.captured_ns(usec, captured(usec) + delay_ns)
        assert jumped == (number == 0)
        assert found_ns > last_ns
        last_ns = found_ns
        errors_ns.append(found_ns - captured(usec))
    assert max(errors_ns[200:]) < 13 * MS_NS  # of delays up to 70 ms
    assert min(errors_ns) >= 12 * MS_NS  # the part that all frames share cannot be seen


@pytest.mark.parametrize("ppm", [-100, 100])
def test_a_clock_that_drifts_is_followed_without_a_jump(ppm: int) -> None:
    clock = DeviceClock()
    for number in range(60 * 60 * 5):  # an hour at 5 Hz: it drifts by 360 ms
        true_ns = HOST_NS + number * SECOND_NS // 5
        usec = START_USEC + number * (200_000 + ppm * 200_000 // 1_000_000)
        found_ns, jumped = clock.captured_ns(usec, true_ns)
        assert jumped == (number == 0)
        assert abs(found_ns - true_ns) <= 2 * WINDOW_NS * abs(ppm) // 1_000_000 + 2000


def test_frames_that_arrive_late_for_a_while_keep_their_times() -> None:
    clock = DeviceClock()
    for number in range(300):
        usec = START_USEC + PERIOD_USEC * number
        delay_ns = 1900 * MS_NS - PERIOD_USEC * 1000 * (number - 100) if 100 <= number < 150 else 0
        assert clock.captured_ns(usec, captured(usec) + max(delay_ns, 0)) == (captured(usec), number == 0)


@pytest.mark.parametrize(
    "jump_usec", [-5_000_000, -40_000, JUMP_NS // 1000 + 1, 3_600_000_000], ids=["reset", "back", "forth", "far"]
)
def test_a_jump_of_the_device_is_told_once_and_followed_at_once(jump_usec: int) -> None:
    clock = DeviceClock()
    for number in range(100):
        true_usec = START_USEC + PERIOD_USEC * number
        usec = true_usec + (jump_usec if number >= 50 else 0)
        assert clock.captured_ns(usec, captured(true_usec)) == (captured(true_usec), number in (0, 50))


def test_a_clock_that_stood_still_is_believed_after_a_while() -> None:
    clock = DeviceClock()
    stopped_usec = 3_000_000  # and went on from where it was: no frame goes back, all seem late
    jumps = []
    for number in range(300):
        usec = START_USEC + PERIOD_USEC * number
        arrived_ns = captured(usec + (stopped_usec if number >= 100 else 0))
        found_ns, jumped = clock.captured_ns(usec, arrived_ns)
        if jumped:
            jumps.append(number)
    assert found_ns == arrived_ns
    assert jumps == [0, 100 + PATIENCE_NS // (1000 * PERIOD_USEC) + 1]


def test_two_frames_of_the_same_time_stay_in_order() -> None:
    clock = DeviceClock()
    first_ns, _ = clock.captured_ns(START_USEC, HOST_NS)
    assert clock.captured_ns(START_USEC, HOST_NS + MS_NS) == (first_ns + 1, False)
