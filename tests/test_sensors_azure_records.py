"""What crosses the pipe from a camera's process, and what must not; and what is said when a part is missing."""

import io
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from skelanon.configs import check
from skelanon.configs.schema import AzureKinectSettings
from skelanon.sensors.azure_kinect import AzureKinect
from skelanon.sensors.azure_kinect.bindings import load
from skelanon.sensors.azure_kinect.child import LONGEST_GAP_S, Pace
from skelanon.sensors.azure_kinect.layout import BODY
from skelanon.sensors.azure_kinect.problems import MESSAGES, Problem
from skelanon.sensors.camera_process import CameraError
from skelanon.sensors.camera_process.records import Kind, Record, RecordError, pack
from skelanon.sensors.camera_process.records import read_record as read_any_record
from skelanon.sensors.errors import SensorError
from skelanon.sensors.frame import MAX_BODIES

HEADER_BYTES = 24


def read_record(stream: io.BytesIO) -> Record | None:
    return read_any_record(stream, BODY)


def a_frame(bodies: int) -> Record:
    made = np.frombuffer(np.random.default_rng(bodies).bytes(bodies * BODY.itemsize), BODY)
    return Record(Kind.FRAME, 0, (1 << 64) - 1, 1 << 62, made)


def test_the_layout_is_that_of_the_c_interface() -> None:
    assert BODY.itemsize == 4 + 1024
    assert [BODY["joints"].subdtype[0].fields[name][1] for name in ("position", "orientation", "confidence")] == [  # type: ignore[index]
        0, 12, 28,
    ]  # fmt: skip


@pytest.mark.parametrize("bodies", [0, 1, MAX_BODIES])
def test_a_frame_comes_out_as_it_went_in(bodies: int) -> None:
    stream = io.BytesIO(pack(a_frame(bodies)) + pack(Record(Kind.PROBLEM, Problem.DEVICE_LOST)))
    back = read_record(stream)
    assert back is not None
    assert (back.kind, back.device_usec, back.arrived_ns) == (Kind.FRAME, (1 << 64) - 1, 1 << 62)
    assert back.bodies.tobytes() == a_frame(bodies).bodies.tobytes()
    problem = read_record(stream)
    assert problem is not None
    assert (problem.kind, problem.detail) == (Kind.PROBLEM, Problem.DEVICE_LOST)
    assert read_record(stream) is None


def test_a_record_that_is_cut_off_is_the_end() -> None:
    whole = pack(a_frame(2))
    for length in (0, 1, HEADER_BYTES - 1, HEADER_BYTES, len(whole) - 1):
        assert read_record(io.BytesIO(whole[:length])) is None


def test_more_bodies_than_a_frame_has_are_refused_unread() -> None:
    stream = io.BytesIO(struct.pack("=4sBxHQq", b"SKA1", Kind.FRAME, MAX_BODIES + 1, 0, 0) + bytes(100_000))
    with pytest.raises(RecordError, match="65 bodies; a frame has at most 64"):
        read_record(stream)
    assert stream.tell() == HEADER_BYTES


@given(st.binary(max_size=100), st.integers(0, 200), st.booleans())
def test_whatever_stands_in_the_pipe_is_a_record_the_end_or_one_error(junk: bytes, at: int, begin_well: bool) -> None:
    data = bytearray(pack(a_frame(1)) if begin_well else b"")
    data[at : at + len(junk)] = junk
    stream = io.BytesIO(bytes(data))
    try:
        while (record := read_record(stream)) is not None:
            assert len(record.bodies) <= MAX_BODIES
    except RecordError:
        pass
    assert stream.tell() <= len(data)


def test_a_record_does_not_show_what_it_holds() -> None:
    assert repr(a_frame(2)) == "Record(FRAME, bodies=2)"


def test_every_problem_has_words_of_its_own() -> None:
    assert set(MESSAGES) == set(Problem)
    assert len(set(MESSAGES.values())) == len(Problem)


def test_without_the_package_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pykinect_azure", None)
    with pytest.raises(CameraError) as caught:
        load(None)
    assert "pip install 'skelanon[azure]'" in MESSAGES[caught.value.problem]


def test_a_package_that_cannot_be_imported_is_told_from_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pykinect_azure", reason="needs skelanon[azure]")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pykinect_azure", "cv2")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(CameraError) as caught:
        load(None)
    assert caught.value.problem is Problem.PACKAGE_BROKEN


def test_libraries_that_are_missing_or_no_libraries_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pykinect_azure", reason="needs skelanon[azure]")
    with pytest.raises(CameraError) as caught:
        load(str(tmp_path))
    assert caught.value.problem is Problem.LIBRARIES_EMPTY
    for name in ("libk4a.so", "k4a.dll"):
        (tmp_path / name).write_text("not a library")
    with pytest.raises(CameraError) as caught:
        load(str(tmp_path))
    assert caught.value.problem is Problem.K4A_MISSING
    assert "libk4a1.4-dev" in MESSAGES[caught.value.problem]
    assert "Failed to load library" in capsys.readouterr().out  # as pykinect_azure puts it


def test_a_recording_is_played_at_its_own_pace() -> None:
    now_s = 100.0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now_s
        slept.append(round(seconds, 6))
        now_s += seconds

    pace = Pace(lambda: now_s, sleep)
    for usec in (9_000_000, 9_033_000, 9_066_000):
        pace.wait(usec)
    now_s += 0.03  # the tracker takes its time
    pace.wait(9_100_000)
    now_s += 0.2  # too long: the next is late, those after it catch up
    pace.wait(9_133_000)
    pace.wait(9_500_000)
    pace.wait(9_500_000 + int(LONGEST_GAP_S * 1e6) + 1)  # a hole
    pace.wait(3_000_000)  # set back
    pace.wait(3_033_000)
    assert slept == [0.033, 0.033, 0.004, 0.2, 0.033]


def test_a_process_holds_memory() -> None:
    """In a new process: an old one may have room for it already."""
    code = (
        "from skelanon.sensors.camera_process.memory import resident_bytes\n"
        "before, held = resident_bytes(), bytearray(b'1') * (64 << 20)\n"
        "print(resident_bytes() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert 60 << 20 < int(done.stdout) < 80 << 20


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"depth_mode": "wfov_unbinned"}, "5 or 15 only"),
        ({"fast": True}, "only a `file` can be played"),
        ({"rate_hz": 60}, "5, 15 or 30"),
        ({"smoothing": 1.1}, "less than or equal to 1"),
        ({"depth_mode": "passive_ir"}, "nfov_unbinned"),
    ],
)
def test_settings_that_no_camera_has_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AzureKinectSettings.model_validate({"kind": "azure_kinect", **settings})


def test_the_settings_in_the_documentation_load() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "sensors.md").read_text("utf-8")
    section = page[page.index("## Azure Kinect and Orbbec Femto") :]
    settings = check(yaml.safe_load(section.split("```yaml\n")[1].split("```")[0]), "docs/sensors.md")
    (sensor,) = settings.sensors.values()
    assert isinstance(sensor, AzureKinectSettings)
    named = set(re.findall(r"`(\w+)`", section.split("### Settings")[1].split("### What happens")[0]))
    assert set(AzureKinectSettings.model_fields) - {"kind"} <= named


def test_neither_a_serial_number_nor_a_file_is_shown() -> None:
    settings = AzureKinectSettings(kind="azure_kinect", serial="000739291112", file="P042.mkv", fast=True)
    assert "000739291112" not in repr(settings)
    assert "P042" not in repr(settings)


def test_a_process_that_cannot_be_started_is_a_fault_of_the_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(SensorError, match="process cannot be started: No such file"):
        AzureKinect(AzureKinectSettings(kind="azure_kinect")).open()
