"""What subscribers may ask of a socket, counted without one."""

import random

from hypothesis import given
from hypothesis import strategies as st

from skelanon.stream.subscriptions import BURST, MAX_FOREIGN_BYTES, PER_S, Subscriptions

TOPICS = [
    f"skelanon/1/{stream}/{kind}".encode() for stream in ("a", "ab", "b") for kind in ("frame", "schema", "status")
]


def test_a_prefix_counts_for_the_topics_that_begin_with_it() -> None:
    found = Subscriptions(TOPICS)
    for prefix, topics in (
        (b"", TOPICS),
        (b"skelanon/1/a/", TOPICS[:3]),
        (b"skelanon/1/a", TOPICS[:6]),
        (b"skelanon/1/ab/frame", TOPICS[3:4]),
        (b"skelanon/1/ab/frames", []),
        (b"skelanon/2/", []),
        (b"\xff", []),
    ):
        assert found.take(b"\1" + prefix, "client", 0.0)
        assert {topic for topic in TOPICS if found.counts[topic]} == set(topics) == found.newcomers
        assert found.take(b"\0" + prefix, None, 0.0)
        assert not +found.counts
        found.newcomers.clear()


@given(st.lists(st.binary(max_size=30)))
def test_whatever_is_sent_counts_never_fall_below_none(messages: list[bytes]) -> None:
    found = Subscriptions(TOPICS)
    for message in messages:
        found.take(message, "client", 0.0)
        found.take(b"\0" + message, None, 0.0)
    assert min(found.counts.values(), default=0) >= 0
    assert found.newcomers <= set(TOPICS)


def test_what_is_not_there_may_be_asked_for_within_limits() -> None:
    found = Subscriptions(TOPICS)
    prefixes = [b"%06d" % number + bytes(94) for number in range(MAX_FOREIGN_BYTES // 100)]
    for _ in range(3):  # who comes back, or another client, may ask for the same
        assert all(found.take(b"\1" + prefix, f"client {prefix[5]}", 0.0) for prefix in prefixes)
    assert not found.take(b"\1another" + bytes(100), "client", 0.0)
    found.clear()
    for _ in range(3):
        assert all(found.take(kind + prefix, f"{prefix[5]}", 0.0) for kind in (b"\1", b"\0") for prefix in prefixes)


def test_a_client_may_send_so_much_and_another_as_much_as_ever() -> None:
    found = Subscriptions(TOPICS)
    kinds = random.Random(0)
    assert all(found.take(kinds.choice((b"\1", b"\0", b"\2", b"")), "one", 0.0) for _ in range(BURST))
    assert not found.take(b"\1", "one", 0.0)
    assert found.take(b"\1", "other", 0.0)
    assert all(found.take(b"\0", None, 0.0) for _ in range(2 * BURST))  # what ZeroMQ says of those who are gone
    assert [found.take(b"\1", "one", 10 / PER_S) for _ in range(11)] == [True] * 9 + [False] * 2


def test_clients_that_are_many_take_no_memory() -> None:
    found = Subscriptions(TOPICS)
    for number in range(3000):
        assert found.take(b"\1", str(number), number / 1000)
    assert len(found._allowances) == 1024
