"""Raw frames in, anonymous frames out: the only place where an AnonymousFrame gets bodies."""

import logging
from collections.abc import Sequence
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
    tracks: list[Track]

    def joints(self) -> Floats:
        """(B, 25, 3): those of the usable bodies."""
        every = len(self.usable) == len(self.frame.joints)
        return self.frame.joints if every else self.frame.joints[self.usable]


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
        self._tracks = [Tracks(rows, self._size, round(track_timeout_s * 1e9)) for _ in range(sensors)]
        self._guard = Guard(keeps_root=manifest.root == "keep")
        self._tracking = tracking
        self._failing = False

    def anonymize(self, frames: Sequence[tuple[int, BodyFrame]], watch: Stopwatch) -> list[Outcome]:
        """Anonymize frames of different sensors, given as (sensor number, frame); one outcome each, in order.

        Never raises for what a frame holds or a model does: bodies that fail a check are withheld, and a failing
        model makes `fault` frames.
        """
        with np.errstate(all="ignore"):  # what is not a number is withheld, not warned of
            return self._anonymize(frames, watch)

    def _anonymize(self, frames: Sequence[tuple[int, BodyFrame]], watch: Stopwatch) -> list[Outcome]:
        works = [self._prepare(sensor, frame) for sensor, frame in frames]
        tracks = [track for work in works for track in work.tracks]
        if not tracks:
            watch.lap("infer")
            return [_outcome(work.frame, ()) for work in works]
        raw = works[0].joints() if len(works) == 1 else np.concatenate([work.joints() for work in works])
        try:
            anonymous = self._run(raw, tracks)
        except Exception as error:  # noqa: BLE001 - whatever a model does, nothing raw follows from it
            self._note_failure(error)
            watch.lap("infer")
            return [Outcome(without_bodies(w.frame.captured_ns, "fault"), len(w.frame.track_ids)) for w in works]
        watch.lap("infer")
        self._failing = False
        outcomes = self._publishable(works, raw, anonymous)
        watch.lap("guard")
        return outcomes

    def _prepare(self, sensor: int, frame: BodyFrame) -> _Work:
        if frame.discontinuity:
            self._tracks[sensor].clear()
        usable = _usable(frame.joints)
        ids = frame.track_ids if len(usable) == len(frame.track_ids) else [frame.track_ids[i] for i in usable]
        return _Work(frame, usable, self._tracks[sensor].update(ids, frame.captured_ns))

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

    def _publishable(self, works: list[_Work], raw: Floats, anonymous: Floats) -> list[Outcome]:
        good = self._guard.check(raw, anonymous).tolist()
        joints = anonymous.astype("<f4").tobytes()
        outcomes, body = [], 0
        for work in works:
            tracking = np.minimum(work.frame.tracking, TRACKED).tobytes() if self._tracking else b""
            bodies = []
            for track, index in zip(work.tracks, work.usable, strict=True):
                if good[body]:
                    own = joints[body * JOINTS_BYTES : (body + 1) * JOINTS_BYTES]
                    states = tracking[index * TRACKING_BYTES : (index + 1) * TRACKING_BYTES]
                    bodies.append(Body(track.public_id, own, states))
                body += 1
            bodies.sort(key=_public_id)  # an order that says nothing
            outcomes.append(_outcome(work.frame, tuple(bodies)))
        return outcomes

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
