"""Recordings of every kind, written here: told apart by content, left is left, y is up, and damage is survived."""

import json
import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from skelanon.sensors.azure_joints import AZURE_JOINT_NAMES
from skelanon.sensors.body import ancestor_matrix, bone_lengths, rest_directions
from skelanon.sensors.errors import RecordingError, SensorError
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.joints import INDEX, JOINT_NAMES
from skelanon.sensors.recording import Recording
from skelanon.sensors.recordings import KINDS, kind_of, read_recording, recording_files
from skelanon.sensors.skeleton_writer import write_skeleton

Poses = NDArray[np.float32]
"""(T, M, 25, 3) metres, camera axes."""

TIMES_USEC = (333_500, 366_888, 400_211)
KINECT_V1 = (
    "Head", "SpineShoulder", "SpineMid", "SpineBase",
    "ShoulderLeft", "ElbowLeft", "WristLeft", "HandLeft", "ShoulderRight", "ElbowRight", "WristRight", "HandRight",
    "HipLeft", "KneeLeft", "AnkleLeft", "FootLeft", "HipRight", "KneeRight", "AnkleRight", "FootRight",
)  # fmt: skip
FILLED = {"Neck", "HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight"}


def poses(bodies: int = 1) -> Poses:
    """Persons who face the sensor, 3 m away, arms hanging but for the right one, which goes up."""
    bones = np.tile(rest_directions() * bone_lengths()[:, None], (len(TIMES_USEC), bodies, 1, 1))
    bones[1:, :, [INDEX[f"{part}Right"] for part in ("Elbow", "Wrist", "Hand", "HandTip", "Thumb")], 1] *= -1
    places = [(0.8 * body, 0.1, 3.0) for body in range(bodies)]
    exact = ancestor_matrix() @ bones + np.array(places)[:, None]
    clip: Poses = exact.astype(np.float32)
    return clip


def ntu(clip: Poses) -> bytes:
    states = np.full(clip.shape[1:3], 2, np.uint8)
    frames = [BodyFrame(0, bodies, states, tuple(range(7, 7 + len(bodies)))) for bodies in clip]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "written"
        write_skeleton(path, frames)
        return path.read_bytes()


def etri(clip: Poses) -> bytes:
    titles = [f"joint{joint}_3d{axis}" for joint in range(1, 26) for axis in "XYZ"]
    lines = [",".join(["frameNum", "bodyindexID", *titles])]
    for t, bodies in enumerate(clip):
        lines += [",".join([str(t), str(7 + i), *map(repr, body.ravel().tolist())]) for i, body in enumerate(bodies)]
    return "\n".join(lines).encode()


def kinect_name(azure: str) -> str:
    """The name that Kinect v2 gives to a joint of Azure Kinect, or would give."""
    spine = {"PELVIS": "SpineBase", "SPINE_NAVEL": "SpineMid", "SPINE_CHEST": "SpineShoulder"}
    return spine.get(azure, azure.replace("HANDTIP", "HAND_TIP").title().replace("_", ""))


def azure(body: NDArray[np.float32]) -> NDArray[np.float64]:
    """(32, 3) millimetres, x to the right, y down, with nonsense where Kinect v2 has no such joint."""
    joints = np.full((32, 3), 9999.0)
    for place, name in enumerate(AZURE_JOINT_NAMES):
        if kinect_name(name) in INDEX:
            x, y, z = body[INDEX[kinect_name(name)]].astype(float) * 1000
            joints[place] = -x, -y, z
    return joints


def azure_csv(clip: Poses) -> bytes:
    lines = [";".join(["timestamp", "body_idx", *(f"{name} ({c})" for name in AZURE_JOINT_NAMES for c in "cxyz")])]
    for time, bodies in zip(TIMES_USEC, clip, strict=True):
        for i, body in enumerate(bodies):
            rows = [[str(place % 4), *map(repr, joint)] for place, joint in enumerate(azure(body).tolist())]
            lines.append(";".join([str(time), str(7 + i), *(cell for row in rows for cell in row)]))
    return "\r\n".join([*lines, ""]).encode()


def k4abt_json(clip: Poses) -> bytes:
    frames = [
        {
            "bodies": [
                {"body_id": 7 + i, "joint_orientations": [[1, 0, 0, 0]] * 32, "joint_positions": azure(body).tolist()}
                for i, body in enumerate(bodies)
            ],
            "frame_id": 3 * t,
            "num_bodies": len(bodies),
            "timestamp_usec": time,
        }
        for t, (time, bodies) in enumerate(zip(TIMES_USEC, clip, strict=True))
    ]
    whole = {"bone_list": [["NECK", "HEAD"]], "frames": frames, "joint_names": AZURE_JOINT_NAMES}
    return json.dumps(whole | {"k4abt_sdk_version": "1.1.2", "source_file": "P007.mkv"}, indent=4).encode()


def kinect_csv(clip: Poses) -> bytes:
    rows = np.concatenate([clip[:, 0], np.full((len(clip), 25, 1), 2)], -1).reshape(len(clip), -1).tolist()
    lines = [
        f"{10 * time}," + ",".join(f"{value:.9g}" for value in row) for time, row in zip(TIMES_USEC, rows, strict=True)
    ]
    return "".join(f"{line},\n" for line in lines).encode()


def element(order: str, kind: int, content: bytes) -> bytes:
    return struct.pack(f"{order}II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")


def matlab(values: NDArray[Any], order: str = "<", *, compressed: bool = True, name: bytes = b"d_skel") -> bytes:
    """A MATLAB 5 file of one array of doubles, as its documentation says."""
    parts = (
        element(order, 6, struct.pack(f"{order}II", 6, 0)),
        element(order, 5, struct.pack(f"{order}{values.ndim}i", *values.shape)),
        element(order, 1, name)
        if len(name) > 4
        else struct.pack(f"{order}I", len(name) << 16 | 1) + name.ljust(4, b"\0"),
        element(order, 9, values.astype(f"{order}f8").tobytes("F")),
    )
    array = element(order, 14, b"".join(parts))
    if compressed:
        array = zlib.compress(array)
        array = struct.pack(f"{order}II", 15, len(array)) + array
    return b"MATLAB 5.0 MAT-file, made up".ljust(124) + struct.pack(f"{order}HH", 0x0100, 0x4D49) + array


def utd_mhad(clip: Poses) -> bytes:
    return matlab(clip[:, 0, [INDEX[name] for name in KINECT_V1]].transpose(1, 2, 0))


WRITERS: dict[str, Callable[[Poses], bytes]] = {
    "NTU": ntu, "ETRI": etri, "Azure Kinect CSV": azure_csv, "Azure Kinect JSON": k4abt_json,
    "Kinect v2 CSV": kinect_csv, "UTD": utd_mhad,
}  # fmt: skip
OF_ONE_BODY = {"Kinect v2 CSV", "UTD"}
LEFT_OUT_AND_COUNTED = {"Azure Kinect CSV", "Azure Kinect JSON", "Kinect v2 CSV"}
every_kind = pytest.mark.parametrize("kind", WRITERS)


def parse(data: bytes) -> Recording:
    kind = kind_of(data[:4096])
    assert kind is not None
    assert kind.parse is not None
    return kind.parse(data)


# --- each kind ---------------------------------------------------------------------------------------------------


@every_kind
def test_a_raised_right_hand_is_the_right_hand_y_is_up_and_units_are_metres(kind: str) -> None:
    recording = parse(WRITERS[kind](poses()))
    first, last = (recording.frame(index, 0).joints[0] for index in (0, 2))
    assert last[INDEX["HandRight"], 1] > last[INDEX["Head"], 1] > last[INDEX["HandLeft"], 1]
    assert_allclose(last[INDEX["HandLeft"]], first[INDEX["HandLeft"]], atol=1e-6)
    assert first[INDEX["ShoulderLeft"], 0] < 0 < first[INDEX["ShoulderRight"], 0]  # the person faces the sensor
    assert 1.4 < first[INDEX["Head"], 1] - first[INDEX["FootLeft"], 1] < 1.8
    assert_allclose(first[INDEX["SpineBase"]], (0.0, 0.1, 3.0), atol=1e-6)


@every_kind
def test_joints_bodies_and_frames_are_where_they_belong(kind: str) -> None:
    clip = poses(1 if kind in OF_ONE_BODY else 2)
    recording = parse(WRITERS[kind](clip))
    assert len(recording) == len(clip)
    assert recording.left_out == 0
    measured = [name not in FILLED or kind != "UTD" for name in JOINT_NAMES]
    for index, bodies in enumerate(clip):
        frame = recording.frame(index, captured_ns=index)
        assert len(set(frame.track_ids)) == len(bodies)
        assert frame.track_ids == recording.frame(0, 0).track_ids
        assert_allclose(frame.joints[:, measured], bodies[:, measured], atol=1e-6)
    assert not recording.joints.flags.writeable
    assert not recording.tracking.flags.writeable


@every_kind
def test_tracking_states_are_those_of_the_recording(kind: str) -> None:
    tracking = parse(WRITERS[kind](poses())).tracking
    expected = np.full(25, 2)
    if kind == "UTD":
        expected[[INDEX[name] for name in FILLED]] = 1
    if kind == "Azure Kinect CSV":  # confidence: the number of the joint modulo 4
        places = {kinect_name(name): place for place, name in enumerate(AZURE_JOINT_NAMES)}
        expected = np.array([(0, 1, 2, 2)[places[name] % 4] for name in JOINT_NAMES])
    assert_array_equal(tracking, np.tile(expected, (len(TIMES_USEC), 1)))


@every_kind
def test_native_times_are_kept_where_the_format_has_them(kind: str) -> None:
    recording = parse(WRITERS[kind](poses()))
    if kind in {"NTU", "ETRI", "UTD"}:
        assert recording.times_ns is None
        assert recording.step_ns(1) is None
    else:
        assert recording.times_ns == tuple(1000 * time for time in TIMES_USEC)
        assert [recording.step_ns(index) for index in range(3)] == [None, 33_388_000, 33_323_000]
    assert [recording.continues(index) for index in range(3)] == [False, True, True]


# --- told apart by content ---------------------------------------------------------------------------------------


@every_kind
def test_a_beginning_is_of_one_kind_alone(kind: str) -> None:
    head = WRITERS[kind](poses())[:4096]
    assert [known.name for known in KINDS if known.looks_like(head)] == [
        known.name for known in KINDS if known.name.startswith(kind)
    ]
    if kind != "UTD":
        assert kind_of(head.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")) is not None


@pytest.mark.parametrize(
    "head",
    [
        b"", b"\n", b"S001C002P005R002A008\n", b"3\n4\n5\n", b"person,gender,age\nP001,F,71\n", b'{"name": "x"}', b"{}",
        b"timestamp;body_idx;PELVIS (w);PELVIS (x);PELVIS (y);PELVIS (z)\n1;2;0;0;0;0\n", b"1,2,3\n", b"\x89PNG\r\n",
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", b"\xff" * 4096, b"," * 4096, b"0" * 4096,
    ],
)  # fmt: skip
def test_other_files_are_no_recordings(head: bytes) -> None:
    assert kind_of(head) is None


def test_a_recording_of_many_empty_frames_is_still_one_of_ntu() -> None:
    kind = kind_of((b"5000\r\n" + b"0\r\n" * 5000)[:4096])
    assert kind is not None
    assert kind.name.startswith("NTU")


def test_names_do_not_matter_and_what_is_no_recording_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, write in enumerate(WRITERS.values()):
        (tmp_path / f"{number}.skeleton").write_bytes(write(poses()))
    (tmp_path / "6.csv").write_bytes(b"\xef\xbb\xbf" + kinect_csv(poses()))
    (tmp_path / "gender_age.txt").write_text("P001, F, 71")
    (tmp_path / "P007.csv").write_text("")
    (tmp_path / "folder").mkdir()
    with caplog.at_level("INFO"):
        found = recording_files(tmp_path)
    assert [path.name for path in found] == [*(f"{n}.skeleton" for n in range(6)), "6.csv"]
    assert caplog.messages == ["2 of 9 files left out: of no known kind of recordings"]
    assert {len(read_recording(path)) for path in found} == {3}


def test_what_was_recorded_behind_a_node_is_refused_with_the_command_for_it(tmp_path: Path) -> None:
    (tmp_path / "P007").write_bytes(b"\x89MCAP0\r\n" + bytes(99))
    with pytest.raises(RecordingError, match="is anonymous already: `skelanon play` plays it"):
        read_recording(tmp_path / "P007")


@pytest.mark.parametrize(("content", "error", "words"), [
    (b"P007", RecordingError, "the recording is of no known kind"),
    (None, SensorError, "the recording cannot be read: No such file"),
])  # fmt: skip
def test_what_cannot_be_read_is_not_named(
    tmp_path: Path, content: bytes | None, error: type[Exception], words: str
) -> None:
    path = tmp_path / "P007"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=words) as caught:
        read_recording(path)
    assert "P007" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


# --- damage ------------------------------------------------------------------------------------------------------


def play(data: bytes) -> str:
    """Read and play; says how it ended. Anything else than a RecordingError is a failure of the test."""
    kind = kind_of(data[:4096])
    if kind is None or kind.parse is None:
        return "none"
    refusal = None
    try:
        recording = kind.parse(data)
    except RecordingError as error:
        refusal = error
    if refusal is not None:
        assert refusal.__cause__ is refusal.__context__ is None
        assert len(str(refusal)) < 300
        assert not re.search(r"\d\.\d{3}", str(refusal)), "quotes the recording"
        return "refused"
    for index in range(len(recording)):
        recording.frame(index, index, discontinuity=not recording.continues(index))
    assert recording.tracking.max(initial=0) <= 2
    assert bool(recording.left_out) == bool(recording.first_left_out)
    return "left out" if recording.left_out else "read"


TOKENS = [
    b"nan", b"-inf", b"1e999", b"", b"9" * 30, b"-1", b"0", b"1", b"x", b"null", b"[]", b"{}", b'"', b"1_0",
    b"4294967295", b"\xff", b"\0",
]  # fmt: skip
DAMAGES = ["cut off", "flip", "token", "insert", "delete", "repeat"]


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, float, int, bytes]]:
    """One to three of: what is done, where (0 to 1), for how many bytes, with which bytes."""
    damage = st.tuples(st.sampled_from(DAMAGES), st.floats(0, 1), st.integers(1, 400), st.sampled_from(TOKENS))
    return draw(st.lists(damage, min_size=1, max_size=3))


def damaged(data: bytes, what: str, where: float, size: int, token: bytes) -> bytes:
    at = int(where * len(data))
    match what:
        case "cut off":
            return data[:at]
        case "flip":
            return data[:at] + bytes(byte ^ 1 << size % 8 for byte in data[at : at + 1]) + data[at + 1 :]
        case "token":  # instead of the one that stands there
            return (
                re.compile(rb"[^\s;,\[\]{}:]+")
                .sub(token.replace(b"\\", b""), data[at:], count=1)
                .join((data[:at], b""))
            )
        case "insert":
            return data[:at] + token + data[at:]
        case "delete":
            return data[:at] + data[at + size :]
    return data[:at] + data[max(at - size, 0) :]


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    return {kind: write(poses()) for kind, write in WRITERS.items()}


@every_kind
@settings(max_examples=150, deadline=None)
@given(damages=damages())
def test_a_damaged_recording_is_read_refused_or_read_but_for_records(
    kind: str, contents: dict[str, bytes], damages: list[tuple[str, float, int, bytes]]
) -> None:
    data = contents[kind]
    for damage in damages:
        data = damaged(data, *damage)
    assert play(data) != "left out" or kind in LEFT_OUT_AND_COUNTED


REAL = (
    "ntu/S001C001P001R001A001.skeleton", "azure_kinect/azure_positions.csv", "kinect_v2_csv/Ges01_wavehand.csv",
    "utd_mhad/a3_s1_t1_skeleton.mat",
)  # fmt: skip


@pytest.mark.parametrize("name", REAL, ids=lambda name: name.partition("/")[0])
def test_a_damaged_real_recording_is_survived_too(data: Path, name: str) -> None:
    rng = np.random.default_rng(3)
    real = (data / name).read_bytes()
    ends = set()
    for _ in range(20):
        content = real
        for _ in range(rng.integers(1, 4)):
            what, token = rng.choice(DAMAGES), TOKENS[rng.integers(len(TOKENS))]
            content = damaged(content, what, rng.random(), int(rng.integers(1, 400)), token)
        ends.add(play(content))
    assert ends & {"refused", "left out"}
