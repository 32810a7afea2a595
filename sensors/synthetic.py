"""A sensor that sees a made-up population: no camera, no recording, no person's data."""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np

from skelanon.configs.schema import SyntheticSettings

from .errors import EndOfRecording, SensorError
from .frame import BodyFrame, Joints, Tracking
from .joints import JOINTS
from .pacing import Pacer
from .population import Activity, Person, Schedule, add_noise, performance, population, tracking_states
from .sensor import Sensor

LOOP_S: Final = 40.0
"""Seconds after which a person begins again, as a new track."""
LOOP_FRAMES: Final = 1200
"""Frames of a loop at most, so that opening takes milliseconds at any rate: above 30 Hz the loop is shorter."""
ABSENT: Final = 0.04
"""Part of a loop, at its end, for which a person is not in view."""
_FIRST_TRACK_ID: Final = (1 << 56) + 3173  # of the kind that Kinect v2 gives


_Moment = tuple[Joints, Tracking, tuple[int, ...]]
"""What is seen at one instant of the first loop: joints (M, 25, 3), tracking states (M, 25), tracks (M)."""


class Synthetic(Sensor):
    """Persons who walk, wave, sit, fall, leave and come back as a new track, from a seed and nothing else.

    Frame n is the same in every run. Joint arrays of a frame are read-only views, valid for as long as they are held.
    """

    def __init__(
        self,
        settings: SyntheticSettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.lossless = settings.fast
        self.period_s = 1 / settings.rate_hz
        self._settings = settings
        self._monotonic, self._sleep, self._now_ns = monotonic, sleep, now_ns
        self._loop: list[_Moment] = []
        self._pacer: Pacer | None = None
        self._number = 0

    def open(self) -> None:
        settings = self._settings
        self._loop = _make_loop(settings.seed, settings.persons, settings.rate_hz)
        self._pacer = None if settings.fast else Pacer(settings.rate_hz, self._monotonic, self._sleep)
        self._number = 0

    def read(self, timeout_ms: int) -> BodyFrame | None:
        if not self._loop:
            raise SensorError("the synthetic sensor is not open: call open() before read()")
        if self._number == self._settings.frames:
            raise EndOfRecording("the synthetic sensor has delivered all its `frames`")
        if self._pacer is not None and not self._pacer.wait(timeout_ms):
            return None
        loops, at = divmod(self._number, len(self._loop))
        joints, tracking, tracks = self._loop[at]
        first = _FIRST_TRACK_ID + loops * self._settings.persons
        frame = BodyFrame(
            self._now_ns(), joints, tracking, tuple([first + track for track in tracks]), self._number == 0
        )
        self._number += 1
        return frame

    def close(self) -> None:
        self._loop = []


def _schedule(person: Person) -> Schedule:
    """Everything once, in the person's own order, with walks between; the fall comes last."""
    rng = np.random.default_rng(person.seed)
    middle = rng.permutation(np.array([Activity.WAVE, Activity.SIT, Activity.STAND]))
    schedule = [(Activity.WALK, rng.uniform(4.0, 7.0))]
    for activity in middle:
        schedule += [(activity, rng.uniform(3.0, 5.0)), (Activity.WALK, rng.uniform(3.0, 4.5))]
    return [*schedule, (Activity.STAND, 2.0), (Activity.FALL, LOOP_S)]


@lru_cache(maxsize=8)
def _make_loop(seed: int, persons: int, rate_hz: float) -> list[_Moment]:
    """Everything that will be seen, made before the first frame is read, so that reading is looking up."""
    frames = max(min(round(LOOP_S * rate_hz), LOOP_FRAMES), 1)
    times = np.arange(frames) / rate_hz
    joints = np.empty((frames, persons, JOINTS, 3), np.float32)
    tracking = np.empty((frames, persons, JOINTS), np.uint8)
    ages = np.empty((frames, persons), np.int64)  # frames since each person came in; no two leave at once
    for i, person in enumerate(population(seed, persons)):
        rng = np.random.default_rng((person.seed, 1))
        ages[:, i] = np.arange(frames) + (2 * i + 1) * frames // (2 * persons)
        order = ages[:, i] % frames
        joints[:, i] = add_noise(performance(person, _schedule(person), times), rng)[order]
        tracking[:, i] = tracking_states(frames, rng)[order]
    joints.flags.writeable = tracking.flags.writeable = False
    present = ages % frames < (1 - ABSENT) * frames
    tracks = np.arange(persons) + persons * (ages // frames)
    return [
        (joints[t], tracking[t], tuple(tracks[t].tolist()))
        if present[t].all()
        else (joints[t, present[t]], tracking[t, present[t]], tuple(tracks[t, present[t]].tolist()))
        for t in range(frames)
    ]
