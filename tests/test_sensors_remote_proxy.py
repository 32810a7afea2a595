"""The encrypted raw link through somebody in the middle, who listens, repeats, cuts and holds back what passes."""

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skelanon.configs.schema import RemoteCurveSettings, RemoteSettings
from skelanon.sensors import BodyFrame, Interruption
from skelanon.sensors.keys import ClientKeys, create_keys, load_client_keys
from skelanon.sensors.remote import Remote, receiver, sender
from skelanon.sensors.remote.sender import Sender

MakeFrame = Callable[..., BodyFrame]


class Proxy:
    """Passes TCP connections on to a port of this machine, in a thread of its own, and keeps all bytes."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._pairs: dict[socket.socket, socket.socket] = {}
        self.pulled = False
        """The cable: nothing passes, no connection comes about, and none is closed."""
        self.upward: list[bytearray] = []
        """Of each connection: what the sender sent."""
        self.passed = bytearray()
        """What went either way."""
        self.cut = threading.Event()
        """Close all connections, once."""
        self._record: dict[socket.socket, bytearray] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self.cut.is_set():
                for end in list(self._pairs):
                    self._close(end)
                self.cut.clear()
            if self.pulled:
                time.sleep(0.01)
                continue
            for key, _ in self._selector.select(0.02):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._pairs:
                    self._pass(key.fileobj)
        for end in list(self._pairs):
            self._close(end)
        self._listener.close()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(self._target)
        self.upward.append(bytearray())
        self._record[near] = self.upward[-1]
        for one, other in ((near, far), (far, near)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass(self, end: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            data = end.recv(65536)
            self._pairs[end].sendall(data)
        if not data:
            self._close(end)
            return
        self.passed += data
        if end in self._record:
            self._record[end] += data

    def _close(self, end: socket.socket) -> None:
        for one in (end, self._pairs.pop(end, end)):
            self._pairs.pop(one, None)
            with suppress(KeyError, ValueError):
                self._selector.unregister(one)
            one.close()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)


class Between:
    """A remote sensor, a sender, and a proxy between them; frames are numbered by their track id."""

    def __init__(self, folder: Path, body_frame: MakeFrame, *, encrypted: bool, stack: ExitStack) -> None:
        keys: ClientKeys | None = None
        curve: RemoteCurveSettings | None = None
        if encrypted:
            node, node_secret = create_keys(folder, "node")
            public, secret = create_keys(folder, "sender")
            keys = load_client_keys(secret, node)
            curve = RemoteCurveSettings(secret_key=str(node_secret), sender=str(public))
        self.sensor = stack.enter_context(
            Remote(RemoteSettings(kind="remote", endpoint="tcp://127.0.0.1:*", curve=curve))
        )
        self.proxy = stack.enter_context(closing(Proxy(int(self.sensor.endpoint.rpartition(":")[2]))))
        self.sender = stack.enter_context(Sender(f"tcp://127.0.0.1:{self.proxy.port}", keys, "synthetic"))
        self._body_frame = body_frame
        self.sent: list[BodyFrame] = []

    def turn(self) -> BodyFrame | None:
        """A frame offered, and what arrives meanwhile. Checks that no time lies ahead."""
        number = len(self.sent)
        self.sent.append(replace(self._body_frame(number, seed=number), captured_ns=time.time_ns()))
        self.sender.offer(self.sent[-1])
        self.sender.serve(0.005)
        try:
            read = self.sensor.read(5)
        except Interruption:
            return None
        assert read is None or read.captured_ns <= time.time_ns()
        return read

    def next_frame(self, within_s: float = 20.0) -> BodyFrame:
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s:
            if (read := self.turn()) is not None:
                return read
        raise AssertionError(f"no frame came within {within_s} s")


@pytest.fixture
def between(tmp_path: Path, body_frame: MakeFrame) -> Iterator[Callable[..., Between]]:
    with ExitStack() as stack:
        yield lambda *, encrypted=True: Between(tmp_path, body_frame, encrypted=encrypted, stack=stack)


def joints_in(passed: bytes, frames: list[BodyFrame]) -> int:
    """How many joints of frames stand in the bytes."""
    return sum(joint.tobytes() in passed for frame in frames for joint in np.ascontiguousarray(frame.joints[0], "<f4"))


@pytest.mark.parametrize("encrypted", [True, False])
def test_nothing_raw_can_be_read_on_the_way(encrypted: bool, between: Callable[..., Between]) -> None:
    link = between(encrypted=encrypted)
    for _ in range(30):
        link.next_frame()
    passed = bytes(link.proxy.passed)
    assert len(passed) > 30 * 400
    readable = [word in passed for word in (b"captured_ns", b"joints", b"tracking", b"hello", b"kinect-v2-25")]
    assert readable == [not encrypted] * 5
    found = joints_in(passed, link.sent)
    assert found == 0 if encrypted else found >= 25 * 30


def test_repeated_bytes_get_nobody_in(between: Callable[..., Between]) -> None:
    link = between()
    for _ in range(30):
        link.next_frame()
    (recorded,) = link.proxy.upward
    with socket.create_connection(("127.0.0.1", int(link.sensor.endpoint.rpartition(":")[2]))) as again:
        again.sendall(bytes(recorded))
        deadline_s = time.monotonic() + 10
        while link.sensor.refused == 0 and time.monotonic() < deadline_s:
            assert link.next_frame().track_ids == (len(link.sent) - 1,), "the stream goes on"
    assert link.sensor.refused > 0
    assert (link.sensor.receiver.repeated, link.sensor.receiver.malformed) == (0, 0)


def test_bytes_put_into_the_stream_break_it_and_are_no_frames(
    between: Callable[..., Between], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "SILENCE_S", 1.0)
    link = between()
    link.next_frame()
    (recorded,) = link.proxy.upward
    for end in list(link.proxy._record):
        link.proxy._pairs[end].sendall(bytes(recorded[-500:]))  # what has passed already, a second time
    for _ in range(100):
        read = link.turn()
        assert read is None or read.track_ids[0] > 0
    assert link.next_frame().track_ids[0] > 50
    assert link.sensor.receiver.repeated == 0


def test_a_connection_that_breaks_comes_back(between: Callable[..., Between]) -> None:
    link = between()
    link.next_frame()
    for _ in range(3):
        link.proxy.cut.set()
        before = len(link.sent)
        while link.proxy.cut.is_set():
            link.turn()
        read = link.next_frame()
        while not read.discontinuity:  # what was on the way when it broke
            read = link.next_frame()
        assert read.track_ids[0] >= before
    assert len(link.proxy.upward) >= 4


def test_after_a_pulled_cable_the_stream_resumes_and_nothing_old_comes(
    between: Callable[..., Between], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that were on the way are delivered by TCP once the cable is in again, and must not pass for new ones."""
    monkeypatch.setattr(receiver, "SILENCE_NS", 1_000_000_000)
    monkeypatch.setattr(sender, "SILENCE_S", 1.0)
    link = between()
    for _ in range(20):
        link.next_frame()
    link.proxy.pulled = True
    pulled_ns = time.time_ns()
    while time.time_ns() - pulled_ns < 3_000_000_000:
        read = link.turn()
        assert read is None or read.captured_ns - pulled_ns < 100_000_000
    assert not link.sensor.receiver.connected
    link.proxy.pulled = False
    plugged_ns = time.time_ns()
    for _ in range(30):
        read = link.next_frame()
        assert read.captured_ns > plugged_ns - 100_000_000
        assert link.sent[-1].captured_ns - read.captured_ns < 500_000_000
    assert joints_in(bytes(link.proxy.passed), link.sent) == 0


def test_a_short_stall_shows_in_the_times_and_is_over_at_once(between: Callable[..., Between]) -> None:
    link = between()
    for _ in range(20):
        link.next_frame()
    link.proxy.pulled = True
    stalled_s = time.monotonic() + 1.0
    while time.monotonic() < stalled_s:
        link.turn()
    link.proxy.pulled = False
    late = [(frame := link.next_frame(), time.time_ns() - frame.captured_ns) for _ in range(40)]
    numbers = [frame.track_ids[0] for frame, _ in late]
    assert numbers == sorted(numbers)
    assert 1 <= sum(delay_ns > 500_000_000 for _, delay_ns in late) <= receiver.WINDOW
    assert late[-1][1] < 200_000_000
    for frame, _ in late:  # true, however late
        assert abs(frame.captured_ns - link.sent[frame.track_ids[0]].captured_ns) < 60_000_000
