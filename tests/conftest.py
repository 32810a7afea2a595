"""Fixtures that several test files share."""

import csv
import queue
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import msgpack  # type: ignore[import-untyped]
import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from skelanon.export.bundle import Bundle
from skelanon.export.manifest import Manifest, Root
from skelanon.export.runner import Floats, Runner
from skelanon.sensors.body import ancestor_matrix, bone_lengths, rest_directions
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.joints import INDEX, JOINT_NAMES, PARENTS
from skelanon.sensors.ntu import read_skeleton, skeleton_files
from skelanon.stream.node import Node
from skelanon.stream.subscriber import Event, Subscriber

pytest_plugins = ["azure_stand_in", "kinect_stand_in", "training_runs"]

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws of torch's random numbers does not depend on what ran before it in the process."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def _shared(name: str) -> Path:
    folder = ROOT.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"the real recordings and reference files (../shared/{name}) are not here")
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real recordings; skips where it is absent."""
    return _shared("data")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of what public implementations compute; skips where it is absent."""
    return _shared("reference")


class ScriptedRunner(Runner):
    """A runner whose model is a Python function of (rows, joints, present); it remembers its calls."""

    def __init__(
        self, model: Callable[[Floats], Floats], *, bodies_per_sample: Literal[1, 2], root: Root, presence_frames: int
    ) -> None:
        manifest = Manifest(
            name="scripted", anonymizer="scripted", bodies_per_sample=bodies_per_sample, axes="camera", root=root,
            parity_tolerance_m=1e-5, presence_frames=presence_frames,
        )  # fmt: skip
        super().__init__(Bundle(manifest, "0" * 64, b""))
        self.model = model
        self.calls: list[tuple[list[int], list[bool], Floats, Floats]] = []

    def step(self, rows: Sequence[int], fresh: Sequence[bool], joints: Floats, present: Floats) -> Floats:
        self.calls.append((list(rows), list(fresh), joints.copy(), present.copy()))
        return self.model(joints)

    def close(self) -> None:
        self.model = _closed

    def _call(self, joints: Floats, present: Floats, state: Floats, persona: Floats) -> tuple[Floats, Floats]:
        raise NotImplementedError


def _closed(_: Floats) -> Floats:
    raise RuntimeError("the runner is closed")


def shrink(joints: Floats) -> Floats:
    """A stand-in for an anonymizer: every body at 0.9 of its size, and moved."""
    return (joints * np.float32(0.9) + np.float32(0.05)).astype(np.float32)


@pytest.fixture
def scripted_runner() -> Callable[..., ScriptedRunner]:
    """Makes a runner of a Python function; without one, of a function that makes bodies smaller."""

    def make(
        model: Callable[[Floats], Floats] = shrink,
        *,
        bodies_per_sample: Literal[1, 2] = 1,
        root: Root = "model",
        presence_frames: int = 0,
    ) -> ScriptedRunner:
        return ScriptedRunner(model, bodies_per_sample=bodies_per_sample, root=root, presence_frames=presence_frames)

    return make


@pytest.fixture
def body_frame() -> Callable[..., BodyFrame]:
    """Makes a raw frame of average bodies of different size and place, one for each track id."""

    def make(*track_ids: int, captured_ns: int = 0, discontinuity: bool = False, seed: int = 0) -> BodyFrame:
        random = np.random.default_rng([seed, captured_ns])
        pose = ancestor_matrix() @ (rest_directions() * bone_lengths()[:, None])
        bodies = [pose * (0.9 + 0.03 * (i % 7)) + (i % 5 - 2, 0.1, 3.0) for i in track_ids]
        exact = np.array(bodies).reshape(-1, 25, 3)
        joints: Floats = (exact + random.normal(0, 0.003, exact.shape)).astype(np.float32)
        tracking = np.full(joints.shape[:2], 2, np.uint8)
        return BodyFrame(captured_ns, joints, tracking, track_ids, discontinuity)

    return make


@contextmanager
def running(make: Callable[[], Node]) -> Iterator[Node]:
    """A node made, run and closed by a thread of its own, as it must be; its error is raised here at the end."""
    made: queue.Queue[Node | BaseException] = queue.Queue()
    failures: list[BaseException] = []

    def publish() -> None:
        try:
            with make() as node:
                made.put(node)
                node.run()
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            made.put(error)
            failures.append(error)

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    node = made.get(timeout=30)
    if isinstance(node, BaseException):
        raise node
    try:
        yield node
    finally:
        node.stop()
        thread.join(10)
        assert not thread.is_alive(), "the node does not stop"
    if failures:
        raise failures[0]


@pytest.fixture
def run_node() -> Callable[[Callable[[], Node]], AbstractContextManager[Node]]:
    """Runs the node that a function makes, in a thread of its own, until the `with` block ends."""
    return running


@pytest.fixture
def ipc(tmp_path: Path) -> str:
    """An address of this test alone."""
    return f"ipc://{tmp_path}/node"


class RawNode:
    """A bare socket that publishes what it is told to, once someone has subscribed."""

    def __init__(self, endpoint: str = "tcp://127.0.0.1:*", **options: object) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self.socket.setsockopt(zmq.SNDHWM, 5000)
        self.socket.setsockopt(zmq.RCVTIMEO, 10_000)  # only a failing test waits for it
        for name, value in options.items():
            setattr(self.socket, name, value)
        self.socket.bind(endpoint)
        self.endpoint: str = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.epoch = 1

    def await_subscription(self, prefix: bytes = b"skelanon/1/") -> None:
        while self.socket.recv() != b"\x01" + prefix:
            pass

    def await_reconnection(self, subscriber: Subscriber) -> None:
        """Until the subscription comes anew; ZeroMQ sends it while the subscriber reads."""
        while not self.socket.poll(1) or self.socket.recv() != b"\x01skelanon/1/":
            assert subscriber.read(10) is None

    def send(self, kind: str, message: dict[str, Any], stream: str = "hall") -> None:
        topic = f"skelanon/1/{stream}/{kind}".encode()
        self.socket.send_multipart([topic, msgpack.packb({"stream": stream, "epoch": self.epoch} | message)])

    @staticmethod
    def frame_of(sequence: int) -> dict[str, Any]:
        """The fields of a frame with one body."""
        body = {"id": 9, "joints": bytes(300), "tracking": bytes([2] * 25)}
        times = {"captured_ns": 10, "published_ns": 20}
        return {"sequence": sequence, **times, "state": "ok", "bodies": [body], "dropped": 0}

    def frame(self, sequence: int, stream: str = "hall", **changes: object) -> None:
        self.send("frame", self.frame_of(sequence) | changes, stream)

    def status(self, state: str, stream: str = "hall") -> None:
        names = ["rate_in_hz", "rate_out_hz", "frames_in", "frames_out", "dropped", "withheld", "faults"]
        self.send("status", {"state": state, "uptime_s": 0, **dict.fromkeys(names, 0), "latency_us": {}}, stream)

    def schema(self, stream: str = "hall") -> None:
        message = {
            "wire": 1, "layout": "kinect-v2-25", "joint_names": JOINT_NAMES, "parents": PARENTS, "units": "m",
            "axes": "camera", "axes_description": "", "root": "keep", "model_name": "template",
            "model_sha256": "0" * 64, "audit": None,
        }  # fmt: skip
        self.send("schema", message, stream)

    def close(self) -> None:
        self.socket.close()
        self._context.term()


@pytest.fixture
def make_raw_node() -> Iterator[Callable[..., RawNode]]:
    """Makes raw nodes, and closes them after the test; the arguments are those of `RawNode`."""
    with ExitStack() as made:
        yield lambda *arguments, **options: made.enter_context(closing(RawNode(*arguments, **options)))


@pytest.fixture
def raw_node(make_raw_node: Callable[..., RawNode]) -> RawNode:
    """A raw node at a random port."""
    return make_raw_node()


@pytest.fixture
def events() -> list[Event]:
    """What `subscriber` reported."""
    return []


@pytest.fixture
def subscriber(raw_node: RawNode, events: list[Event]) -> Iterator[Subscriber]:
    """A subscriber to all streams of `raw_node`, which knows of it."""
    with Subscriber(raw_node.endpoint, on_event=events.append, stall_after_s=60) as subscriber:
        raw_node.await_subscription()
        yield subscriber


@pytest.fixture(scope="session")
def reference_bundle(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The public residual checkpoint as a bundle in `normalised` axes."""
    build = pytest.importorskip("skelanon.train.build", reason="needs skelanon[train]")
    path = tmp_path_factory.mktemp("bundles") / "residual.onnx"
    build.build_reference_residual(reference / "pretrained_resnet.pt", path)
    return path


@pytest.fixture(scope="session")
def recordings(data: Path) -> Callable[[str], Iterator[Floats]]:
    """Gives the bodies of a data set (`ntu`, `kgbd`, ...) in pieces of (F, 25, 3), metres, camera axes."""
    return lambda name: _recordings(name, data)


def _recordings(name: str, data: Path) -> Iterator[Floats]:
    """All bodies of a data set in pieces of (F, 25, 3), metres, camera axes; see the data's own README."""
    if name == "ntu":
        for path in skeleton_files(data / name):
            yield read_skeleton(path).joints.copy()
    elif name == "utd_mhad":
        yield _utd_mhad(data / name)
    elif name == "azure_kinect":
        yield _azure_kinect(data / name / "azure_positions.csv")
    elif name == "kinect_v2_csv":
        for path in sorted((data / name).glob("*.csv")):
            table = np.loadtxt(path, delimiter=",", dtype=np.float32, usecols=range(1, 101))
            yield np.ascontiguousarray(table.reshape(-1, 25, 4)[..., :3])
    else:
        stored = np.load(data / f"{name}.npz")
        for piece in np.array_split(stored["joints_i16"], max(1, len(stored["joints_i16"]) // 20000)):
            yield _lifted((piece * stored["scale_m"]).astype(np.float32), stored["kinect25_index"])


def _lifted(joints: Floats, source: NDArray[np.integer]) -> Floats:
    """(F, J, 3) to (F, 25, 3): a missing Neck is midway, another missing joint lies at its parent."""
    full = np.zeros((len(joints), 25, 3), np.float32)
    known = source >= 0
    full[:, known] = joints[:, source[known]]
    for joint in (INDEX["SpineShoulder"], *range(25)):  # parents first
        if not known[joint]:
            full[:, joint] = full[:, PARENTS[joint]]
    if not known[INDEX["Neck"]]:
        full[:, INDEX["Neck"]] = (full[:, INDEX["SpineShoulder"]] + full[:, INDEX["Head"]]) / 2
    return full


def _utd_mhad(folder: Path) -> Floats:
    loadmat = pytest.importorskip("scipy.io").loadmat
    theirs = [3, 2, -1, 0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 1, -1, -1, -1, -1]
    clips = [loadmat(path)["d_skel"].transpose(2, 0, 1) for path in sorted(folder.glob("*.mat"))]
    return _lifted(np.concatenate(clips).astype(np.float32), np.array(theirs))


_AZURE_NAMES = {
    "SpineBase": "PELVIS", "SpineMid": "SPINE_NAVEL", "SpineShoulder": "SPINE_CHEST",
    "HandTipLeft": "HANDTIP_LEFT", "HandTipRight": "HANDTIP_RIGHT",
}  # fmt: skip


def _azure_kinect(path: Path) -> Floats:
    """32 joints in millimetres, x right, y down; the map to 25 is that of docs/design.md."""
    names = [_AZURE_NAMES.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper() for name in JOINT_NAMES]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    values = [[[float(row[f"{name} ({axis})"]) for axis in "xyz"] for name in names] for row in rows]
    return (np.array(values) * (-1, -1, 1) / 1000).astype(np.float32)
