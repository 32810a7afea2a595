"""The mailbox: newest wins and is counted, lossless waits, notices are never lost."""

import threading

import pytest

from skelanon.sensors.frame import BodyFrame, no_bodies
from skelanon.stream.mailbox import LOSSLESS_DEPTH, Mailbox


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    mailbox = Mailbox([False])
    for number in range(5):
        mailbox.put(0, no_bodies(number))
    (delivery,) = mailbox.take(0)
    assert isinstance(delivery.content, BodyFrame)
    assert (delivery.content.captured_ns, delivery.dropped) == (4, 4)
    mailbox.put(0, no_bodies(5))
    assert mailbox.take(0)[0].dropped == 0
    assert mailbox.take(0) == []


def test_all_that_waits_is_taken_together() -> None:
    mailbox = Mailbox([False, True, False])
    for number in range(3):
        mailbox.put(1, no_bodies(number))
    mailbox.put(2, no_bodies(7))
    assert [delivery.sensor for delivery in mailbox.take(0)] == [1, 1, 1, 2]
    assert mailbox.take(0) == []


def test_notices_are_kept_in_order_between_frames() -> None:
    mailbox = Mailbox([False])
    mailbox.put(0, no_bodies(1))
    mailbox.put(0, "fault")
    mailbox.put(0, no_bodies(2))
    mailbox.put(0, no_bodies(3))
    mailbox.put(0, "ended")
    contents = mailbox.take(0)
    assert [c.content if isinstance(c.content, str) else c.content.captured_ns for c in contents] == [
        1,
        "fault",
        3,
        "ended",
    ]
    assert [c.dropped for c in contents] == [0, 0, 1, 0]


def test_a_lossless_sensor_waits_for_room_and_loses_nothing() -> None:
    mailbox = Mailbox([True])
    frames = 5 * LOSSLESS_DEPTH

    def write() -> None:
        for number in range(frames):
            mailbox.put(0, no_bodies(number))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    seen: list[int] = []
    while len(seen) < frames:
        for delivery in mailbox.take(5):
            assert isinstance(delivery.content, BodyFrame)
            assert delivery.dropped == 0
            seen.append(delivery.content.captured_ns)
    assert seen == list(range(frames))
    writer.join(5)
    assert not writer.is_alive()


def test_close_frees_a_writer_that_waits() -> None:
    mailbox = Mailbox([True])
    for number in range(LOSSLESS_DEPTH):
        mailbox.put(0, no_bodies(number))
    writer = threading.Thread(target=mailbox.put, args=(0, no_bodies(0)), daemon=True)
    writer.start()
    mailbox.close()
    writer.join(5)
    assert not writer.is_alive()


def test_a_failed_thread_ends_the_taker_with_its_cause() -> None:
    mailbox = Mailbox([False])
    failure = KeyError("mine")
    mailbox.fail(failure)
    with pytest.raises(RuntimeError, match="a sensor's thread ended") as caught:
        mailbox.take(5)
    assert caught.value.__cause__ is failure


def test_a_frame_takes_over_the_discontinuity_of_the_one_it_overwrites() -> None:
    mailbox = Mailbox([False])
    mailbox.put(0, no_bodies(1, discontinuity=True))
    for number in (2, 3):
        mailbox.put(0, no_bodies(number))
    (delivery,) = mailbox.take(0)
    assert isinstance(delivery.content, BodyFrame)
    assert (delivery.content.captured_ns, delivery.content.discontinuity, delivery.dropped) == (3, True, 2)
