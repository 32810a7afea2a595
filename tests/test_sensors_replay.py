"""Replay of recordings, on a clock that the test moves."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from skelanon.configs.schema import ReplaySettings
from skelanon.sensors.errors import EndOfRecording, RecordingError, SensorError
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.ntu import skeleton_files
from skelanon.sensors.replay import Replay

NAME = "S001C001P007R001A0{:02d}.skeleton"


class Clock:
    """A clock that moves only when somebody sleeps; it starts in the year 2001."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def now_ns(self) -> int:
        return 10**18 + round(self.now * 1e9)


def replay(
    path: Path,
    clock: Clock | None = None,
    *,
    rate_hz: float = 10.0,
    loop: bool = False,
    fast: bool = False,
    timestamps: Literal["now", "original"] = "now",
) -> Replay:
    clock = clock or Clock()
    settings = ReplaySettings(
        kind="replay", path=str(path), rate_hz=rate_hz, loop=loop, fast=fast, timestamps=timestamps
    )
    return Replay(settings, monotonic=clock.monotonic, sleep=clock.sleep, now_ns=clock.now_ns)


def record(path: Path, first: int, frames: int) -> None:
    """A recording of one body whose root's x is the number of the frame, counted from `first` on."""
    lines = [str(frames)]
    for number in range(first, first + frames):
        lines += ["1", f"{72057594037931101} 0 1 1 1 1 0 0 0 2", "25"]
        lines += [f"{number} 1 2 0 0 0 0 0 0 0 0 2"] * 25
    path.write_text("\n".join(lines))


def record_csv(path: Path, times_usec: Sequence[int], first: int = 0) -> None:
    """A recording of a Kinect v2 as CSV, with times of its own; the root's x is the number of the frame."""
    rows = ([10 * time, *[number, 1, 2, 2] * 25] for number, time in enumerate(times_usec, first))
    path.write_text("\n".join(",".join(map(str, row)) for row in rows))


def number(frame: BodyFrame | None) -> int:
    assert frame is not None
    return int(frame.joints[0, 0, 0])


def all_frames(sensor: Replay) -> list[BodyFrame]:
    frames = []
    try:
        while (frame := sensor.read(timeout_ms=1000)) is not None:
            frames.append(frame)
    except EndOfRecording:
        return frames
    raise AssertionError("no frame within a second")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings: frames 0 to 2, 3 and 4, 5 to 8; written in another order than that of their names."""
    for index, first, frames in ((2, 3, 2), (1, 0, 3), (3, 5, 4)):
        record(tmp_path / NAME.format(index), first, frames)
    return tmp_path


def test_a_folder_is_played_in_the_order_of_names(folder: Path) -> None:
    with replay(folder) as sensor:
        frames = all_frames(sensor)
        assert [number(frame) for frame in frames] == list(range(9))
        assert [number(frame) for frame in frames if frame.discontinuity] == [0, 3, 5]
        with pytest.raises(EndOfRecording):
            sensor.read(timeout_ms=0)


def test_a_real_folder_is_played_to_its_end(data: Path) -> None:
    paths = skeleton_files(data / "ntu")
    headers = [int(path.read_text().split(maxsplit=1)[0]) for path in paths]
    with replay(data / "ntu", fast=True) as sensor:
        frames = all_frames(sensor)
    assert len(frames) == sum(headers)
    starts = [index for index, frame in enumerate(frames) if frame.discontinuity]
    assert starts == [0, *np.cumsum(headers[:-1])]


def test_frames_come_at_the_rate_and_carry_the_time_of_handing_over(folder: Path) -> None:
    with replay(folder, rate_hz=10.0) as sensor:
        times = [frame.captured_ns for frame in all_frames(sensor)]
    assert times == [10**18 + index * 100_000_000 for index in range(9)]


def test_no_frame_before_its_time_and_none_lost(folder: Path) -> None:
    clock = Clock()
    with replay(folder, clock, rate_hz=10.0) as sensor:
        assert number(sensor.read(timeout_ms=0)) == 0
        assert sensor.read(timeout_ms=40) is None
        assert clock.now == pytest.approx(0.04)
        assert sensor.read(timeout_ms=0) is None
        assert number(sensor.read(timeout_ms=100)) == 1
        assert clock.now == pytest.approx(0.1)


def test_a_reader_who_was_away_finds_the_playback_waiting(folder: Path) -> None:
    clock = Clock()
    with replay(folder, clock, rate_hz=10.0) as sensor:
        sensor.read(timeout_ms=0)
        clock.now += 60.0
        assert number(sensor.read(timeout_ms=0)) == 1
        assert sensor.read(timeout_ms=0) is None


def test_fast_neither_waits_nor_loses(folder: Path) -> None:
    clock = Clock()
    assert not replay(folder).lossless
    with replay(folder, clock, fast=True) as sensor:
        assert sensor.lossless
        assert [number(frame) for frame in all_frames(sensor)] == list(range(9))
    assert clock.now == 0.0


def test_original_timestamps_count_over_recordings_and_loops(folder: Path) -> None:
    with replay(folder, rate_hz=30.0, fast=True, loop=True, timestamps="original") as sensor:
        frames = [sensor.read(timeout_ms=0) for _ in range(20)]
    times = [frame.captured_ns for frame in frames if frame is not None]
    assert times == [round(index * 1e9 / 30) for index in range(20)]


def test_original_timestamps_are_the_recordings_own_where_it_has_a_clock(folder: Path) -> None:
    record_csv(folder / NAME.format(2), [7_000_000, 7_040_000, 7_140_000])
    with replay(folder, rate_hz=10.0, fast=True, timestamps="original") as sensor:
        frames = all_frames(sensor)
    assert [round(frame.captured_ns / 1e6) for frame in frames] == [0, 100, 200, 300, 340, 440, 540, 640, 740, 840]


def test_a_recordings_clock_that_was_set_is_a_discontinuity(tmp_path: Path) -> None:
    hour = 3600 * 10**6
    record_csv(tmp_path / "a", [500, 600, 100, 200, 200 + hour, 201 + 2 * hour])
    with replay(tmp_path / "a", rate_hz=10.0, fast=True, timestamps="original") as sensor:
        frames = all_frames(sensor)
    assert [frame.discontinuity for frame in frames] == [True, False, True, False, False, True]
    expected = [0, 100, 100_100, 100_200, 100_200 + hour, 200_200 + hour]
    assert [frame.captured_ns // 1000 for frame in frames] == expected


def test_a_folder_may_mix_kinds_and_names_decide_nothing_but_the_order(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record_csv(folder / "P007.txt", [0, 33_000], first=70)
    record_csv(folder / NAME.format(2), [0, 33_000, 66_000], first=80)
    (folder / "notes").write_text("P007 was here")
    with caplog.at_level("INFO"), replay(folder, fast=True) as sensor:
        frames = all_frames(sensor)
    assert [number(frame) for frame in frames] == [70, 71, 0, 1, 2, 80, 81, 82, 5, 6, 7, 8]
    assert caplog.messages == ["1 of 5 files left out: of no known kind of recordings"]


def test_records_that_cannot_be_read_are_counted_in_the_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder / NAME.format(2)
    record_csv(path, [0, 33_000, 66_000, 99_000])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1].replace(",2,", ",P007,"), lines[2], lines[3][:50]]))
    with replay(folder, fast=True) as sensor:
        frames = all_frames(sensor)
    assert [number(frame) for frame in frames] == [0, 1, 2, 0, 2, 5, 6, 7, 8]
    assert caplog.messages == [
        "recording 2 of 3: 2 records cannot be read and are left out, the first in line 2: a number is missing"
    ]


def test_a_recording_of_no_frames_is_passed_over(folder: Path) -> None:
    titles = ["frameNum", "bodyindexID", *(f"joint{j}_3d{axis}" for j in range(1, 26) for axis in "XYZ")]
    (folder / NAME.format(1)).write_text(",".join(titles))
    with replay(folder, fast=True) as sensor:
        with pytest.raises(RecordingError, match=r"^recording 1 of 3, the recording holds no frames$"):
            sensor.read(timeout_ms=0)
        assert number(sensor.read(timeout_ms=0)) == 3


def test_a_loop_begins_again_with_a_discontinuity(folder: Path) -> None:
    with replay(folder, fast=True, loop=True) as sensor:
        frames = [sensor.read(timeout_ms=0) for _ in range(20)]
    assert [number(frame) for frame in frames] == [*range(9), *range(9), 0, 1]
    starts = [index for index, frame in enumerate(frames) if frame is not None and frame.discontinuity]
    assert starts == [0, 3, 5, 9, 12, 14, 18]


def test_a_single_recording_is_read_once_for_all_loops(tmp_path: Path) -> None:
    path = tmp_path / NAME.format(1)
    record(path, 0, 2)
    with replay(path, fast=True, loop=True) as sensor:
        sensor.read(timeout_ms=0)
        path.unlink()
        frames = [sensor.read(timeout_ms=0) for _ in range(4)]
    assert [number(frame) for frame in frames] == [1, 0, 1, 0]
    assert [frame.discontinuity for frame in frames if frame is not None] == [False, True, False, True]


def test_opening_again_starts_anew(folder: Path) -> None:
    sensor = replay(folder, fast=True, timestamps="original")
    for _ in range(2):
        sensor.open()
        first, second = sensor.read(timeout_ms=0), sensor.read(timeout_ms=0)
        assert first is not None
        assert second is not None
        assert (number(first), first.discontinuity, first.captured_ns) == (0, True, 0)
        assert (number(second), second.discontinuity) == (1, False)
        sensor.close()
        sensor.close()
    with pytest.raises(SensorError, match="not open"):
        sensor.read(timeout_ms=0)


@pytest.mark.parametrize("damage", ["malformed", "gone"])
def test_after_a_bad_recording_the_next_is_played(folder: Path, damage: str) -> None:
    bad = folder / NAME.format(2)
    with replay(folder, fast=True, loop=True) as sensor:
        played = [number(sensor.read(timeout_ms=0)) for _ in range(3)]
        if damage == "gone":
            bad.unlink()
            message = "^recording 2 of 3, the recording cannot be read: No such file or directory$"
        else:
            bad.write_text(bad.read_text().replace("4 1 2", "4 1 secret", 1))
            message = "^recording 2 of 3, line 33: a joint must stand here: [^5]*$"
        with pytest.raises(RecordingError, match=message) as caught:
            sensor.read(timeout_ms=0)
        error: BaseException | None = caught.value
        while error is not None:
            assert "P007" not in str(error)
            assert "secret" not in str(error)
            error = error.__cause__ or error.__context__
        frames = [sensor.read(timeout_ms=0) for _ in range(8)]
    assert [*played, *map(number, frames)] == [0, 1, 2, 5, 6, 7, 8, 0, 1, 2, 5]
    assert [number(frame) for frame in frames if frame is not None and frame.discontinuity] == [5, 0, 5]


def test_a_loop_of_bad_recordings_ends(tmp_path: Path) -> None:
    bad = {"0\n0\n": "line 1: the number of frames", "not a recording": "the recording is of no known kind"}
    for index, text in enumerate(bad, 1):
        (tmp_path / NAME.format(index)).write_text(text)
    with replay(tmp_path, loop=True) as sensor:
        for index, words in enumerate(bad.values(), 1):
            with pytest.raises(RecordingError, match=f"recording {index} of 2, {words}"):
                sensor.read(timeout_ms=0)
        with pytest.raises(EndOfRecording):
            sensor.read(timeout_ms=0)


def test_nothing_to_play_is_an_error_that_names_the_key_and_not_the_value(tmp_path: Path) -> None:
    empty = tmp_path / "P007"
    empty.mkdir()
    with pytest.raises(SensorError, match="`path` is a folder without") as caught:
        replay(empty).open()
    assert "P007" not in str(caught.value)
    (empty / "P007").write_text("P007")
    os.mkfifo(empty / "pipe")
    for path in (empty, empty / "P007", empty / "pipe"):  # a pipe is not waited for
        with pytest.raises(SensorError, match=r"`path` is .* of a known kind: ") as caught:
            replay(path).open()
        assert "P007" not in str(caught.value)
    with pytest.raises(SensorError, match="`path` cannot be read: No such file or directory") as caught:
        replay(empty / NAME.format(1)).open()
    assert "P007" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
