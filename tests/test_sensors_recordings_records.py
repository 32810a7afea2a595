"""What each reader of recordings makes of a record that is not as it should be, and of files made to harm."""

import json
import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skelanon.sensors.azure_joints import AZURE_JOINT_NAMES
from skelanon.sensors.errors import RecordingError
from skelanon.sensors.frame import MAX_BODIES
from skelanon.sensors.recording import Recording, read_file
from skelanon.sensors.recordings import azure_csv, etri_csv, gathering, k4abt_json, kinect_csv, utd_mhad

Parse = Callable[[bytes], Recording]
Tree = dict[str, Any]

AZURE_TITLES = ["timestamp", "body_idx", *(f"{name} ({c})" for name in AZURE_JOINT_NAMES for c in "cxyz")]
AZURE_ROW = ["33000", "1", *(f"{2 if i % 4 == 0 else i}.125" for i in range(128))]
KINECT_ROW = ["330000", *("2" if i % 4 == 3 else f"{i}.125" for i in range(100))]
ETRI_TITLES = ["frameNum", "bodyindexID", *(f"joint{j}_3d{axis}" for j in range(1, 26) for axis in "xyz")]


def table(delimiter: str, *rows: list[str]) -> bytes:
    return "\n".join(delimiter.join(row) for row in rows).encode()


def changed(row: list[str], place: int, cell: str) -> list[str]:
    return [*row[:place], cell, *row[place + 1 :]]


def at(row: list[str], time: int, body: str = "1") -> list[str]:
    return [str(time), *row[1:]] if len(row) == 101 else [str(time), body, *row[2:]]


# --- tables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (AZURE_ROW[:-1], "129 cells stand here, not 130"),
        ([*AZURE_ROW, "1"], "131 cells stand here, not 130"),
        (AZURE_ROW[:40], "40 cells stand here, not 130"),
        (changed(AZURE_ROW, 9, "secret"), "a number is missing"),
        (changed(AZURE_ROW, 9, ""), "a number is missing"),
        (changed(AZURE_ROW, 9, "1_0"), "a number is missing"),
        (changed(AZURE_ROW, 9, "nan"), "a value is not finite, or too large"),
        (changed(AZURE_ROW, 9, "-1e7"), "a value is not finite, or too large"),
        (changed(AZURE_ROW, 0, "1.5"), "a whole number is missing"),
        (changed(AZURE_ROW, 0, "9" * 20), "its time is out of range"),
        (changed(AZURE_ROW, 1, "4294967295"), "its number is that of no body"),
        (changed(AZURE_ROW, 1, "-1"), "a whole number is missing"),
        (changed(AZURE_ROW, 3, "2.125"), "this body is in the frame already"),
    ],
)
def test_a_row_of_an_azure_csv_that_cannot_be_read_is_left_out(row: list[str], words: str) -> None:
    recording = azure_csv.parse(table(";", AZURE_TITLES, AZURE_ROW, row, at(AZURE_ROW, 66000)))
    assert len(recording) == len(recording.track_ids) == 2
    assert (recording.left_out, recording.first_left_out) == (1, f"line 3: {words}")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (KINECT_ROW[:-1], "100 cells stand here, not 101"),
        (changed(KINECT_ROW, 4, "3"), "a tracking state is not 0, 1 or 2"),
        (changed(KINECT_ROW, 4, "1.5"), "a tracking state is not 0, 1 or 2"),
        (changed(KINECT_ROW, 3, "inf"), "a value is not finite, or too large"),
        (changed(KINECT_ROW, 0, "now"), "a whole number is missing"),
        (KINECT_ROW, "this body is in the frame already"),
    ],
)
def test_a_line_of_a_kinect_csv_that_cannot_be_read_is_left_out(row: list[str], words: str) -> None:
    recording = kinect_csv.parse(table(",", KINECT_ROW, [], row, at(KINECT_ROW, 660000)))
    assert recording.times_ns == (33_000_000, 66_000_000)
    assert (recording.left_out, recording.first_left_out) == (1, f"line 3: {words}")


def test_where_most_cannot_be_read_it_is_no_recording() -> None:
    bad = changed(KINECT_ROW, 3, "x")
    assert kinect_csv.parse(table(",", KINECT_ROW, bad)).left_out == 1
    with pytest.raises(RecordingError, match=r"^most of its records cannot be read; line 2: a number is missing$"):
        kinect_csv.parse(table(",", KINECT_ROW, bad, bad))
    with pytest.raises(RecordingError, match="holds no frames"):
        azure_csv.parse(table(";", AZURE_TITLES))


def test_columns_of_an_azure_csv_are_found_by_name() -> None:
    order = np.random.default_rng(0).permutation(130)
    rows = [[f" {title.lower()} " for title in AZURE_TITLES], AZURE_ROW, at(AZURE_ROW, 66000)]
    shuffled = azure_csv.parse(table(";", *([row[i] for i in order] + ["a note"] for row in rows)))
    straight = azure_csv.parse(table(";", AZURE_TITLES, *rows[1:]))
    assert_array_equal(shuffled.joints, straight.joints)
    assert_array_equal(shuffled.tracking, straight.tracking)
    with pytest.raises(RecordingError, match=r"line 1: the header has no column `elbow_left \(c\)`"):
        azure_csv.parse(table(";", [title for title in AZURE_TITLES if title != "ELBOW_LEFT (c)"]))


def test_a_crowd_is_cut_off_at_the_most_that_a_frame_has() -> None:
    rows = [at(AZURE_ROW, 33000, str(body)) for body in range(MAX_BODIES + 5)]
    recording = azure_csv.parse(table(";", AZURE_TITLES, *rows))
    assert recording.track_ids == tuple(range(MAX_BODIES))
    assert recording.left_out == 5


def test_more_frames_than_are_read_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MAX_FRAMES", 2)
    with pytest.raises(RecordingError, match="more than 2 frames: split it"):
        kinect_csv.parse(table(",", *(at(KINECT_ROW, time) for time in range(3))))


def test_rows_of_etri_are_frames_in_the_order_of_their_numbers() -> None:
    places = [(4, 1), (2, 1), (4, 2)]
    rows = [[str(frame), str(body), *([f"{frame}.{body}"] * 75)] for frame, body in places]
    recording = etri_csv.parse(table(",", ETRI_TITLES, *rows))
    assert [recording.frame(i, 0).track_ids for i in range(2)] == [(1,), (1, 2)]
    assert recording.joints[:, 7, 1].tolist() == pytest.approx([2.1, 4.1, 4.2])
    assert len(etri_csv.parse(table(",", ETRI_TITLES))) == 0


# --- JSON --------------------------------------------------------------------------------------------------------


def tree() -> Tree:
    joints = [[i, 2.125, 3.125] for i in range(32)]
    frames = [{"timestamp_usec": 1000 * t, "bodies": [{"body_id": 7, "joint_positions": joints}]} for t in (1, 2, 3)]
    whole: Tree = json.loads(json.dumps({"frames": frames, "joint_names": AZURE_JOINT_NAMES}))
    return whole


def second_body(**changes: object) -> Tree:
    whole = tree()
    whole["frames"][1]["bodies"].append(whole["frames"][0]["bodies"][0] | {"body_id": 8} | changes)
    return whole


NO_ID = "frame 2, body 2: it has no `body_id`, or that of no body"
NO_JOINTS = "frame 2, body 2: it has no 32 `joint_positions`"


@pytest.mark.parametrize(
    ("whole", "words"),
    [
        (second_body(body_id=-1), NO_ID),
        (second_body(body_id=0xFFFFFFFF), NO_ID),
        (second_body(body_id="secret"), NO_ID),
        (second_body(joint_positions=[[1, 2, 3]] * 26), NO_JOINTS),
        (second_body(joint_positions=[[1, 2]] * 32), NO_JOINTS),
        (second_body(joint_positions=[[1, None, 3]] * 32), NO_JOINTS),
        (second_body(joint_positions="secret" * 99_999), NO_JOINTS),
        (second_body(joint_positions=[[1, 1e30, 3]] * 32), "frame 2, body 2: a value is not finite, or too large"),
        (second_body(body_id=7), "frame 2: this body is in the frame already"),
    ],
)
def test_a_body_of_a_json_that_cannot_be_read_is_left_out(whole: Tree, words: str) -> None:
    recording = k4abt_json.parse(json.dumps(whole).encode())
    assert recording.frame_start == (0, 1, 2, 3)
    assert (recording.left_out, recording.first_left_out) == (1, words)


def test_a_frame_of_a_json_is_empty_only_where_it_says_so() -> None:
    whole = tree()
    whole["frames"][0]["bodies"] = []
    whole["frames"][1]["bodies"][0]["joint_positions"] = []
    whole["frames"].append({"bodies": []})
    recording = k4abt_json.parse(json.dumps(whole).encode())
    assert recording.times_ns == (1_000_000, 3_000_000)
    assert recording.frame_start == (0, 0, 1)
    assert recording.left_out == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"frames": [{}, {', "the recording ends too early"),
        (b'{"frames": [{}, {}}', "the recording is not JSON with a list of `frames` (byte 18)"),
        (b'{"frames": "secret"}', "the recording is not JSON with a list of `frames`"),
        (b'{"source_file": "secret"}', "the recording is not JSON with a list of `frames`"),
        (b'{"frames": []}', "the recording holds no frames"),
        (b'{"frames": [1, 2, 3]}', "the recording is not JSON with a list of `frames`"),
        (b'{"frames": [{}]}', "most of its records cannot be read; frame 1: it has no `timestamp_usec`"),
        (b'{"frames": [], "joint_names": {}}', "`joint_names` are not the 32 of Azure"),
        (b'{"bone_list": ' + b"[" * 100_000, "the recording is not JSON with a list of `frames`"),
        (b'{"frames": [' + b"[" * 100_000, "the recording is not JSON with a list of `frames`"),
        (json.dumps({"frames": [], "joint_names": ["secret"]}).encode(), "`joint_names` are not the 32 of Azure"),
        (json.dumps({"frames": [], "joint_names": AZURE_JOINT_NAMES[::-1]}).encode(), "`joint_names` are not the 32"),
    ],
)
def test_a_json_of_something_else_is_refused_without_quoting_it(data: bytes, words: str) -> None:
    with pytest.raises(RecordingError, match=f"^{re.escape(words)}") as caught:
        k4abt_json.parse(data)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_the_older_spelling_of_a_joint_is_known() -> None:
    whole = tree()
    whole["joint_names"][1] = "SPINE_NAVAL"
    assert len(k4abt_json.parse(json.dumps(whole).encode())) == 3


# --- MATLAB ------------------------------------------------------------------------------------------------------

HEADER = b"MATLAB 5.0 MAT-file, made up".ljust(124) + b"\x00\x01IM"


def element(order: str, kind: int, content: bytes) -> bytes:
    return struct.pack(f"{order}II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")


def array(
    values: np.ndarray[Any, Any], order: str = "<", name: bytes = b"d_skel", *, kind: int = 6, shape: Any = None
) -> bytes:
    """An array's element, as MathWorks' documentation says."""
    shape = values.shape if shape is None else shape
    short = struct.pack(f"{order}I", len(name) << 16 | 1) + name.ljust(4, b"\0")
    stored = {"f4": 7, "f8": 9, "u1": 2, "i2": 3}[values.dtype.str[1:]]
    content = [
        element(order, 6, struct.pack(f"{order}II", kind, 0)),
        element(order, 5, struct.pack(f"{order}{len(shape)}i", *shape)),
        element(order, 1, name) if len(name) > 4 else short,
        element(order, stored, values.astype(values.dtype.newbyteorder(order)).tobytes("F")),
    ]
    return element(order, 14, b"".join(content))


def compressed(content: bytes, order: str = "<") -> bytes:
    content = zlib.compress(content)
    return struct.pack(f"{order}II", 15, len(content)) + content


SKELETON = np.arange(1.0, 20 * 3 * 4 + 1).reshape(20, 3, 4)
OTHER = array(np.zeros((2, 2)), name=b"x")


@pytest.mark.parametrize(
    "data",
    [
        HEADER + array(SKELETON),
        HEADER + compressed(array(SKELETON)),
        HEADER + OTHER + compressed(OTHER) + compressed(array(SKELETON)) + b"rubbish",
        HEADER + array(SKELETON.astype(np.float32), kind=7),
        HEADER + array(SKELETON.astype(np.int16)),  # doubles that are whole are stored small
        HEADER[:124] + b"\x01\x00MI" + array(SKELETON, ">"),
        HEADER[:124] + b"\x01\x00MI" + compressed(array(SKELETON, ">"), ">"),
    ],
)
def test_an_array_is_read_however_it_is_stored(data: bytes) -> None:
    joints = utd_mhad.parse(data).joints
    assert_array_equal(joints[:, 3], SKELETON[0].T)  # the head
    assert_array_equal(joints[:, 19], SKELETON[19].T)  # the right foot


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (HEADER, "it holds no variable `d_skel`"),
        (HEADER + OTHER, "it holds no variable `d_skel`"),
        (HEADER + array(SKELETON[:19]), r"`d_skel` is \(19, 3, 4\) float64; it must be \(20, 3, frames\) of floats"),
        (HEADER + array(SKELETON.astype(np.int16), kind=10), r"`d_skel` is \(20, 3, 4\) no floats"),
        (HEADER + array(np.full((20, 3, 2), np.nan)), "`d_skel` holds values that are not finite"),
        (HEADER + array(SKELETON, shape=(20, 3, 5)), "it is damaged"),
        (HEADER + array(SKELETON, shape=(20, 3, -4)), "it is damaged"),
        (HEADER + array(SKELETON, shape=(2**31 - 1,) * 3), "it is damaged"),
        (HEADER + array(SKELETON, shape=()), "it is damaged"),
        (HEADER + array(SKELETON)[:-9], "it is damaged"),
        (HEADER + compressed(array(SKELETON)[:-9]), "it is damaged"),
        (HEADER + compressed(array(SKELETON))[:-9], "it is damaged"),
        (HEADER + b"\x0f\0\0\0\x07\0\0\0rubbish", "it is damaged"),
        (HEADER + b"\x0e", "it is damaged"),
        (b"rubbish", "it is no MATLAB 5 file"),
    ],
)
def test_a_matlab_file_of_something_else_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(RecordingError, match=f"^{words}") as caught:
        utd_mhad.parse(data)
    assert caught.value.__cause__ is caught.value.__context__ is None


# --- files made to harm ------------------------------------------------------------------------------------------

MIB = 1 << 20


def of_joints(joints: bytes) -> bytes:
    return b'{"frames": [{"timestamp_usec": 1, "bodies": [{"body_id": 1, "joint_positions": [' + joints + b"[]]}]}]}"


BOMB = compressed(array(np.zeros((20, 3, 400_000)))[: 180 * MIB])


@pytest.mark.parametrize(
    ("parse", "data", "most"),
    [
        (utd_mhad.parse, HEADER + BOMB, 100 * MIB),
        (utd_mhad.parse, HEADER + compressed(bytes(180 * MIB)) * 64, 10 * MIB),
        (azure_csv.parse, b";" * 8 * MIB, 20 * MIB),
        (azure_csv.parse, table(";", AZURE_TITLES) + b"\n" + b";" * 8 * MIB, 30 * MIB),
        (kinect_csv.parse, b"," * 8 * MIB, 30 * MIB),
        (kinect_csv.parse, b"\n" * 2 * MIB, MIB),
        (kinect_csv.parse, b"9" * 8 * MIB, 30 * MIB),
        (etri_csv.parse, b"," * 8 * MIB, 40 * MIB),
        (etri_csv.parse, table(",", ETRI_TITLES) + b"\n" + b"\n" * 8 * MIB, 10 * MIB),
        (k4abt_json.parse, b'{"frames": [' + b"[" * MIB, 10 * MIB),
        (k4abt_json.parse, b'{"frames": [' + b"1," * MIB, MIB),
        (k4abt_json.parse, b'{"frames": [' + b"{}," * 2 * MIB, MIB),
        (k4abt_json.parse, b'{"frames": [{"timestamp_usec": 1, "bodies": [' + b"1," * MIB + b"1]}]}", MIB),
        (k4abt_json.parse, of_joints(b"[1,2,3]," * MIB), MIB),
        (k4abt_json.parse, b'{"frames": [], "joint_names": [' + b'"",' * MIB + b'""]}', MIB),
    ],
)
def test_a_file_made_to_harm_costs_little_more_than_its_size(parse: Parse, data: bytes, most: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RecordingError):
            parse(data)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def test_a_file_larger_than_the_limit_is_refused(tmp_path: Any) -> None:
    (tmp_path / "a").write_bytes(bytes(10))
    assert read_file(tmp_path / "a", 10) == bytes(10)
    with pytest.raises(RecordingError, match="larger than 9 bytes: split it"):
        read_file(tmp_path / "a", 9)
