"""The raw link's bytes, clocks and rules, without a socket."""

import ast
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelanon.sensors import BodyFrame, Interruption
from skelanon.sensors.remote import receiver as rules
from skelanon.sensors.remote.clock import DRIFT, SenderClock
from skelanon.sensors.remote.frames import encode_frame
from skelanon.sensors.remote.receiver import Receiver
from skelanon.sensors.remote.wire import (
    MAX_MESSAGE_BYTES,
    Ack,
    Alive,
    Bye,
    Fault,
    Hello,
    Ping,
    Pong,
    RawFrame,
    Ready,
    Refuse,
    RemoteWireError,
    Who,
    decode_from_node,
    decode_from_sender,
    encode,
)

ROOT = Path(__file__).resolve().parents[1]
MakeFrame = Callable[..., BodyFrame]
HELLO = Hello(1, "kinect-v2-25", "azure-kinect")
S = 10**9


def frame(**changes: Any) -> dict[str, Any]:
    body = {"id": 7, "joints": struct.pack("<75f", *range(75)), "tracking": bytes([2] * 25)}
    return {
        "type": "frame", "sequence": 1, "captured_ns": 5, "discontinuity": False, "bodies": [body],
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("message", "golden"),
    [
        (HELLO, "84a474797065a568656c6c6fa776657273696f6e01a66c61796f7574ac6b696e6563742d76322d3235"
                "a673656e736f72ac617a7572652d6b696e656374"),
        (Alive(), "81a474797065a5616c697665"),
        (Fault(), "81a474797065a56661756c74"),
        (Bye(), "81a474797065a3627965"),
        (Pong(1, 2), "83a474797065a4706f6e67a770696e675f6e7301a66e6f775f6e7302"),
        (Who(), "81a474797065a377686f"),
        (Refuse("busy"), "82a474797065a6726566757365a6726561736f6ea462757379"),
        (Ping(1), "82a474797065a470696e67a770696e675f6e7301"),
        (Ready(8), "82a474797065a57265616479a677696e646f7708"),
        (Ack(3), "82a474797065a361636ba873657175656e636503"),
    ],
)  # fmt: skip
def test_golden_bytes_of_version_1(message: Any, golden: str) -> None:
    assert encode(message).hex() == golden
    decode = decode_from_sender if isinstance(message, Hello | Alive | Fault | Bye | Pong) else decode_from_node
    assert decode(encode(message)) == message


def test_the_bytes_in_the_documentation_are_a_hello() -> None:
    (block,) = re.findall(r"```hex\n(.*?)```", (ROOT / "docs" / "remote.md").read_text("utf-8"), re.DOTALL)
    data = bytes.fromhex("".join(line.partition("#")[0] for line in block.splitlines()))
    assert data == encode(HELLO)


def test_a_frame_is_written_as_documented(body_frame: MakeFrame) -> None:
    sent = body_frame(3, 4, captured_ns=9)
    plain = msgpack.unpackb(encode_frame(sent, sequence=2, captured_ns=1))
    assert list(plain) == ["type", "sequence", "captured_ns", "discontinuity", "bodies"]
    assert [plain[key] for key in ("type", "sequence", "captured_ns", "discontinuity")] == ["frame", 2, 1, False]
    assert [body["id"] for body in plain["bodies"]] == [3, 4]
    assert struct.unpack("<75f", plain["bodies"][1]["joints"]) == tuple(sent.joints[1].ravel().tolist())
    assert plain["bodies"][0]["tracking"] == bytes([2] * 25)


def test_nothing_with_joints_is_encoded_as_a_message_without(body_frame: MakeFrame) -> None:
    raw = decode_from_sender(msgpack.packb(frame()))
    with pytest.raises(TypeError, match="a RawFrame is no message without joints"):
        encode(raw)  # type: ignore[arg-type]
    assert "joints" not in repr(raw)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sequence": -1}, "sequence"),
        ({"sequence": 2**63}, "sequence"),
        ({"captured_ns": 0.5}, "captured_ns"),
        ({"discontinuity": 1}, "discontinuity"),
        ({"bodies": None}, "bodies"),
        ({"bodies": frame()["bodies"] * 2}, "two bodies of a frame have the same `id`"),
        ({"bodies": [frame()["bodies"][0] | {"id": n} for n in range(65)]}, "length <= 64|at most"),
        ({"bodies": [{"id": 1, "joints": bytes(299), "tracking": bytes(25)}]}, "joints"),
        ({"bodies": [{"id": 1, "joints": bytes(300), "tracking": bytes(24)}]}, "tracking"),
        ({"bodies": [{"id": 1, "joints": bytes(300), "tracking": b"\3" * 25}]}, "a byte other than 0, 1 and 2"),
        (
            {"bodies": [{"id": 1, "joints": bytes(300), "tracking": bytes(25), "name": "x"}]},
            r"unknown field - at `\$.bodies",
        ),
        ({"serial": "0001"}, r"unknown field$"),
        ({"type": "status"}, r"Invalid value - at `\$.type`$"),
        ({"type": "ack"}, r"Invalid value - at `\$.type`$"),
    ],
)
def test_what_is_no_frame_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    assert isinstance(decode_from_sender(msgpack.packb(frame())), RawFrame)
    with pytest.raises(RemoteWireError, match=reason):
        decode_from_sender(msgpack.packb(frame(**changes)))


@given(st.binary(max_size=600))
def test_any_bytes_are_a_message_or_one_error(data: bytes) -> None:
    for decode in (decode_from_sender, decode_from_node):
        words = ""
        try:
            decode(data)
        except RemoteWireError as error:
            words = str(error)
        assert len(words) < 300


@given(st.integers(0, 399), st.integers(0, 255))
def test_a_frame_with_one_byte_changed_is_a_frame_or_one_error(at: int, value: int) -> None:
    data = bytearray(msgpack.packb(frame()))
    data[at % len(data)] = value
    try:
        decoded = decode_from_sender(bytes(data))
    except RemoteWireError:
        return
    assert decoded is not None


def test_hostile_sizes_cost_no_more_than_their_bytes() -> None:
    for data in (b"\xdf\xff\xff\xff\xff", b"\x91" * 20_000, b"\x81\xa4type\xc6\xff\xff\xff\xff", b"\xc7\x04\1type"):
        with pytest.raises(RemoteWireError):
            decode_from_sender(data)
    with pytest.raises(RemoteWireError, match="a message has at most 32768"):
        decode_from_sender(bytes(MAX_MESSAGE_BYTES + 1))


def test_only_the_sender_holds_what_makes_bytes_of_raw_frames() -> None:
    """By reading every file: `frames.py` goes to `sender.py`, and that to `skelanon capture`."""
    importers: dict[str, set[str]] = {"frames": set(), "sender": set(), "remote": set()}
    for folder in ("configs", "sensors", "export", "stream", "train", "audit", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
                parts = module.split(".")
                inside = path.parent == ROOT / "sensors" / "remote"
                if (inside and parts[0] in importers) or "remote" in parts:
                    importers[parts[-1]].add(str(path.relative_to(ROOT).as_posix()))
    assert importers == {
        "frames": {"sensors/remote/sender.py"},
        "sender": {"cli/capture.py"},
        "remote": {"sensors/factory.py"},
    }


def test_a_node_with_a_remote_sensor_never_loads_it() -> None:
    script = """
import sys
from skelanon.configs import check
from skelanon.stream import create_node
sensors = {"a": {"kind": "remote", "endpoint": "tcp://127.0.0.1:*"}}
with create_node(check({"sensors": sensors, "publish": {"endpoint": "tcp://127.0.0.1:*"}}, "test")):
    pass
assert "skelanon.sensors.remote.source" in sys.modules
assert not {"skelanon.sensors.remote.frames", "skelanon.sensors.remote.sender"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


OFFSET = 3 * 3600 * S


@given(
    st.lists(st.tuples(st.integers(0, 2 * S), st.integers(0, 2 * S)), min_size=1, max_size=30),
    st.floats(-DRIFT, DRIFT),
)
def test_the_difference_of_clocks_is_within_its_error(delays: list[tuple[int, int]], drift: float) -> None:
    clock, now = SenderClock(), 10 * S

    def sender(node_ns: int) -> int:
        return node_ns + OFFSET + int(drift * node_ns)

    for there, back in delays:
        now += S
        assert not clock.measure(now, sender(now + there), now + there + back), "it was not set"
        now += there + back
        error = clock.error_ns(now)
        captured = clock.to_node(sender(now - S), now)
        assert error is not None
        assert captured is not None
        assert abs(captured - (now - S)) <= error + 1000 + DRIFT * S


def test_the_shortest_round_trip_counts_until_it_is_old() -> None:
    clock = SenderClock()
    clock.measure(0, OFFSET + 1_000_000, 2_000_000)
    assert clock.error_ns(2_000_000) == pytest.approx(1_000_000, rel=0.001)
    clock.measure(S, OFFSET + S + 90_000_000, S + 100_000_000)
    assert clock.error_ns(S) == pytest.approx(1_000_000 + DRIFT * S, rel=0.01)
    clock.measure(60 * S, OFFSET + 60 * S + 1_000_000, 60 * S + 5_000_000)
    assert clock.error_ns(60 * S + 5_000_000) == pytest.approx(2_500_000, rel=0.001)


@pytest.mark.parametrize("set_by", [-3 * 3600 * S, -S, S, 3 * 3600 * S])
def test_a_clock_that_was_set_is_noticed(set_by: int) -> None:
    clock = SenderClock()
    clock.measure(0, OFFSET, 2_000_000)
    if set_by > 0:
        assert clock.to_node(OFFSET + S + set_by, S) is None
        assert clock.error_ns(S) is None
    assert clock.measure(S, OFFSET + S + set_by, S + 50_000_000) == (set_by < 0), "though this round trip is the longer"
    captured = clock.to_node(OFFSET + 2 * S + set_by, 2 * S)
    assert captured is not None
    assert 2 * S - 50_000_000 <= captured <= 2 * S


class Link:
    """A receiver with a sender whose clock is OFFSET ahead, and no way in between."""

    def __init__(self, max_delay_s: float = 2.0) -> None:
        self.receiver = Receiver(max_delay_s)
        self.now = 100 * S

    def say(self, message: Any, peer: bytes = b"a") -> tuple[int, bool] | None:
        data = message if isinstance(message, bytes) else encode(message)
        taken = self.receiver.take(peer, data, self.now)
        return None if taken is None else taken[1:]

    def heard(self) -> list[Any]:
        said, self.receiver.outbox = self.receiver.outbox, []
        return [message for _, message in said]

    def connect(self, peer: bytes = b"a") -> None:
        self.say(HELLO, peer)
        (ping,) = self.heard()
        self.say(Pong(ping.ping_ns, self.now + OFFSET), peer)
        assert self.heard() == [Ready(rules.WINDOW)]

    def frame(self, sequence: int, age_ns: int = 0, peer: bytes = b"a") -> tuple[int, bool] | None:
        captured_ns = self.now + OFFSET - age_ns
        return self.say(msgpack.packb(frame(sequence=sequence, captured_ns=captured_ns)), peer)


def test_a_session_from_hello_to_bye() -> None:
    link = Link()
    assert link.frame(0) is None
    assert link.heard() == [Who()]
    link.connect()
    assert link.frame(5, age_ns=1000) == (100 * S - 1000, True)
    link.now += S // 30
    assert link.frame(6) == (link.now, False)
    assert link.heard() == [Ack(5), Ack(6)]
    with pytest.raises(Interruption, match="has ended"):
        link.say(Bye())
    assert not link.receiver.connected
    link.say(Bye())
    assert link.heard() == []


def test_repeated_and_older_frames_are_acknowledged_and_dropped() -> None:
    link = Link()
    link.connect()
    assert [link.frame(n) is not None for n in (3, 3, 2, 0, 4)] == [True, False, False, False, True]
    assert link.receiver.repeated == 3
    link.now += 3 * S
    assert link.frame(5, age_ns=3 * S) is None
    assert (link.receiver.late, link.frame(5)) == (1, None)
    link.say(HELLO)  # again, in the same connection: nothing begins anew
    assert link.frame(2) is None
    assert link.frame(6) == (link.now, False)


def test_times_never_go_back_nor_ahead() -> None:
    link = Link()
    link.connect()
    times = []
    for number in range(200):
        link.now += 10_000_000
        taken = link.frame(number, age_ns=int(np.random.default_rng(number).integers(0, 60_000_000)))
        assert taken is not None
        assert taken[0] <= link.now
        times.append(taken[0])
    assert times == sorted(times)


def test_who_is_followed() -> None:
    link = Link()
    link.connect()
    link.now += rules.TAKEOVER_NS - 1
    link.say(HELLO, b"b")
    assert link.heard() == [Refuse("busy")]
    link.now += 1
    link.connect(b"b")
    link.say(Alive(), b"a")
    assert link.heard() == [Who()]
    link.say(Hello(2, "kinect-v2-25", "x"), b"c")
    link.say(Hello(1, "azure-32", "x"), b"c")
    assert link.heard() == [Refuse("version"), Refuse("version")]


def test_a_silent_sender_is_pinged_and_then_given_up() -> None:
    link = Link()
    link.connect()
    link.now += rules.PING_PERIOD_NS
    link.receiver.tend(link.now)
    link.receiver.tend(link.now)
    assert link.heard() == [Ping(link.now)]
    link.now = 100 * S + rules.SILENCE_NS + 1
    link.receiver.tend(link.now)
    assert not link.receiver.connected


def test_answers_to_pings_that_were_not_sent_measure_nothing() -> None:
    link = Link()
    link.connect()
    link.say(Pong(12345, 0))
    link.say(Pong(100 * S, 0))  # answered already
    assert link.frame(1) == (link.now, True)


def test_a_fault_breaks_the_tracks() -> None:
    link = Link()
    link.connect()
    assert link.frame(1) == (link.now, True)
    with pytest.raises(Interruption, match="the sender's sensor has failed; its own log says why"):
        link.say(Fault())
    assert link.frame(2) is not None


def test_what_a_sender_calls_its_sensor_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It may be the serial number of a camera."""
    link = Link()
    with caplog.at_level("DEBUG"):
        link.say(Hello(1, "kinect-v2-25", "000739291112"))
    assert link.receiver.connected
    assert "connected" in caplog.text
    assert "739291112" not in caplog.text
