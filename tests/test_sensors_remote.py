"""The raw link on loopback: whatever its sender does, the sensor gives fresh frames with honest times, or nothing."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from skelanon.configs.schema import RemoteCurveSettings, RemoteSettings
from skelanon.sensors import BodyFrame, Interruption, LinkError, SensorError, create_sensor
from skelanon.sensors.keys import create_keys, load_client_keys
from skelanon.sensors.remote import Remote, wire
from skelanon.sensors.remote.frames import encode_frame
from skelanon.sensors.remote.receiver import PING_PERIOD_NS, WINDOW
from skelanon.sensors.remote.sender import Sender

MakeFrame = Callable[..., BodyFrame]


def remote(endpoint: str = "tcp://127.0.0.1:*", **more: Any) -> Remote:
    sensor = create_sensor(RemoteSettings(kind="remote", endpoint=endpoint, **more))
    assert isinstance(sensor, Remote)
    return sensor


class Pumped:
    """A sender with a thread of its own, which offers what it is told to."""

    def __init__(self, make: Callable[[], Sender]) -> None:
        self._make, self._stop, self.queue = make, threading.Event(), list[BodyFrame | str]()
        self.sender: Sender | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._make() as self.sender:
            while not self._stop.is_set():
                self.sender.serve(0.005)
                while self.queue:
                    item = self.queue.pop(0)
                    if isinstance(item, str):
                        self.sender.fault()
                    else:
                        self.sender.offer(item)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def sensor() -> Iterator[Remote]:
    with remote() as sensor:
        yield sensor


def frame_now(body_frame: MakeFrame, *ids: int, **more: Any) -> BodyFrame:
    return replace(body_frame(*ids, **more), captured_ns=time.time_ns())


def read_from(sensor: Remote, pumped: Pumped, frame: Callable[[], BodyFrame], *, within_s: float = 10.0) -> BodyFrame:
    """Offers frames until one arrives."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        if not pumped.queue:
            pumped.queue.append(frame())
        try:
            read = sensor.read(20)
        except Interruption:
            continue
        if read is not None:
            return read
    raise AssertionError("no frame came")


def read_on(sensor: Remote) -> None:
    """Reads as long as frames come."""
    while sensor.read(2000) is not None:
        pass


def test_what_arrives_is_what_was_seen(sensor: Remote, body_frame: MakeFrame) -> None:
    with closing(Pumped(lambda: Sender(sensor.endpoint, None, "azure_kinect"))) as pumped:
        read_from(sensor, pumped, lambda: frame_now(body_frame, 1))
        for bodies in range(7):
            sent = frame_now(body_frame, *range(72057594037931101, 72057594037931101 + bodies), seed=bodies)
            sent.tracking[: bodies // 2, ::3] = 1
            pumped.queue.append(sent)
            while (read := sensor.read(1000)) is not None and len(read.track_ids) != bodies:
                pass
            assert read is not None
            np.testing.assert_array_equal(read.joints, sent.joints)
            np.testing.assert_array_equal(read.tracking, sent.tracking)
            assert (read.track_ids, read.discontinuity) == (sent.track_ids, False)
            assert abs(read.captured_ns - sent.captured_ns) < 50_000_000
    receiver = sensor.receiver
    assert (receiver.malformed, receiver.late, receiver.repeated) == (0, 0, 0)


@pytest.mark.parametrize("hours", [-3, 0, 3, 2e5])
def test_the_senders_clock_may_be_anywhere_and_times_stay_true(
    hours: float, sensor: Remote, body_frame: MakeFrame
) -> None:
    def clock_ns() -> int:
        return time.time_ns() + round(hours * 3600e9)

    with closing(Pumped(lambda: Sender(sensor.endpoint, None, "synthetic", clock_ns=clock_ns))) as pumped:
        for _ in range(10):
            read = read_from(sensor, pumped, lambda: frame_now(body_frame, 1))
            assert 0 <= time.time_ns() - read.captured_ns < 100_000_000


def test_a_clock_that_is_set_makes_nothing_seem_newer_than_it_is(sensor: Remote, body_frame: MakeFrame) -> None:
    shift_ns = 0
    with closing(
        Pumped(lambda: Sender(sensor.endpoint, None, "synthetic", clock_ns=lambda: time.monotonic_ns() + shift_ns))
    ) as pumped:
        for shift_ns in (0, 3 * 3600 * 10**9, 60 * 10**9):  # noqa: B007 - the sender's clock reads it
            read_from(sensor, pumped, lambda: frame_now(body_frame, 1))
            settled_s = time.monotonic() + 3 * PING_PERIOD_NS / 1e9
            while time.monotonic() < settled_s:
                read = read_from(sensor, pumped, lambda: frame_now(body_frame, 1))
                assert time.time_ns() >= read.captured_ns
            read = read_from(sensor, pumped, lambda: frame_now(body_frame, 1))
            assert time.time_ns() - read.captured_ns < 100_000_000


def test_a_fault_and_an_end_are_told_at_once(sensor: Remote, body_frame: MakeFrame) -> None:
    pumped = Pumped(lambda: Sender(sensor.endpoint, None, "synthetic"))
    read_from(sensor, pumped, lambda: frame_now(body_frame, 1))
    pumped.queue.append("fault")
    with pytest.raises(Interruption, match="the sender's sensor has failed"):
        read_on(sensor)
    again = read_from(sensor, pumped, lambda: frame_now(body_frame, 1))
    assert again.discontinuity
    pumped.close()
    with pytest.raises(Interruption, match="the sender has ended"):
        read_on(sensor)
    with closing(Pumped(lambda: Sender(sensor.endpoint, None, "synthetic"))) as restarted:
        assert read_from(sensor, restarted, lambda: frame_now(body_frame, 1)).discontinuity


def test_old_frames_are_dropped_and_the_link_goes_on(body_frame: MakeFrame) -> None:
    with (
        remote(max_delay_s=0.5) as sensor,
        closing(Pumped(lambda: Sender(sensor.endpoint, None, "synthetic"))) as pumped,
    ):
        read_from(sensor, pumped, lambda: frame_now(body_frame, 1))
        old = replace(frame_now(body_frame, 9, discontinuity=True), captured_ns=time.time_ns() - 10**9)
        pumped.queue.append(old)
        while sensor.receiver.late == 0:
            assert sensor.read(20) is None or sensor.receiver.late == 0
        read = read_from(sensor, pumped, lambda: frame_now(body_frame, 1))
        assert read.track_ids == (1,)
        assert read.discontinuity, "what the dropped frame said of itself holds for the next"


def test_a_sender_keeps_the_newest_while_nobody_takes_it(body_frame: MakeFrame) -> None:
    with remote() as sensor:
        endpoint = sensor.endpoint
    with Sender(endpoint, None, "synthetic") as sender:
        for number in range(50):
            sender.offer(frame_now(body_frame, number, discontinuity=number == 3))
        assert (sender.sent, sender.dropped, sender.connected, sender.idle) == (0, 49, False, False)
        with remote(endpoint) as sensor:
            deadline_s, read = time.monotonic() + 10, None
            while read is None and time.monotonic() < deadline_s:
                sender.serve(0.01)
                read = sensor.read(0)
            assert read is not None
            assert (read.track_ids, read.discontinuity) == ((49,), True)
            sender.serve(0.1)
            assert (sender.sent, sender.idle, sender.state) == (1, True, "connected")


@contextmanager
def bare(sensor: Remote) -> Iterator[Callable[[bytes], None]]:
    """A sender byte by byte: what it is told to say, it says; the sensor has heard it before this returns."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(sensor.endpoint)
        yield socket.send


def test_the_window_is_kept_and_a_node_that_hangs_gets_no_backlog(sensor: Remote, body_frame: MakeFrame) -> None:
    with Sender(sensor.endpoint, None, "synthetic") as sender:
        while not sender.connected:
            sender.serve(0.01)
            sensor.read(0)
        for number in range(100):
            sender.offer(frame_now(body_frame, number))
            sender.serve(0.001)
        assert (sender.sent, sender.dropped) == (WINDOW, 100 - WINDOW - 1)
        seen: list[int] = []
        deadline_s = time.monotonic() + 10
        while 99 not in seen and time.monotonic() < deadline_s:
            if (read := sensor.read(0)) is not None:
                seen += read.track_ids
            sender.serve(0.001)
        assert seen == [*range(WINDOW), 99]


def test_a_second_sender_waits_until_the_first_is_silent(
    sensor: Remote, body_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Pumped(lambda: Sender(sensor.endpoint, None, "synthetic"))
    assert read_from(sensor, first, lambda: frame_now(body_frame, 1)).track_ids == (1,)
    with closing(Pumped(lambda: Sender(sensor.endpoint, None, "synthetic"))) as second:
        for _ in range(100):
            first.queue.append(frame_now(body_frame, 1))
            second.queue.append(frame_now(body_frame, 2))
            read = sensor.read(1000)
            assert read is not None
            assert read.track_ids == (1,)
        assert second.sender is not None
        assert "it follows another sender with the same key" in second.sender.state
        first.close()
        assert read_from(sensor, second, lambda: frame_now(body_frame, 2)).track_ids == (2,)


def test_bad_messages_are_counted_and_harm_nobody(sensor: Remote, body_frame: MakeFrame) -> None:
    with (
        bare(sensor) as say,
        closing(Pumped(lambda: Sender(sensor.endpoint, None, "synthetic"))) as pumped,
    ):
        read_from(sensor, pumped, lambda: frame_now(body_frame, 1))
        sent = 0
        while sensor.receiver.malformed < 300:
            say(os.urandom(100))
            say(b"\x81" * 5000)
            sent += 2
            assert read_from(sensor, pumped, lambda: frame_now(body_frame, 1)).track_ids == (1,)
        raw = encode_frame(frame_now(body_frame, 66), sequence=2**40, captured_ns=time.monotonic_ns())
        for _ in range(20):  # of somebody who has not said hello, or is not followed
            say(wire.encode(wire.Hello(wire.VERSION, "kinect-v2-25", "other")))
            say(raw)
            assert read_from(sensor, pumped, lambda: frame_now(body_frame, 1)).track_ids == (1,)


def test_a_sensor_that_is_not_open_or_has_no_place_says_so(tmp_path: Path) -> None:
    sensor = remote()
    with pytest.raises(SensorError, match=r"not open: call open\(\)"):
        sensor.read(0)
    sensor.close()
    with remote() as first:
        second = remote(first.endpoint)
        with pytest.raises(SensorError, match=r"cannot wait for a sender at tcp://.*:\d+: Address already in use"):
            second.open()
        second.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(SensorError, match="a file is there that is not a socket"):
        remote(f"ipc://{tmp_path}/file").open()
    with second:  # the place is free now
        assert second.read(0) is None


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:7401", "tcp://*:7401", "tcp://10.0.0.5:7401", "tcp://node:7401"])
def test_raw_frames_are_not_sent_in_the_clear(endpoint: str) -> None:
    for make in (lambda: remote(endpoint), lambda: Sender(endpoint, None, "synthetic")):
        with pytest.raises(LinkError, match=r"raw frames go there with `curve` only. .*: skelanon keys new NAME"):
            make()
    with pytest.raises(LinkError, match=r"`endpoint` is 'udp://10.0.0.5:7401'; it must be tcp://ADDRESS:PORT"):
        Sender("udp://10.0.0.5:7401", None, "synthetic")


def test_on_this_machine_no_keys_are_needed(tmp_path: Path, body_frame: MakeFrame) -> None:
    with (
        remote(f"ipc://{tmp_path}/link") as sensor,
        closing(Pumped(lambda: Sender(sensor.endpoint, None, "synthetic"))) as pumped,
    ):
        assert read_from(sensor, pumped, lambda: frame_now(body_frame, 5)).track_ids == (5,)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    _, secret = create_keys(tmp_path, "node")
    public, _ = create_keys(tmp_path, "sender")
    curve = RemoteCurveSettings(secret_key=str(secret), sender=str(public))
    with remote("tcp://0.0.0.0:*", curve=curve) as sensor:
        assert sensor.read(0) is None
    if os.name == "posix":
        secret.chmod(0o640)
        with pytest.raises(LinkError, match="can be read by other users; run: chmod 600"):
            remote("tcp://0.0.0.0:*", curve=curve)
    shutil.move(public, tmp_path / "gone")
    secret.chmod(0o600)
    with pytest.raises(LinkError, match=r"cannot read the key file .*sender\.key"):
        remote("tcp://0.0.0.0:*", curve=curve)


def test_only_the_one_senders_key_is_let_in(
    tmp_path: Path, body_frame: MakeFrame, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("node", "sender", "stranger"):
        create_keys(tmp_path, name)

    def keys(own: str, node: str = "node") -> Any:
        return load_client_keys(tmp_path / f"{own}.key_secret", tmp_path / f"{node}.key")

    curve = RemoteCurveSettings(secret_key=str(tmp_path / "node.key_secret"), sender=str(tmp_path / "sender.key"))
    refused = {
        "it refuses this sender's key": keys("stranger"),
        "is `curve.node` its key?": keys("sender", "stranger"),
        "does not answer": None,
    }
    with remote(curve=curve) as sensor:
        for trouble, wrong in refused.items():
            before = sensor.refused
            with Sender(sensor.endpoint, wrong, "synthetic") as sender:
                deadline_s = time.monotonic() + 10
                while (trouble not in sender.state or sensor.refused == before) and time.monotonic() < deadline_s:
                    sender.offer(frame_now(body_frame, 1))
                    sender.serve(0.01)
                    assert sensor.read(0) is None
                assert trouble in sender.state
                assert sensor.refused > before
                assert sender.sent == 0
        assert not sensor.receiver.connected
        with closing(Pumped(lambda: Sender(sensor.endpoint, keys("sender"), "synthetic"))) as pumped:
            assert read_from(sensor, pumped, lambda: frame_now(body_frame, 3)).track_ids == (3,)
    assert "is not among `curve.sender`" in caplog.text
