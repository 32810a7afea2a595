"""Two machines and a bad cable: `skelanon run` and `skelanon capture` in network namespaces, as an operator has them.

The cable between them is a thread that hands packets from one network card to the other, loses as many as it is told
to, and keeps a copy of every packet. (Linux's own netem is not in every kernel.) Needs root.
"""

import ctypes
import fcntl
import os
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from skelanon.configs.schema import SyntheticSettings
from skelanon.sensors.keys import create_keys
from skelanon.sensors.synthetic import Synthetic
from skelanon.stream import ReceivedFrame, Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SKELANON = [sys.executable, "-m", "skelanon.cli.main"]
AHEAD = """
import time
now, now_ns = time.time, time.time_ns
time.time, time.time_ns = lambda: now() + 10800, lambda: now_ns() + 10800 * 10**9
from skelanon.cli.main import main
main()
"""
"""skelanon on a machine whose clock is three hours ahead."""

_SIOCETHTOOL = 0x8946
_OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)
"""ETHTOOL_STXCSUM, STSO, SGSO, SGRO: a card that is a program must get whole packets with their checksums."""


class Cable:
    """Two machines, `node` at 10.77.0.1 and `sender` at 10.77.0.2, and what lies between them."""

    def __init__(self, stack: ExitStack) -> None:
        self._tag = f"sk{os.getpid()}"
        self.loss = 0.0
        """Part of the packets that is lost, either way."""
        self.pulled = False
        self.packets: list[bytes] = []
        self.lost = 0
        self._random = random.Random(0)
        self._stop = threading.Event()
        self._ends = [self._plug(stack, name, number) for number, name in enumerate(("node", "sender"), 1)]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        stack.callback(self._end)

    def at(self, machine: str) -> list[str]:
        """The beginning of a command that is run on a machine."""
        return ["ip", "netns", "exec", f"{self._tag}{machine}"]

    def card(self, machine: str) -> str:
        """The network card at this end of a machine's cable."""
        return f"{self._tag}{machine[0]}"

    def _plug(self, stack: ExitStack, machine: str, number: int) -> socket.socket:
        namespace, near = f"{self._tag}{machine}", self.card(machine)
        _ip("netns", "add", namespace)
        stack.callback(_ip, "netns", "del", namespace)
        _ip("link", "add", near, "type", "veth", "peer", "name", f"{near}x")
        for card in (near, f"{near}x"):
            _switch_off_offloads(card)
        _ip("link", "set", f"{near}x", "netns", namespace)
        _ip("-n", namespace, "addr", "add", f"10.77.0.{number}/24", "dev", f"{near}x")
        for where in (["-n", namespace, "link", "set", f"{near}x"], ["link", "set", near]):
            _ip(*where, "up")
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))  # ETH_P_ALL
        end.bind((near, 0))
        return end

    def _run(self) -> None:
        node, sender = self._ends
        other = {node: sender, sender: node}
        while not self._stop.is_set():
            for end in select.select(self._ends, [], [], 0.05)[0]:
                packet, address = end.recvfrom(65536)
                if address[2] == 4:  # PACKET_OUTGOING: our own
                    continue
                self.packets.append(packet)
                if self.pulled or self._random.random() < self.loss:
                    self.lost += 1
                else:
                    other[end].send(packet)

    def _end(self) -> None:
        self._stop.set()
        self._thread.join(5)
        for end in self._ends:
            end.close()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


def _switch_off_offloads(card: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in _OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP", card.encode(), ctypes.addressof(value))
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


@pytest.fixture
def cable() -> Iterator[Cable]:
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need Linux, root and `ip` (Debian package iproute2)")
    with ExitStack() as stack:
        try:
            made = Cable(stack)
        except (subprocess.CalledProcessError, OSError) as error:
            pytest.skip(f"no network namespaces here ({type(error).__name__})")
        yield made


@contextmanager
def running(command: list[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("ab") as file, subprocess.Popen(command, stderr=file, stdout=file) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(10) == 0, log.read_text()
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@contextmanager
def dumped(cable: Cable, file: Path) -> Iterator[None]:
    """tcpdump at the sender's cable, where there is one."""
    if shutil.which("tcpdump") is None:
        yield
        return
    command = [
        "tcpdump",
        "-i",
        cable.card("sender"),
        "-U",
        "--immediate-mode",
        "-s",
        "0",
        "-w",
        str(file),
        "-Z",
        "root",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        process.stderr.readline()  # it listens
        try:
            yield
        finally:
            process.terminate()


class Operator:
    """Configurations and keys of a node and a sender, and what a subscriber of the node sees."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        node, node_secret = create_keys(folder, "node")
        public, secret = create_keys(folder, "sender")
        self.endpoint = f"ipc://{folder}/published"
        (folder / "node.yaml").write_text(
            "sensors:\n  hall:\n    kind: remote\n    endpoint: tcp://10.77.0.1:7401\n"
            f"    curve: {{secret_key: {node_secret}, sender: {public}}}\n"
            f"publish: {{endpoint: '{self.endpoint}'}}\n"
        )
        (folder / "capture.yaml").write_text(
            "sensor: {kind: synthetic, persons: 2, seed: 5}\nendpoint: tcp://10.77.0.1:7401\n"
            f"curve: {{secret_key: {secret}, node: {node}}}\n"
        )

    def watch(self, subscriber: Subscriber, seconds: float) -> list[ReceivedFrame]:
        frames, end_s = [], time.monotonic() + seconds
        while time.monotonic() < end_s:
            if (frame := subscriber.read(50)) is not None:
                frames.append(frame)
        return frames

    def wait_for(self, subscriber: Subscriber, state: str, within_s: float) -> float:
        """How long it took until a frame of this state came, seconds."""
        started_s = time.monotonic()
        while time.monotonic() - started_s < within_s:
            frame = subscriber.read(50)
            if frame is not None and frame.state == state:
                return time.monotonic() - started_s
        raise AssertionError(f"no frame was {state} within {within_s} s: {(self.folder / 'node.log').read_text()}")


def delays_s(frames: list[ReceivedFrame]) -> list[float]:
    return [(frame.received_ns - frame.captured_ns) / 1e9 for frame in frames if frame.state == "ok"]


def raw_joints() -> list[bytes]:
    """The first twenty seconds of what the sender's sensor sees, each joint as it would stand in a packet."""
    settings = SyntheticSettings(kind="synthetic", persons=2, seed=5, frames=600, fast=True)
    with Synthetic(settings) as sensor:
        frames = [sensor.read(0) for _ in range(600)]
    return [
        np.ascontiguousarray(joint, "<f4").tobytes()
        for frame in frames
        if frame is not None
        for joint in frame.joints.reshape(-1, 3)
    ]


def test_a_bad_network_never_shows_a_joint_nor_makes_time_lie(cable: Cable, tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    run = [*cable.at("node"), *SKELANON, "run", str(tmp_path / "node.yaml")]
    ahead = [sys.executable, "-c", AHEAD, "capture", str(tmp_path / "capture.yaml")]
    capture = [*cable.at("sender"), *ahead]
    wire = tmp_path / "wire.pcap"
    with (
        dumped(cable, wire),
        running(run, tmp_path / "node.log"),
        Subscriber(operator.endpoint, stall_after_s=60) as subscriber,
    ):
        operator.wait_for(subscriber, "fault", 20)  # nobody sends yet
        with subprocess.Popen(capture, stderr=subprocess.DEVNULL) as sender:
            operator.wait_for(subscriber, "ok", 20)
            good = operator.watch(subscriber, 3)

            cable.loss = 0.3
            lossy = operator.watch(subscriber, 8)
            cable.loss = 0.0
            operator.watch(subscriber, 2)

            cable.pulled = True
            fault_s = operator.wait_for(subscriber, "fault", 10)
            operator.watch(subscriber, 4)
            cable.pulled = False
            plugged_ns = time.time_ns()
            resumed_s = operator.wait_for(subscriber, "ok", 20)
            resumed = operator.watch(subscriber, 2)
            sender.kill()
        with running(capture, tmp_path / "sender.log"):
            operator.watch(subscriber, 0.5)  # what the one before has sent
            restarted_s = operator.wait_for(subscriber, "ok", 20)
            restarted = operator.watch(subscriber, 2)
    shown = {
        "good": delays_s(good), "lossy": delays_s(lossy), "resumed": delays_s(resumed), "restarted": delays_s(restarted)
    }  # fmt: skip
    report = {name: (len(delays), f"{min(delays):.4f} to {max(delays):.4f} s") for name, delays in shown.items()}
    message = (
        f"{report}; fault {fault_s:.1f}, resumed {resumed_s:.1f}, restarted {restarted_s:.1f} s; {cable.lost} lost"
    )
    (tmp_path / "report.txt").write_text(message)
    assert all(delay > 0 for delays in shown.values() for delay in delays), message
    assert max(shown["good"] + shown["restarted"]) < 1.0, message
    assert max(shown["lossy"]) < 2.5, f"`max_delay_s` and a little: {message}"
    assert len(shown["lossy"]) > 30, message
    assert all(frame.captured_ns > plugged_ns - 500_000_000 for frame in resumed if frame.state == "ok"), message
    assert len(shown["good"]) > 30, message
    assert cable.lost > 50, message

    recorded = [b"".join(cable.packets)]
    if wire.exists():
        recorded.append(wire.read_bytes())
    joints = raw_joints()
    for packets in recorded:
        assert len(packets) > 300_000
        for word in (b"captured_ns", b"joints", b"tracking", b"kinect-v2-25", b"synthetic"):
            assert word not in packets
        assert b"CURVE" in packets, "the search finds what is there"
        assert not any(joint in packets for joint in joints[::7])
