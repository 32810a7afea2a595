"""Attack: nothing raw leaves the process, whatever comes in and whatever breaks.

Everything that leaves is collected: all bytes that the socket sends, all log records, the text of every error. In it
is searched for what came in: joints (three float32 in a row at any byte offset, in either byte order), the sensor's
track ids in every encoding, names of files and serial numbers.
"""

import logging
import re
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from skelanon.configs import NodeSettings, PublishSettings, SyntheticSettings, check
from skelanon.export.bundle import default_bundle_path, read_bundle
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.export.runner import Floats, Runner
from skelanon.sensors.errors import EndOfRecording
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.ntu import read_skeleton, skeleton_files
from skelanon.sensors.sensor import Sensor
from skelanon.sensors.synthetic import Synthetic
from skelanon.stream.node import Node, create_node

RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]

SERIAL = "000123456712"
PERFORMER = "S001C001P042R001A001"


class Recorded(Sensor):
    """Six bodies at a time of many raw bodies, with ids as Kinect makes them; faults and gaps in between."""

    lossless = True

    def __init__(self, raw: Floats, faults: bool = False) -> None:
        self._raw, self._faults, self._position, self._reads = raw, faults, 0, 0
        self.ids = tuple(range(72057594037931101, 72057594037931107))

    def open(self) -> None:
        pass

    def read(self, timeout_ms: int) -> BodyFrame | None:
        self._reads += 1
        if self._faults and self._reads % 501 == 0:
            raise OSError(f"device {SERIAL} gave {self._raw[self._position, 3]} in /data/{PERFORMER}.skeleton")
        bodies = self._raw[self._position : self._position + 6].copy()
        if not len(bodies):
            raise EndOfRecording
        self._position += 6
        if self._faults and self._reads % 7 == 0:
            bodies[0, self._reads % 25, 1] = (np.nan, np.inf, 1e30, 0.0)[self._reads % 4]
        tracking = np.full((len(bodies), 25), 2, np.uint8)
        return BodyFrame(time.time_ns(), bodies, tracking, self.ids[: len(bodies)])

    def close(self) -> None:
        pass


def _slowly(joints: Floats) -> Floats:
    time.sleep(0.01)
    return joints


def _cover_up(joints: Floats) -> Floats:
    """Returns its input, and overwrites what the guard might compare it with."""
    stolen = joints.copy()
    joints[:] = 7.0
    return stolen


TRICKS: dict[int, Callable[[Floats], Any]] = {
    1: lambda joints: joints,
    2: _cover_up,
    3: lambda joints: np.roll(joints, 1, axis=0),
    5: lambda joints: np.roll(joints, 1, axis=2),
    11: lambda joints: joints[:, :, :24],
    13: lambda joints: joints.astype(np.float64),
    15: lambda joints: np.full_like(joints, np.nan),
    17: lambda joints: _slowly(joints + np.float32(0.1)),  # a slow model that only moves the body
    19: lambda joints: joints + np.float32(1e-6),
}


class Treacherous(Runner):
    """The real model most of the time; then every way to return or to tell what came in."""

    def __init__(self, inner: Runner) -> None:
        super().__init__(inner.bundle)
        self._inner = inner
        self._calls = 0
        self._before: Floats | None = None

    def step(self, rows: Any, fresh: Any, joints: Floats, present: Floats) -> Floats:
        self._calls += 1
        before, self._before = self._before, joints.copy()
        turn = self._calls % 23
        if turn == 9:
            raise RuntimeError(f"bad joint {joints[0, 0, 3].tolist()} of {PERFORMER}")
        if turn == 7 and before is not None and before.shape == joints.shape:
            return before
        if turn in TRICKS:
            trick: Floats = TRICKS[turn](joints)
            return trick
        anonymous = self._inner.step(rows, fresh, joints, present)
        if turn == 21:  # one raw joint among good ones
            anonymous[:, :, 8] = joints[:, :, 8]
        return anonymous

    def close(self) -> None:
        self._inner.close()

    def _call(self, joints: Floats, present: Floats, state: Floats, persona: Floats) -> tuple[Floats, Floats]:
        raise NotImplementedError


def eavesdrop(make: Callable[[], Node], endpoint: str, run_node: RunNode) -> tuple[bytes, int]:
    """All bytes that leave the socket of a node until it says that it stops, and how many bodies they hold."""
    parts: list[bytes] = []
    bodies = 0
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.LINGER, 0)
        socket.subscribe(b"")
        socket.connect(endpoint)
        with run_node(make):
            while socket.poll(10_000):
                topic, message = socket.recv_multipart()
                parts += [topic, message]
                content = msgspec.msgpack.decode(message)
                if topic.endswith(b"/frame"):
                    bodies += len(content["bodies"])
                if topic.endswith(b"/status") and content["state"] == "stopped":
                    break
            socket.close()  # the node waits for those who have not left
    return b"".join(parts), bodies


def raw_joints_in(published: bytes, raw: Floats) -> int:
    """How many joints of (B, 25, 3) stand in the bytes, at any offset and in either byte order."""
    joints = np.ascontiguousarray(raw, "<f4").reshape(-1, 3).view(np.uint32)
    known = np.sort(_fingerprints(*joints.T))
    marks = np.zeros(1 << 24, np.bool_)  # most words are sorted out by one look: no joint begins with them
    marks[_scattered(joints[:, 0])] = True
    found = 0
    for order in ("<u4", ">u4"):
        for offset in range(4):
            end = len(published) - (len(published) - offset) % 4
            words = np.frombuffer(published[offset:end], order).astype(np.uint32)
            first = np.flatnonzero(marks[_scattered(words[:-2])])
            candidates = _fingerprints(words[first], words[first + 1], words[first + 2])
            nearest = known[np.minimum(np.searchsorted(known, candidates), len(known) - 1)]
            found += int((nearest == candidates).sum())
    return found


def _scattered(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return (words * np.uint32(0x9E3779B1)) >> np.uint32(8)


def _fingerprints(x: NDArray[np.uint32], y: NDArray[np.uint32], z: NDArray[np.uint32]) -> NDArray[np.uint64]:
    factors = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))
    a, b, c = (word.astype(np.uint64) * factor for word, factor in zip((x, y, z), factors, strict=True))
    mixed: NDArray[np.uint64] = a ^ b ^ c
    return mixed


def texts_of(records: list[logging.LogRecord]) -> str:
    """All that a log says, exceptions and all their causes included."""
    formatter = logging.Formatter("%(name)s %(message)s %(threadName)s")
    return "\n".join(formatter.format(record) for record in records)


def check_words(text: str, raw: Floats) -> None:
    """No name, no serial number, no coordinate in words."""
    assert SERIAL not in text
    assert not re.search(r"S\d{3}C\d{3}P\d{3}", text)
    numbers = {abs(round(float(number), 4)) for number in re.findall(r"\d+\.\d{4,}", text)}
    coordinates = set(np.abs(raw[np.isfinite(raw)].astype(np.float64)).round(4).tolist())
    assert not numbers & coordinates


def check_ids(published: bytes, ids: tuple[int, ...]) -> None:
    """No track id, in text or binary."""
    for track_id in ids:
        for encoding in (str(track_id).encode(), struct.pack("<Q", track_id), struct.pack(">Q", track_id)):
            assert encoding not in published


def test_the_search_finds_what_it_looks_for() -> None:
    raw = np.random.default_rng(0).standard_normal((10, 25, 3)).astype(np.float32)
    joint = raw[3, 7]
    for offset in range(4):
        for order in ("<f4", ">f4"):
            assert raw_joints_in(bytes(100 + offset) + joint.astype(order).tobytes() + bytes(99), raw) == 1
    assert raw_joints_in(np.random.default_rng(1).bytes(10_000), raw) == 0
    with pytest.raises(AssertionError):
        check_words(f"joint {joint.tolist()}", raw)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("faults", [False, True], ids=["sound", "faults"])
@pytest.mark.parametrize(
    "name", ["ntu", "utd_mhad", "kgbd", "ucalgary_gait", "kinectmultitrack", "azure_kinect", "kinect_v2_csv"]
)
def test_no_recording_leaks(
    name: str,
    faults: bool,
    recordings: Callable[[str], Iterator[Floats]],
    ipc: str,
    run_node: RunNode,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    pieces = list(recordings(name))
    if faults:  # enough for every fault to happen
        pieces = [np.resize(pieces[0], (20_000, 25, 3))]
    for number, raw in enumerate(pieces):
        sensor = Recorded(raw, faults)
        inner = OnnxRuntimeCpu(read_bundle(default_bundle_path()))
        runner = Treacherous(inner) if faults else inner
        settings = PublishSettings(endpoint=f"{ipc}{number}", wait_for_subscribers=1)
        published, bodies = eavesdrop(
            lambda sensor=sensor, runner=runner, settings=settings: Node({"a": sensor}, runner, settings),  # type: ignore[misc]
            f"{ipc}{number}",
            run_node,
        )
        assert bodies > (0.2 if faults else 0.95) * len(raw)
        assert raw_joints_in(published, raw) == 0
        check_ids(published, sensor.ids)
        check_words(texts_of(caplog.records), raw)
        caplog.clear()


@pytest.mark.parametrize("root", ["foot_anchored", "body_centred", "keep"])
def test_ten_thousand_synthetic_frames_leak_nothing(
    root: str, tmp_path: Path, ipc: str, run_node: RunNode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bundle = default_bundle_path()
    if root != "foot_anchored":
        bundle = tmp_path / "template.onnx"
        pytest.importorskip("skelanon.train.build").build_template(bundle, root)
    settings = SyntheticSettings(kind="synthetic", persons=2, frames=10_000, fast=True, seed=5)
    with Synthetic(settings) as sensor:
        frames = [sensor.read(0) for _ in range(10_000)]
    raw = np.concatenate([frame.joints for frame in frames if frame is not None])
    ids = {track_id for frame in frames if frame is not None for track_id in frame.track_ids}
    publish = PublishSettings(endpoint=ipc, wait_for_subscribers=1)
    published, bodies = eavesdrop(
        lambda: Node({"a": Synthetic(settings)}, Treacherous(OnnxRuntimeCpu(read_bundle(bundle))), publish),
        ipc,
        run_node,
    )
    assert bodies > 0.2 * len(raw)
    compared = raw[:, 1:] if root == "keep" else raw  # the manifest says that the root is kept
    assert raw_joints_in(published, compared.reshape(-1, 1, 3)) == 0
    if root == "keep":
        assert raw_joints_in(published, raw[:, :1]) > bodies / 2
    check_ids(published, tuple(ids))
    check_words(texts_of(caplog.records), raw)


@pytest.mark.parametrize("axes", ["normalised", "camera"])
def test_the_reference_residual_leaks_no_raw_joint(
    axes: str, data: Path, reference: Path, tmp_path: Path, ipc: str, run_node: RunNode
) -> None:
    build = pytest.importorskip("skelanon.train.build", reason="needs skelanon[train]")
    bundle = tmp_path / "residual.onnx"
    build.build_reference_residual(reference / "pretrained_resnet.pt", bundle, axes)
    settings = check(
        {
            "sensors": {"a": {"kind": "replay", "path": str(data / "ntu"), "fast": True}},
            "model": {"bundle": str(bundle)},
            "publish": {"endpoint": ipc, "wait_for_subscribers": 1},
        },
        "test",
    )
    published, bodies = eavesdrop(lambda: create_node(settings), ipc, run_node)
    recorded = [read_skeleton(path) for path in skeleton_files(data / "ntu")]
    raw = np.concatenate([recording.joints for recording in recorded])
    assert raw_joints_in(published, raw) == 0
    check_ids(published, tuple({track_id for recording in recorded for track_id in recording.track_ids}))
    for path in skeleton_files(data / "ntu"):
        assert path.stem.encode() not in published
    # The network leaves some joints of every body where they are: back in camera axes they would be raw.
    assert bodies == (len(raw) if axes == "normalised" else 0)


def test_bad_recordings_leak_no_name_and_no_value(
    tmp_path: Path, ipc: str, run_node: RunNode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    good = (
        "1\n1\n72057594037931101 0 1 1 1 1 0 0.1 0.2 2\n25\n" + "0.1234567 0.7654321 3.1415926 0 0 0 0 0 0 0 0 2\n" * 25
    )
    for number, text in enumerate((good.replace("3.1415926", "3.14159.26", 1), good[:-300], "", "\0\1\2")):
        (tmp_path / f"S001C001P00{number}R001A001.skeleton").write_text(text)
    settings = NodeSettings.model_validate(
        {
            "sensors": {"a": {"kind": "replay", "path": str(tmp_path), "fast": True}},
            "publish": {"endpoint": ipc, "wait_for_subscribers": 1},
        }
    )
    published, bodies = eavesdrop(lambda: create_node(settings), ipc, run_node)
    text = texts_of(caplog.records)
    assert bodies == 0
    assert text.count("sensor a: recording ") == 4
    for secret in ("0.1234567", "0.7654321", "3.14159", "72057594037931101", "P00"):
        assert secret not in text
        assert secret.encode() not in published
