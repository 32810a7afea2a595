"""What every sensor does, asked of each of them, and what our own recordings keep."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from skelanon.configs.schema import ReplaySettings, SensorSettings, SyntheticSettings
from skelanon.sensors.errors import EndOfRecording, SensorError
from skelanon.sensors.factory import create_sensor
from skelanon.sensors.frame import BodyFrame, no_bodies
from skelanon.sensors.ntu import read_skeleton
from skelanon.sensors.sensor import Sensor
from skelanon.sensors.skeleton_writer import write_demo_recording, write_skeleton
from skelanon.sensors.synthetic import Synthetic

FRAMES = 12

MakeSettings = Callable[[float], SensorSettings]
"""The settings of a sensor of FRAMES frames at a rate in Hz."""


def synthetic(rate_hz: float, *, fast: bool = False) -> SyntheticSettings:
    return SyntheticSettings(kind="synthetic", persons=2, seed=4, rate_hz=rate_hz, frames=FRAMES, fast=fast)


def frames_of(settings: SensorSettings) -> list[BodyFrame]:
    with create_sensor(settings) as sensor:
        return read_all(sensor)


def read_all(sensor: Sensor) -> list[BodyFrame]:
    """All frames up to the end; a frame may take a second to come."""
    frames = []
    try:
        while True:
            frame = sensor.read(timeout_ms=1000)
            assert isinstance(frame, BodyFrame)
            frames.append(frame)
    except EndOfRecording:
        return frames


@pytest.fixture(params=["synthetic", "replay"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., SensorSettings]:
    if request.param == "synthetic":
        return synthetic
    recording = tmp_path / "made-up.skeleton"
    write_demo_recording(recording, seconds=FRAMES / 30)
    return lambda rate_hz, fast=False: ReplaySettings(kind="replay", path=str(recording), rate_hz=rate_hz, fast=fast)


@pytest.fixture(params=["paced", "fast"])
def settings(request: pytest.FixtureRequest, make: Callable[..., SensorSettings]) -> SensorSettings:
    return make(500.0, fast=request.param == "fast")


def test_delivers_every_frame_and_then_ends_for_good(settings: SensorSettings) -> None:
    with create_sensor(settings) as sensor:
        assert len(read_all(sensor)) == FRAMES
        with pytest.raises(EndOfRecording):
            sensor.read(timeout_ms=0)


def test_frames_are_bodies_of_now(settings: SensorSettings) -> None:
    before = time.time_ns()
    frames = frames_of(settings)
    times = [frame.captured_ns for frame in frames]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= time.time_ns()
    assert all(len(frame.track_ids) == 2 for frame in frames)
    assert all(np.isfinite(frame.joints).all() and frame.tracking.max() <= 2 for frame in frames)
    assert len({frame.track_ids for frame in frames}) == 1
    assert any((a.joints != b.joints).any() for a, b in pairwise(frames))


def test_only_the_first_frame_is_a_discontinuity(settings: SensorSettings) -> None:
    assert [frame.discontinuity for frame in frames_of(settings)] == [True] + [False] * (FRAMES - 1)


def test_opening_again_starts_anew_with_the_same_frames(settings: SensorSettings) -> None:
    sensor = create_sensor(settings)
    with sensor:
        abandoned = sensor.read(timeout_ms=1000)
    with sensor:
        again = read_all(sensor)
    assert abandoned is not None
    assert again[0].discontinuity
    np.testing.assert_array_equal(again[0].joints, abandoned.joints)
    for a, b in zip(again, frames_of(settings), strict=True):
        np.testing.assert_array_equal(a.joints, b.joints)
        np.testing.assert_array_equal(a.tracking, b.tracking)
        assert a.track_ids == b.track_ids


def test_closes_in_any_state_and_twice(settings: SensorSettings) -> None:
    sensor = create_sensor(settings)
    sensor.close()
    sensor.open()
    sensor.close()
    sensor.close()
    with pytest.raises(SensorError, match="open"):
        sensor.read(timeout_ms=0)


def test_a_frame_outlives_the_sensor(settings: SensorSettings) -> None:
    with create_sensor(settings) as sensor:
        frame = sensor.read(timeout_ms=1000)
        assert frame is not None
        kept = frame.joints.copy()
        read_all(sensor)
    np.testing.assert_array_equal(frame.joints, kept)


def test_waits_no_longer_than_asked(make: MakeSettings) -> None:
    with create_sensor(make(0.1)) as sensor:
        assert sensor.read(timeout_ms=1000) is not None
        started = time.monotonic()
        assert sensor.read(timeout_ms=30) is None
        assert sensor.read(timeout_ms=0) is None
        assert time.monotonic() - started < 1.0


def test_loses_nothing_only_when_fast(make: Callable[..., SensorSettings]) -> None:
    assert not create_sensor(make(30.0)).lossless
    assert create_sensor(make(30.0, fast=True)).lossless


def test_fast_does_not_wait(make: Callable[..., SensorSettings]) -> None:
    with create_sensor(make(0.1, fast=True)) as sensor:
        assert all(sensor.read(timeout_ms=0) is not None for _ in range(FRAMES))


def test_a_written_recording_reads_back_bit_for_bit(tmp_path: Path) -> None:
    with Synthetic(synthetic(30.0, fast=True)) as sensor:
        frames = [*read_all(sensor), no_bodies(0)]
    write_skeleton(tmp_path / "a.skeleton", frames)
    recording = read_skeleton(tmp_path / "a.skeleton")
    assert len(recording) == len(frames)
    for index, frame in enumerate(frames):
        back = recording.frame(index, captured_ns=0)
        np.testing.assert_array_equal(back.joints, frame.joints)
        np.testing.assert_array_equal(back.tracking, frame.tracking)
        assert back.track_ids == frame.track_ids


def test_a_demo_recording_has_the_length_and_the_persons_asked_for(tmp_path: Path) -> None:
    write_demo_recording(tmp_path / "a.skeleton", seconds=0.5, persons=3, seed=1)
    recording = read_skeleton(tmp_path / "a.skeleton")
    assert len(recording) == 15
    assert len(recording.frame(0, captured_ns=0).track_ids) == 3
