"""Raw frames in, anonymous frames out: the only place where an AnonymousFrame gets bodies."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from skelanon.export.runner import Floats, Runner
from skelanon.sensors.frame import TRACKED, BodyFrame
from skelanon.sensors.joints import JOINTS

from .anonymous import _SEAL, JOINTS_BYTES, TRACKING_BYTES, AnonymousFrame, Body, without_bodies
from .guard import Guard
from .latency import Stopwatch
from .tracks import Rows, Track, Tracks

log = logging.getLogger(__name__)

FARTHEST_JOINT_M: Final = 100.0
"""No depth sensor sees as far; beyond it a joint is a fault of the sensor."""


@dataclass(slots=True)
class _Work:
    """One frame on its way through: which of its bodies are usable, and their tracks."""

    frame: BodyFrame
    usable: list[int]
    raw: Floats
    """(B, 25, 3): the usable bodies."""
    tracks: list[Track]
    anonymous: Floats | None = None
    """(B, 25, 3): what the model made of them; None: it failed."""


@dataclass(slots=True)
class Outcome:
    """What became of one raw frame."""

    frame: AnonymousFrame
    withheld: int = field(default=0)
    """Bodies that were seen but not published."""


class Anonymizer:
    """Anonymizes the fresh frames of all sensors in one model call. Used from one thread.

    track_timeout_s: a body unseen for so long gets a new id and a fresh model state.
    tracking: publish the tracking states.
    """

    def __init__(self, runner: Runner, *, sensors: int, track_timeout_s: float = 1.0, tracking: bool = True) -> None:
        manifest = runner.manifest
        rows = Rows(runner.reset)
        self._runner = runner
        self._size = manifest.bodies_per_sample
        self._memoryless = self._size == 1 and not manifest.state_size and not manifest.persona_size
        self._tracks = [Tracks(rows, self._size, round(track_timeout_s * 1e9)) for _ in range(sensors)]
        self._guard = Guard(keeps_root=manifest.root == "keep")
        self._tracking = tracking
        self._failing = False

    def anonymize(self, frames: Sequence[tuple[int, BodyFrame]], watch: Stopwatch) -> list[Outcome]:
        """Anonymize frames, given as (sensor number, frame), those of one sensor in order; one outcome each, in order.

        Never raises for what a frame holds or a model does: bodies that fail a check are withheld, and a failing
        model makes `fault` frames.
        """
        with np.errstate(all="ignore"):  # what is not a number is withheld, not warned of
            works = [work for wave in self._waves(frames) for work in self._run_wave(wave)]
            watch.lap("infer")
            outcomes = self._judge(works)
            watch.lap("guard")
        return outcomes

    def _waves(self, frames: Sequence[tuple[int, BodyFrame]]) -> Iterable[Sequence[tuple[int, BodyFrame]]]:
        """Frames that may go through the model together: of models with a memory, one of each sensor at a time."""
        if self._memoryless or len({sensor for sensor, _ in frames}) == len(frames):
            yield frames
            return
        wave: dict[int, BodyFrame] = {}
        for sensor, frame in frames:
            if sensor in wave:
                yield list(wave.items())
                wave = {}
            wave[sensor] = frame
        yield list(wave.items())

    def _run_wave(self, frames: Sequence[tuple[int, BodyFrame]]) -> list[_Work]:
        works = [self._prepare(sensor, frame) for sensor, frame in frames]
        tracks = [track for work in works for track in work.tracks]
        if not tracks:
            return works
        raw = works[0].raw if len(works) == 1 else np.concatenate([work.raw for work in works])
        try:
            anonymous = self._run(raw, tracks)
            self._failing = False
        except Exception as error:  # noqa: BLE001 - whatever a model does, nothing raw follows from it
            self._note_failure(error)
            anonymous = None
        start = 0
        for work in works:
            end = start + len(work.tracks)
            work.anonymous = None if anonymous is None else anonymous[start:end]
            start = end
        return works

    def _prepare(self, sensor: int, frame: BodyFrame) -> _Work:
        if frame.discontinuity:
            self._tracks[sensor].clear()
        usable = _usable(frame.joints)
        raw, ids = frame.joints, frame.track_ids
        if len(usable) < len(ids):
            raw, ids = raw[usable], tuple([ids[body] for body in usable])
        return _Work(frame, usable, raw, self._tracks[sensor].update(ids, frame.captured_ns))

    def _run(self, raw: Floats, tracks: list[Track]) -> Floats:
        """(B, 25, 3) anonymous joints of the bodies `raw`; each goes to the slot of its track."""
        if self._size == 1:
            joints = raw[:, None]
            present = np.ones((len(tracks), 1), np.float32)
            return self._step([track.sample.row for track in tracks], joints, present)[:, 0]
        position: dict[int, int] = {}
        samples = [position.setdefault(track.sample.row, len(position)) for track in tracks]
        slots = [track.slot for track in tracks]
        joints = np.zeros((len(position), self._size, JOINTS, 3), np.float32)
        present = np.zeros(joints.shape[:2], np.float32)
        joints[samples, slots] = raw
        present[samples, slots] = 1.0
        return self._step(list(position), joints, present)[samples, slots]

    def _step(self, rows: list[int], joints: Floats, present: Floats) -> Floats:
        anonymous = self._runner.step(rows, joints, present)
        if anonymous.shape != joints.shape or anonymous.dtype != np.float32:
            raise ValueError(f"the model returned {anonymous.shape} {anonymous.dtype} for {joints.shape} float32")
        return anonymous

    def _judge(self, works: list[_Work]) -> list[Outcome]:
        """Guard all bodies at once, and seal those that pass."""
        judged = [work for work in works if work.tracks and work.anonymous is not None]
        if judged:
            raw = np.concatenate([work.raw for work in judged])
            anonymous = np.concatenate([work.anonymous for work in judged if work.anonymous is not None])
            good = iter(self._guard.check(raw, anonymous).tolist())
            joints = memoryview(anonymous.astype("<f4").tobytes())
        outcomes = []
        for work in works:
            if work.tracks and work.anonymous is None:
                outcomes.append(Outcome(without_bodies(work.frame.captured_ns, "fault"), len(work.frame.track_ids)))
                continue
            bodies, size = [], len(work.tracks) * JOINTS_BYTES
            if work.tracks:
                bodies = self._seal(work, joints[:size], good)
                joints = joints[size:]
            outcomes.append(_outcome(work.frame, tuple(bodies)))
        return outcomes

    def _seal(self, work: _Work, joints: memoryview, good: Iterator[bool]) -> list[Body]:
        states = np.minimum(work.frame.tracking, TRACKED).tobytes() if self._tracking else b""
        bodies = [
            Body(
                track.public_id,
                bytes(joints[number * JOINTS_BYTES : (number + 1) * JOINTS_BYTES]),
                states[index * TRACKING_BYTES : (index + 1) * TRACKING_BYTES],
            )
            for number, (track, index) in enumerate(zip(work.tracks, work.usable, strict=True))
            if next(good)
        ]
        bodies.sort(key=_public_id)  # an order that says nothing
        return bodies

    def _note_failure(self, error: Exception) -> None:
        if not self._failing:
            log.error("model call failed (%s); publishing fault frames until it works", type(error).__name__)
        self._failing = True


def _outcome(frame: BodyFrame, bodies: tuple[Body, ...]) -> Outcome:
    seen = len(frame.track_ids)
    if not seen:
        return Outcome(without_bodies(frame.captured_ns, "empty"))
    return Outcome(AnonymousFrame(_SEAL, frame.captured_ns, "ok", bodies), seen - len(bodies))


def _usable(joints: Floats) -> list[int]:
    """Bodies whose joints are all there: finite, and not at the origin, where a missing joint is put."""
    if not len(joints):
        return []
    squares = np.add.reduce(joints * joints, 2)
    if squares.min() > 0.0 and squares.max() < FARTHEST_JOINT_M**2:
        return list(range(len(joints)))
    indices: list[int] = np.flatnonzero(((squares > 0.0) & (squares < FARTHEST_JOINT_M**2)).all(1)).tolist()
    return indices


def _public_id(body: Body) -> int:
    return body.id
