"""The `.skeleton` reader: real recordings, recordings written here, and thousands of damaged ones."""

import pickle  # noqa: TID251 - to see it refused
import re
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skelanon.cli.dict_parser import dict_parser
from skelanon.sensors import ntu
from skelanon.sensors.errors import RecordingError, SensorError
from skelanon.sensors.motion_energy import motion_energy, two_bodies_by_motion_energy
from skelanon.sensors.ntu import missing_skeletons, parse_skeleton, read_skeleton, skeleton_files
from skelanon.sensors.recording import Recording

Body = tuple[int, Sequence[Sequence[float]], Sequence[int]]
"""Track id, 25 x (x, y, z), 25 tracking states."""

NAME = "S001C001P007R001A042"
ID = 72057594037931101


def text_of(frames: Sequence[Sequence[Body]]) -> str:
    """The recording as an NTU file would hold it, all twelve columns filled."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for track_id, joints, states in bodies:
            lines += [f"{track_id} 0 1 1 1 1 0 0.02764709 -0.05745083 2", "25"]
            lines += [
                f"{x!r} {y!r} {z!r} 277.419 191.8218 1036.233 519.1677 -0.2059419 0.05349901 0.9692109 -1.2E-05 {state}"
                for (x, y, z), state in zip(joints, states, strict=True)
            ]
    return "\n".join(lines) + "\n"


def some_body(track_id: int = ID, offset: float = 0.0) -> Body:
    """A body whose every joint value is different and has many digits."""
    joints = [[offset + 0.7315913 + 0.01137 * (3 * joint + axis) for axis in range(3)] for joint in range(25)]
    return track_id, joints, [joint % 3 for joint in range(25)]


SMALL = text_of([[some_body()], [], [some_body(ID, 1.0), some_body(ID + 6, -1.0)]])


def with_token(line: int, column: int, token: str) -> bytes:
    """SMALL with another token in a line (from 1 on) and column (from 0 on)."""
    lines = [line.split(" ") for line in SMALL.splitlines()]
    lines[line - 1][column] = token
    return "\n".join(" ".join(tokens) for tokens in lines).encode()


# --- real recordings ---------------------------------------------------------------------------------------------


def test_real_recordings_read_as_a_plain_dict_parser_reads_them(data: Path) -> None:
    paths = skeleton_files(data / "ntu")
    assert len(paths) == 10
    for path in paths:
        recording, expected = read_skeleton(path), dict_parser(path)
        assert len(recording) == expected["numFrame"]
        for index, bodies in enumerate(frame["bodyInfo"] for frame in expected["frameInfo"]):
            frame = recording.frame(index, captured_ns=7)
            assert frame.track_ids == tuple(body["bodyID"] for body in bodies)
            joints = [[[joint[axis] for axis in "xyz"] for joint in body["jointInfo"]] for body in bodies]
            assert_array_equal(frame.joints, np.array(joints, np.float32))
            states = [[joint["trackingState"] for joint in body["jointInfo"]] for body in bodies]
            assert_array_equal(frame.tracking, states)


def test_a_person_in_a_real_recording_stands_on_the_floor_and_faces_the_sensor(data: Path) -> None:
    frame = read_skeleton(data / "ntu" / "S001C001P001R001A001.skeleton").frame(0, 0)
    (body,) = frame.joints
    assert body[3, 1] > body[0, 1] > body[15, 1]  # head above hips above foot
    assert body[4, 0] < body[8, 0]  # the left shoulder to the sensor's right
    assert 1.0 < body[0, 2] < 5.0
    assert frame.track_ids == (ID,)


def test_motion_energy_chooses_the_bodies_of_the_public_preprocessing(data: Path, reference: Path) -> None:
    expected = np.load(reference / "ntu_expected.npz", allow_pickle=False)
    not_in_order_of_appearance = set()
    for name, raw in zip(expected["names"], expected["raw"], strict=True):  # (3, 300, 25, 2)
        recording = read_skeleton(data / "ntu" / str(name))
        chosen = two_bodies_by_motion_energy(recording)
        assert_array_equal(chosen.transpose(3, 1, 2, 0), raw[:, : len(recording)])
        assert not raw[:, len(recording) :].any()
        if not np.array_equal(chosen[0], recording.joints[list(recording.frame_start[:-1])]):
            not_in_order_of_appearance.add(str(name).removesuffix(".skeleton"))
    # In these two the body that is second in the file moves more: a whole clip's energy swaps them, a stream does not.
    assert not_in_order_of_appearance == {"S001C001P001R001A050", "S017C003P020R002A058"}


# --- recordings written here -------------------------------------------------------------------------------------

any_joints = st.binary(min_size=300, max_size=300).map(lambda data: memoryview(data).cast("f", (25, 3)).tolist())
any_states = st.lists(st.integers(0, 2), min_size=25, max_size=25)
any_body = st.tuples(st.integers(0, 2**64 - 1), any_joints, any_states)
clips = st.lists(st.lists(any_body, max_size=6, unique_by=lambda body: body[0]), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(clips)
def test_what_is_written_is_read(clip: list[list[Body]]) -> None:
    recording = parse_skeleton(text_of(clip).encode())
    assert len(recording) == len(clip)
    for index, written in enumerate(clip):
        frame = recording.frame(index, captured_ns=index, discontinuity=index == 0)
        assert (frame.captured_ns, frame.discontinuity) == (index, index == 0)
        assert frame.track_ids == tuple(track_id for track_id, _, _ in written)
        for joints, tracking, (_, written_joints, states) in zip(frame.joints, frame.tracking, written, strict=True):
            assert_array_equal(joints, np.array(written_joints, np.float32))
            assert_array_equal(tracking, states)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.rstrip(),
        lambda text: text + "\r\n\n  \n",
        lambda text: text.replace(" ", "  "),
        lambda text: text.replace(" ", "\t"),
        lambda text: text.replace("\n", " \n "),
        lambda text: text.replace(" 0.", " +.").replace("\n0.", "\n."),
    ],
    ids=["crlf", "no last line end", "blank lines at the end", "two blanks", "tabs", "blanks around", "no zeros"],
)
def test_other_spellings_of_the_same_recording(change: Callable[[str], str]) -> None:
    plain, other = parse_skeleton(SMALL.encode()), parse_skeleton(change(SMALL).encode())
    assert_array_equal(plain.joints, other.joints)
    assert_array_equal(plain.tracking, other.tracking)
    assert (plain.track_ids, plain.frame_start) == (other.track_ids, other.frame_start)


@pytest.mark.parametrize(("token", "value"), [("NaN", np.nan), ("-inf", -np.inf), ("1e999", np.inf), ("1e39", np.inf)])
def test_values_that_are_not_finite_are_let_through(token: str, value: float) -> None:
    recording = parse_skeleton(with_token(6, 1, token))
    assert_array_equal(recording.joints[0, 1, 1], np.float32(value))
    assert np.isfinite(recording.joints).sum() == 3 * 75 - 1


def test_a_frame_is_a_read_only_view() -> None:
    recording = parse_skeleton(SMALL.encode())
    frame = recording.frame(2, 0)
    assert np.shares_memory(frame.joints, recording.joints)
    assert np.shares_memory(frame.tracking, recording.tracking)
    for array in (frame.joints, frame.tracking):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0
    with pytest.raises(IndexError):
        recording.frame(3, 0)


def test_a_recording_neither_shows_its_values_nor_is_pickled() -> None:
    recording = parse_skeleton(SMALL.encode())
    assert repr(recording) == "Recording(frames=3, bodies=3)"
    with pytest.raises(TypeError, match="must not leave the process"):
        pickle.dumps(recording)


# --- damaged recordings ------------------------------------------------------------------------------------------

SECOND_BODY = 1 + 1 + 27 + 1 + 1 + 27 + 1  # line of the second body of the last frame


@pytest.mark.parametrize(
    ("recording", "message"),
    [
        (b"", "line 1: the number of frames must stand here"),
        (b"0\n", "line 1: the number of frames must stand here, 1 to"),
        (b"\x00\x01\xff" * 99, "line 1: the number of frames"),
        ("٣\n0\n".encode(), "line 1: the number of frames"),
        (SMALL.encode("utf-16"), "line 1: the number of frames"),
        (b"1000000000\n1\n", "line 1: the number of frames must stand here, 1 to 200000"),
        (b"200000\n1\n", "line 2: the recording ends too early"),
        (b"9" * 5000, "line 1: the number of frames"),
        (with_token(1, 0, "2"), "line 31: the recording must have ended"),
        (with_token(1, 0, "4"), "line 85: the recording ends too early"),
        (with_token(2, 0, "7"), "line 2: the number of bodies must stand here, 0 to 6"),
        (with_token(2, 0, "-1"), "line 2: the number of bodies"),
        (with_token(2, 0, "1_0"), "line 2: the number of bodies"),
        (with_token(3, 0, "1e3"), "line 3: a body must stand here"),
        (with_token(3, 0, "-5"), "line 3: a body must stand here"),
        (with_token(3, 7, "lean"), "line 3: a body must stand here"),
        (with_token(4, 0, "24"), "line 4: the number of joints must stand here, 25"),
        (with_token(4, 0, "1000000000"), "line 4: the number of joints must stand here, 25"),
        (with_token(5, 0, "0,73"), "line 5: a joint must stand here"),
        (with_token(5, 0, "0x1p3"), "line 5: a joint must stand here"),
        (with_token(5, 0, "1_000"), "line 5: a joint must stand here"),
        (with_token(6, 6, "1.2.3"), "line 6: a joint must stand here"),
        (with_token(6, 6, "null"), "line 6: a joint must stand here"),
        (with_token(6, 6, "1 2"), "line 6: a joint must stand here"),
        (with_token(6, 6, "1,null,2"), "line 6: a joint must stand here"),
        (with_token(6, 6, ""), "line 6: a joint must stand here"),
        (with_token(7, 11, "3"), "line 7: a joint must stand here: 11 numbers, then its tracking state, 0, 1 or 2"),
        (with_token(7, 11, "-1"), "line 7: a joint must stand here"),
        (with_token(7, 11, "NaN"), "line 7: a joint must stand here"),
        (with_token(7, 11, "1.0"), "line 7: a joint must stand here"),
        (with_token(SECOND_BODY, 0, str(ID)), f"line {SECOND_BODY}: this body is in the frame already"),
        (SMALL.encode()[:-40], "line 85: a joint must stand here"),
        (SMALL.encode() + b"0 0 0\n", "line 86: the recording must have ended"),
        (SMALL.encode() + b"\x00", "line 86: the recording must have ended"),
    ],
)
def test_the_error_names_the_line(recording: bytes, message: str) -> None:
    with pytest.raises(RecordingError, match=f"^{re.escape(message)}"):
        parse_skeleton(recording)


def test_a_file_larger_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "a.skeleton"
    path.write_text(SMALL)
    monkeypatch.setattr(ntu, "MAX_BYTES", len(SMALL))
    assert len(read_skeleton(path)) == 3
    monkeypatch.setattr(ntu, "MAX_BYTES", len(SMALL) - 1)
    with pytest.raises(RecordingError, match=r"larger than \d+ bytes: split it"):
        read_skeleton(path)


def test_a_count_allocates_nothing() -> None:
    tracemalloc.start()
    try:
        for recording in (b"1000000000\n", b"1\n6\n", b"1\n1\n1 0 0 0 0 0 0 0 0 2\n1000000000\n"):
            with pytest.raises(RecordingError):
                parse_skeleton(recording)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_what_cannot_be_read_is_not_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{NAME}.skeleton"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(SensorError, match=r"cannot be read: (No such file|Is a directory|Permission denied)") as caught:
        read_skeleton(path)
    assert NAME not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


ODD_TOKENS = [
    "",
    "NaN",
    "-Infinity",
    "1e999",
    "4294967296",
    "-1",
    "25",
    "6",
    "7",
    "0",
    "2",
    "x",
    "[",
    '"',
    "null",
    "1_0",
]
ODD_BYTES = [b"\n", b"\r", b" ", b"\x00", b"\xff\xfe", "½".encode(), b",", b"],[", b"-", b"9" * 400]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """SMALL, damaged in one to three ways."""
    data = SMALL.encode()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["truncate", "flip", "token", "insert", "cut", "repeat"])):
            case "truncate":
                data = data[:at]
            case "flip":
                data = (
                    data[:at]
                    + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[at : at + 1])
                    + data[at + 1 :]
                )
            case "token":
                start = max(data.rfind(b" ", 0, at), data.rfind(b"\n", 0, at)) + 1
                end = min((data + b" \n").find(b" ", at), (data + b" \n").find(b"\n", at))
                data = data[:start] + draw(st.sampled_from(ODD_TOKENS)).encode() + data[end:]
            case "insert":
                data = data[:at] + draw(st.sampled_from(ODD_BYTES)) + data[at:]
            case "cut":
                data = data[:at] + data[at + draw(st.integers(1, 300)) :]
            case "repeat":
                data = data[:at] + data[max(at - draw(st.integers(1, 300)), 0) :]
    return data


SECRETS = {token for token in SMALL.split() if len(token) > 4}


@settings(max_examples=4000, deadline=None)
@given(damaged())
def test_a_damaged_recording_is_read_or_refused_without_quoting_it(data: bytes) -> None:
    refusal = None
    try:
        check(parse_skeleton(data))
    except RecordingError as error:
        refusal = error
    if refusal is not None:
        line = re.match(r"line ([1-9]\d*): ", str(refusal))
        assert line is not None
        assert int(line[1]) <= data.count(b"\n") + 1
        assert not [secret for secret in SECRETS if secret in str(refusal)]
        assert refusal.__cause__ is refusal.__context__ is None


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300))
def test_binary_is_refused(data: bytes) -> None:
    with pytest.raises(RecordingError, match=r"^line \d+: "):
        parse_skeleton(b"1\n1\n" + data)


def check(recording: Recording) -> None:
    """A recording that was read can be played."""
    total = len(recording.track_ids)
    assert recording.joints.shape == (total, 25, 3)
    assert recording.tracking.max(initial=0) <= 2
    assert recording.frame_start[-1] == total
    for index in range(len(recording)):
        assert len(recording.frame(index, 0).track_ids) <= 6


# --- the choice of two bodies ------------------------------------------------------------------------------------


def moving(frames: int, step: float) -> np.ndarray:
    """(frames, 25, 3): a body that moves `step` along x from frame to frame."""
    body = np.random.default_rng(0).normal(1.0, 0.3, (1, 25, 3)).repeat(frames, 0)
    body[:, :, 0] += step * np.arange(frames)[:, None]
    return body


def clip_of(bodies: Sequence[np.ndarray]) -> Recording:
    """A recording of bodies (T, 25, 3) in this order, each with its place as its id."""
    frames = [[(place, body[t].tolist(), [2] * 25) for place, body in enumerate(bodies)] for t in range(len(bodies[0]))]
    return parse_skeleton(text_of(frames).encode())


def test_the_two_that_move_most_are_chosen_the_liveliest_first() -> None:
    chair, walker, runner = moving(10, 0.0), moving(10, 0.1), moving(10, 0.2)
    chosen = two_bodies_by_motion_energy(clip_of([chair, walker, runner]))
    assert_array_equal(chosen, np.array([runner, walker], np.float32))


def test_a_single_body_is_followed_by_zeros() -> None:
    walker = moving(10, 0.1)
    first, second = two_bodies_by_motion_energy(clip_of([walker]))
    assert_array_equal(first, walker.astype(np.float32))
    assert not second.any()


def test_the_fifth_body_of_a_frame_is_no_candidate() -> None:
    bodies = [*(moving(10, step) for step in (0.01, 0.02, 0.03, 0.04)), moving(10, 9.0)]
    assert_array_equal(two_bodies_by_motion_energy(clip_of(bodies))[0], bodies[3].astype(np.float32))


def test_motion_energy_is_the_sum_of_the_deviations_along_the_axes() -> None:
    body = np.zeros((2, 25, 3))
    body[0], body[1] = (1.0, 2.0, 3.0), (3.0, 2.0, 7.0)  # deviations 1, 0 and 2
    assert motion_energy(body) == pytest.approx(3.0)
    absent, broken = np.zeros((4, 25, 3)), np.full((1, 25, 3), np.nan)
    assert motion_energy(np.concatenate([absent, body, broken])) == pytest.approx(3.0)
    assert motion_energy(absent) == 0.0


# --- folders -----------------------------------------------------------------------------------------------------


def test_a_folder_without_what_its_lists_name_as_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["S001C001P001R001A003", "S001C001P001R001A001", "S001C002P005R002A008", "S018C001P008R001A061"]
    for name in names:
        (tmp_path / f"{name}.skeleton").touch()
    (tmp_path / "folder.skeleton").mkdir()
    (tmp_path / "README.md").write_text(names[0])
    (tmp_path / "train.txt").write_text("\n".join(names))  # a list, but not of missing skeletons
    (tmp_path / "NTU_RGBD_samples_with_missing_skeletons.txt").write_bytes(
        b"\xef\xbb\xbfThe samples below\r\n\r\nS001C002P005R002A008\r\nS001C002P006R001A008\r\n"
    )
    (tmp_path / "NTU_RGBD120_samples_with_missing_skeletons.txt").write_text(f"{names[3]}.skeleton\n")
    assert missing_skeletons(tmp_path) == {names[2], names[3], "S001C002P006R001A008"}
    with caplog.at_level("INFO"):
        assert [path.stem for path in skeleton_files(tmp_path)] == [names[1], names[0]]
    assert caplog.messages == ["2 of 4 recordings skipped: listed as missing skeletons"]
