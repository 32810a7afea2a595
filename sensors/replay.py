"""A sensor that plays recordings as if they were live."""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from skelanon.configs.schema import ReplaySettings

from .errors import EndOfRecording, RecordingError, SensorError
from .frame import BodyFrame
from .ntu import SkeletonRecording, read_skeleton, skeleton_files
from .pacing import Pacer
from .sensor import Sensor


class Replay(Sensor):
    """Plays a `.skeleton` file, or the files of a folder in the order of their names.

    The first frame of each recording, and of each loop, is a discontinuity. Frames are paced as `Pacer` says: a
    reader who falls behind by more than a period finds the playback waiting for him, not a burst of old frames. A
    recording is read when its first frame is due, so that this one call may take as long as reading a file takes.

    A recording that cannot be read or is malformed is a RecordingError, once: after it, go on with `read()`, which
    continues with the next recording and leaves the bad one out of later loops. When none is left, the playback ends.
    """

    def __init__(
        self,
        settings: ReplaySettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.lossless = settings.fast
        self.period_s = 1 / settings.rate_hz
        self._settings = settings
        self._monotonic, self._sleep, self._now_ns = monotonic, sleep, now_ns
        self._pacer: Pacer | None = None
        self._recordings = 0
        self._to_play: deque[tuple[int, Path]] = deque()  # each with its number, from 1 on
        self._playing: SkeletonRecording | None = None
        self._number = 0  # of the recording that is playing
        self._frame = 0  # of that recording, the next to be delivered
        self._played = 0  # frames delivered since the replay was opened

    def open(self) -> None:
        paths = _recordings(Path(self._settings.path))
        self._pacer = None if self._settings.fast else Pacer(self._settings.rate_hz, self._monotonic, self._sleep)
        self._recordings = len(paths)
        self._to_play = deque(enumerate(paths, 1))
        self._playing = None
        self._played = 0

    def read(self, timeout_ms: int) -> BodyFrame | None:
        if not self._recordings:
            raise SensorError("the replay is not open: call open() before read()")
        if self._playing is None or self._frame == len(self._playing):
            self._playing = self._next_recording()
            self._frame = 0
        if self._pacer is not None and not self._pacer.wait(timeout_ms):
            return None
        frame = self._playing.frame(self._frame, self._captured_ns(), discontinuity=self._frame == 0)
        self._frame += 1
        self._played += 1
        return frame

    def close(self) -> None:
        self._recordings = 0
        self._to_play.clear()
        self._playing = None

    def _next_recording(self) -> SkeletonRecording:
        playing, self._playing = self._playing, None
        if not self._to_play:
            raise EndOfRecording("all recordings have been played")
        number, path = self._to_play.popleft()
        if playing is None or number != self._number:
            playing = self._load(number, path)
        if self._settings.loop:
            self._to_play.append((number, path))
        self._number = number
        return playing

    def _load(self, number: int, path: Path) -> SkeletonRecording:
        try:
            return read_skeleton(path)
        except SensorError as error:
            raise RecordingError(f"recording {number} of {self._recordings}, {error}") from error

    def _captured_ns(self) -> int:
        if self._settings.timestamps == "now":
            return self._now_ns()
        return round(self._played * 1_000_000_000 / self._settings.rate_hz)


def _recordings(path: Path) -> list[Path]:
    """What `path` stands for. The OSErrors on the way name it, and so do not become causes."""
    try:
        path.stat()
        paths = skeleton_files(path) if path.is_dir() else [path]
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "not a path"
    else:
        if not paths:
            raise SensorError("`path` is a folder without .skeleton recordings: name a recording or another folder")
        return paths
    raise SensorError(f"`path` cannot be read: {reason}; name a .skeleton recording, or a folder of them")
