"""The subscriber's events: frames that are missing, nodes that restart, streams that stall, stop and resume."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from skelanon.stream.subscriber import Event, Gap, Restart, Resume, Stall, Subscriber

if TYPE_CHECKING:
    from tests.conftest import RawNode

pytestmark = pytest.mark.timeout(30)

PATIENT_MS = 10_000
"""Far longer than any message takes; only a failing test waits for it."""


def sequences(subscriber: Subscriber, count: int) -> list[int]:
    frames = [subscriber.read(PATIENT_MS) for _ in range(count)]
    return [frame.sequence for frame in frames if frame is not None]


def test_closing_in_an_event_ends_the_reading(raw_node: RawNode) -> None:
    subscriber = Subscriber(raw_node.endpoint, on_event=lambda event: subscriber.close())
    raw_node.await_subscription()
    raw_node.frame(0)
    raw_node.frame(5)
    raw_node.frame(6)
    assert [frame.sequence for frame in subscriber] == [0, 5]


def test_a_gap_is_reported(raw_node: RawNode, subscriber: Subscriber, events: list[Event]) -> None:
    for sequence in (3, 4, 9):
        raw_node.frame(sequence)
    frames = [subscriber.read(PATIENT_MS) for _ in range(3)]
    assert [frame.lost for frame in frames if frame is not None] == [0, 0, 4]
    assert events == [Gap("hall", 4)]
    assert subscriber.streams["hall"].lost == 4


def test_a_restart_is_reported_and_what_was_missed_of_the_new_run(
    raw_node: RawNode, subscriber: Subscriber, events: list[Event]
) -> None:
    raw_node.schema()
    raw_node.status("ok")
    raw_node.frame(100)
    assert sequences(subscriber, 1) == [100]
    assert subscriber.streams["hall"].schema is not None
    raw_node.epoch = 2
    raw_node.frame(2)
    frame = subscriber.read(PATIENT_MS)
    assert frame is not None
    assert (frame.epoch, frame.lost) == (2, 2)
    assert events == [Restart("hall"), Gap("hall", 2)]
    stats = subscriber.streams["hall"]
    assert (stats.restarts, stats.schema, stats.status) == (1, None, None)


def test_a_node_that_comes_back_is_found_again(
    make_raw_node: Callable[..., RawNode], raw_node: RawNode, subscriber: Subscriber, events: list[Event]
) -> None:
    raw_node.frame(5)
    assert sequences(subscriber, 1) == [5]
    raw_node.close()
    again = make_raw_node(raw_node.endpoint)
    again.epoch = 2
    again.await_reconnection(subscriber)
    again.frame(0)
    assert sequences(subscriber, 1) == [0]
    assert events == [Restart("hall")]


def test_a_stall_is_found_while_waiting_and_ends_with_a_frame(raw_node: RawNode, events: list[Event]) -> None:
    with Subscriber(raw_node.endpoint, on_event=events.append, stall_after_s=0.1) as subscriber:
        raw_node.await_subscription()
        raw_node.frame(0)
        assert sequences(subscriber, 1) == [0]
        raw_node.status("waiting")  # a status is no sign of life
        assert subscriber.read(300) is None
        assert [type(event) for event in events] == [Stall]
        assert isinstance(events[0], Stall)
        assert events[0].seconds >= 0.1
        assert (subscriber.streams["hall"].stalled, subscriber.streams["hall"].stalls) == (True, 1)
        raw_node.frame(1, state="empty", bodies=[])  # an empty frame is
        assert sequences(subscriber, 1) == [1]
        assert events[1:] == [Resume("hall")]
        assert not subscriber.streams["hall"].stalled


def test_one_stream_may_stall_while_another_goes_on(raw_node: RawNode, events: list[Event]) -> None:
    with Subscriber(raw_node.endpoint, on_event=events.append, stall_after_s=0.1) as subscriber:
        raw_node.await_subscription()
        raw_node.frame(0, "door")
        assert sequences(subscriber, 1) == [0]
        for sequence in range(1000):
            raw_node.frame(sequence)
            assert sequences(subscriber, 1) == [sequence]
            subscriber.read(5)
            if subscriber.streams["door"].stalled:
                break
        assert any(isinstance(event, Stall) and event.stream == "door" for event in events)
        assert not subscriber.streams["hall"].stalled


def test_an_asked_for_stream_that_never_comes_is_a_stall(raw_node: RawNode, events: list[Event]) -> None:
    with Subscriber(raw_node.endpoint, ["hall"], on_event=events.append, stall_after_s=0.05) as subscriber:
        assert subscriber.read(100) is None
        assert [event.stream for event in events] == ["hall"]


def test_frames_that_waited_for_the_reader_are_no_stall(raw_node: RawNode, events: list[Event]) -> None:
    with Subscriber(raw_node.endpoint, on_event=events.append, stall_after_s=0.05) as subscriber:
        raw_node.await_subscription()
        raw_node.frame(0)
        assert sequences(subscriber, 1) == [0]
        raw_node.frame(1)
        assert subscriber._inlet.socket.poll(PATIENT_MS)  # it is there...
        threading.Event().wait(0.1)  # ...and the reader is busy with something else
        assert sequences(subscriber, 1) == [1]
        assert events == []


def test_a_stopped_stream_does_not_stall(raw_node: RawNode, events: list[Event]) -> None:
    with Subscriber(raw_node.endpoint, on_event=events.append, stall_after_s=0.2) as subscriber:
        raw_node.await_subscription()
        raw_node.frame(0)
        raw_node.status("stopped")
        raw_node.frame(1, "door")
        assert sequences(subscriber, 2) == [0, 1]
        assert subscriber.read(300) is None
        assert [event.stream for event in events] == ["door"]
        assert subscriber.streams["hall"].stopped


def test_a_stopped_stream_that_starts_again_has_not_stalled(raw_node: RawNode, events: list[Event]) -> None:
    with Subscriber(raw_node.endpoint, on_event=events.append, stall_after_s=0.2) as subscriber:
        raw_node.await_subscription()
        raw_node.status("stopped")
        assert subscriber.read(300) is None
        raw_node.epoch = 2
        raw_node.schema()
        assert subscriber.read(30) is None
        assert events == [Restart("hall")]


def test_events_are_logged_by_default(raw_node: RawNode, caplog: pytest.LogCaptureFixture) -> None:
    with Subscriber(raw_node.endpoint) as subscriber, caplog.at_level(logging.WARNING):
        raw_node.await_subscription()
        raw_node.frame(0)
        raw_node.frame(3)
        assert sequences(subscriber, 2) == [0, 3]
    assert caplog.messages == ["Gap(stream='hall', lost=2)"]
