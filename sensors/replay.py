"""A sensor that plays recordings as if they were live."""

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from skelanon.configs.schema import ReplaySettings

from .errors import EndOfRecording, RecordingError, SensorError
from .frame import BodyFrame
from .pacing import Pacer
from .recording import Recording
from .recordings import KINDS, kind_of_file, read_recording, recording_files
from .sensor import Sensor

logger = logging.getLogger(__name__)


class Replay(Sensor):
    """Plays a recording of any kind that is known, or those of a folder in the order of their names.

    The first frame of each recording, and of each loop, is a discontinuity, and so is one where the recording's clock
    was set. Frames are paced as `Pacer` says: a reader who falls behind by more than a period finds the playback
    waiting for him, not a burst of old frames. A recording is read when its first frame is due, so that this one call
    may take as long as reading a file takes. Records that its reader leaves out are counted in the log.

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
        self._playing: Recording | None = None
        self._number = 0  # of the recording that is playing
        self._frame = 0  # of that recording, the next to be delivered
        self._timeline = Timeline(settings.rate_hz)

    def open(self) -> None:
        paths = _recordings(Path(self._settings.path))
        self._pacer = None if self._settings.fast else Pacer(self._settings.rate_hz, self._monotonic, self._sleep)
        self._recordings = len(paths)
        self._to_play = deque(enumerate(paths, 1))
        self._playing = None
        self._timeline = Timeline(self._settings.rate_hz)

    def read(self, timeout_ms: int) -> BodyFrame | None:
        if not self._recordings:
            raise SensorError("the replay is not open: call open() before read()")
        if self._playing is None or self._frame == len(self._playing):
            self._playing = self._next_recording()
            self._frame = 0
        if self._pacer is not None and not self._pacer.wait(timeout_ms):
            return None
        original_ns = self._timeline.advance(self._playing.step_ns(self._frame))
        captured_ns = self._now_ns() if self._settings.timestamps == "now" else original_ns
        discontinuity = not self._playing.continues(self._frame)
        self._frame += 1
        return self._playing.frame(self._frame - 1, captured_ns, discontinuity=discontinuity)

    def close(self) -> None:
        self._recordings = 0
        self._to_play.clear()
        self._playing = None

    def _next_recording(self) -> Recording:
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

    def _load(self, number: int, path: Path) -> Recording:
        place = f"recording {number} of {self._recordings}"
        try:
            recording = read_recording(path)
            if not len(recording):
                raise RecordingError("the recording holds no frames")
        except SensorError as error:
            raise RecordingError(f"{place}, {error}") from error
        if recording.left_out:
            logger.warning(
                "%s: %d records cannot be read and are left out, the first in %s",
                place, recording.left_out, recording.first_left_out,
            )  # fmt: skip
        return recording


class Timeline:
    """Times of a playback from 1970 on: by the recordings' clocks where they tell, else at the rate, without drift."""

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._origin_ns = self._now_ns = 0
        self._since = -1  # periods since the origin

    def advance(self, step_ns: int | None) -> int:
        """Nanoseconds of the next frame, `step_ns` after the one before; None: a period after it."""
        if step_ns is None:
            self._since += 1
        else:
            self._origin_ns, self._since = self._now_ns + step_ns, 0
        self._now_ns = self._origin_ns + round(self._since * 1_000_000_000 / self._rate_hz)
        return self._now_ns


def _recordings(path: Path) -> list[Path]:
    """What `path` stands for. The OSErrors on the way name it, and so do not become causes."""
    try:
        path.stat()
        if path.is_dir():
            fault = "is a folder without recordings of a known kind: name a recording or another folder"
            paths = recording_files(path)
        else:
            fault = f"is no recording of a known kind: {', '.join(kind.name for kind in KINDS)}"
            paths = [path] if path.is_file() and kind_of_file(path) else []
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        fault = f"cannot be read: {reason}; name a recording, or a folder of them"
        paths = []
    if not paths:
        raise SensorError(f"`path` {fault}")
    return paths
