"""The beat of replay and of the synthetic population, on a clock that the test moves."""

import pytest

from skelanon.sensors.pacing import Pacer


class Clock:
    """A clock that moves when somebody sleeps; each sleep oversleeps by `slack` seconds."""

    def __init__(self, slack: float = 0.0) -> None:
        self.now = 100.0
        self.slack = slack
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds + self.slack


def test_oversleeping_does_not_add_up() -> None:
    clock = Clock(slack=0.003)
    pacer = Pacer(10.0, clock.monotonic, clock.sleep)
    assert all(pacer.wait(1000) for _ in range(101))
    assert clock.now == pytest.approx(100.0 + 10.0, abs=0.004)


def test_the_first_beat_is_due_at_once() -> None:
    clock = Clock()
    assert Pacer(10.0, clock.monotonic, clock.sleep).wait(0)
    assert clock.slept == []


def test_never_waits_longer_than_asked_and_keeps_the_deadline() -> None:
    clock = Clock()
    pacer = Pacer(10.0, clock.monotonic, clock.sleep)
    pacer.wait(0)
    assert [pacer.wait(30) for _ in range(4)] == [False, False, False, True]
    assert max(clock.slept) <= 0.030
    assert clock.now == pytest.approx(100.1)
    assert not pacer.wait(0)


def test_a_reader_one_period_late_catches_up_and_a_later_one_starts_a_new_beat() -> None:
    clock = Clock()
    pacer = Pacer(10.0, clock.monotonic, clock.sleep)
    pacer.wait(0)
    clock.now += 0.15  # half a period behind the beat at .1: that one at once, the next at .2
    assert pacer.wait(0)
    assert pacer.wait(1000)
    assert clock.now == pytest.approx(100.2)
    clock.now += 5.0  # far behind: no burst of fifty frames
    assert pacer.wait(0)
    assert not pacer.wait(0)
    assert pacer.wait(1000)
    assert clock.now == pytest.approx(105.3)
