"""Raw frames in, anonymous frames out: the only place where an AnonymousFrame gets bodies."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from skelanon.export.runner import Floats, Runner
from skelanon.sensors.frame import INFERRED, TRACKED, BodyFrame
from skelanon.sensors.joints import JOINTS

from .anonymous import _SEAL, JOINTS_BYTES, TRACKING_BYTES, AnonymousFrame, Body, without_bodies
from .guard import Guard
from .latency import Stopwatch
from .tracks import Rows, Sample, Track, Tracks

log = logging.getLogger(__name__)

FARTHEST_JOINT_M: Final = 100.0
"""No depth sensor sees as far; beyond it a joint is a fault of the sensor."""

_ALL_INFERRED: Final = bytes([INFERRED]) * JOINTS


@dataclass(slots=True)
class _Work:
    """One frame on its way through: which of its bodies are usable, their tracks, and then those of bodies held."""

    frame: BodyFrame
    usable: list[int]
    tracks: list[Track]
    held: list[Floats]
    """(25, 3) raw joints, as they were last seen, of bodies that must be published although they are not there."""

    @property
    def bodies(self) -> int:
        """Seen, usable or not, and held."""
        return len(self.frame.track_ids) + len(self.held)


@dataclass(slots=True)
class Outcome:
    """What became of one raw frame."""

    frame: AnonymousFrame
    withheld: int = field(default=0)
    """Bodies that were seen but not published."""


class Anonymizer:
    """Anonymizes the fresh frames of all sensors in one model call. Used from one thread.

    Where the bundle says `presence_frames`, a body is published for a multiple of so many frames: once it is gone, or
    cannot be used, the model goes on seeing it as it was seen last. What is published then says nothing of tracking.

    track_timeout_s: a body unseen for so long gets a new id and a fresh model state.
    tracking: publish the tracking states.
    """

    def __init__(self, runner: Runner, *, sensors: int, track_timeout_s: float = 1.0, tracking: bool = True) -> None:
        manifest = runner.manifest
        rows = Rows()
        self._runner = runner
        self._size = manifest.bodies_per_sample
        self._tracks = [Tracks(rows, self._size, round(track_timeout_s * 1e9)) for _ in range(sensors)]
        self._guard = Guard(keeps_root=manifest.root == "keep")
        self._presence = manifest.presence_frames
        self._tracking = tracking
        self._failing = False

    def anonymize(self, frames: Sequence[tuple[int, BodyFrame]], watch: Stopwatch) -> list[Outcome]:
        """Anonymize frames, given as (sensor number, frame), those of one sensor in order; one outcome each, in order.

        Never raises for what a frame holds or a model does: bodies that fail a check are withheld, and a failing
        model makes `fault` frames.
        """
        with np.errstate(all="ignore"):  # what is not a number is withheld, not warned of
            raw = np.concatenate([frame.joints for _, frame in frames])  # a copy: drivers reuse their buffers
            complete = _complete(raw)
            works = self._follow(frames, complete)
            if self._presence:
                raw = np.concatenate([part for work in works for part in _raw_of(work)])
            elif not all(complete):
                raw = raw[np.array(complete)]
            anonymous = self._infer(works, raw)
            watch.lap("infer")
            if anonymous is None:
                return [_fault(work) if work.tracks else _outcome(work, ()) for work in works]
            outcomes = self._judge(works, raw, anonymous)
            watch.lap("guard")
        return outcomes

    def _follow(self, frames: Sequence[tuple[int, BodyFrame]], complete: list[bool]) -> list[_Work]:
        """Find the tracks of all complete bodies; `complete` holds the bodies of all frames, one after the other."""
        works, start = [], 0
        for sensor, frame in frames:
            if frame.discontinuity:
                self._tracks[sensor].part(frame.captured_ns)
            end = start + len(frame.track_ids)
            usable = [body for body, good in enumerate(complete[start:end]) if good]
            ids = [frame.track_ids[body] for body in usable]
            tracks = self._tracks[sensor].update(ids, frame.captured_ns)
            held = []
            if self._presence:
                seen = zip(tracks, frame.joints[usable], strict=True)
                held = self._tracks[sensor].hold(seen, self._presence, frame.captured_ns)
            joints = [track.held for track in held if track.held is not None]
            works.append(_Work(frame, usable, tracks + held, joints))
            start = end
        return works

    def _infer(self, works: list[_Work], raw: Floats) -> Floats | None:
        """(B, 25, 3) anonymous joints of the bodies `raw`; None when the model fails."""
        if not len(raw):
            return raw
        samples, slots, places = _places(works)
        if self._size == 1:  # a copy: what a model does to its input must not reach what the guard compares with
            joints, present = raw[:, None].copy(), np.ones((len(raw), 1), np.float32)
        else:
            joints = np.zeros((len(samples), self._size, JOINTS, 3), np.float32)
            present = np.zeros(joints.shape[:2], np.float32)
            joints[places, slots] = raw
            present[places, slots] = 1.0
        first = {id(sample): number for number, sample in reversed(list(enumerate(samples)))}
        fresh = [sample.fresh and first[id(sample)] == number for number, sample in enumerate(samples)]
        try:
            anonymous = self._runner.step([sample.row for sample in samples], fresh, joints, present)
            if anonymous.shape != joints.shape or anonymous.dtype != np.float32:
                raise ValueError(f"the model returned {anonymous.shape} {anonymous.dtype}")
        except Exception as error:  # noqa: BLE001 - whatever a model does, nothing raw follows from it
            self._note_failure(error)
            return None
        for sample in samples:
            sample.fresh = False
        self._failing = False
        found: Floats = anonymous[:, 0] if self._size == 1 else anonymous[places, slots]
        return found

    def _judge(self, works: list[_Work], raw: Floats, anonymous: Floats) -> list[Outcome]:
        """Guard all bodies at once, and seal those that pass."""
        good = self._guard.check(raw, anonymous).tolist() if len(raw) else []
        joints = anonymous.astype("<f4").tobytes()
        outcomes, number = [], 0
        for work in works:
            bodies = []
            for track, states in zip(work.tracks, self._states(work), strict=True):
                if good[number]:
                    own = joints[number * JOINTS_BYTES : (number + 1) * JOINTS_BYTES]
                    bodies.append(Body(track.public_id, own, states))
                number += 1
            bodies.sort(key=_public_id)  # an order that says nothing
            outcomes.append(_outcome(work, tuple(bodies)))
        return outcomes

    def _states(self, work: _Work) -> list[bytes]:
        """The tracking states to publish, of each track. Where bodies are held, true ones would tell who is there."""
        if not self._tracking:
            return [b""] * len(work.tracks)
        if self._presence:
            return [_ALL_INFERRED] * len(work.tracks)
        states = np.minimum(work.frame.tracking, TRACKED).tobytes()
        return [states[index * TRACKING_BYTES : (index + 1) * TRACKING_BYTES] for index in work.usable]

    def _note_failure(self, error: Exception) -> None:
        if not self._failing:
            log.error("model call failed (%s); publishing fault frames until it works", type(error).__name__)
        self._failing = True


def _places(works: list[_Work]) -> tuple[list[Sample], list[int], list[int]]:
    """The samples to run, in order of time; then of each body its slot, and the number of its sample."""
    samples: list[Sample] = []
    numbers: list[int] = []
    slots: list[int] = []
    for work in works:
        position: dict[int, int] = {}  # of a row among the samples of this frame
        for track in work.tracks:
            number = position.setdefault(track.sample.row, len(samples))
            if number == len(samples):
                samples.append(track.sample)
            numbers.append(number)
            slots.append(track.slot)
    return samples, slots, numbers


def _raw_of(work: _Work) -> list[Floats]:
    return [work.frame.joints[work.usable], *(joints[None] for joints in work.held)]


def _fault(work: _Work) -> Outcome:
    return Outcome(without_bodies(work.frame.captured_ns, "fault"), work.bodies)


def _outcome(work: _Work, bodies: tuple[Body, ...]) -> Outcome:
    captured_ns = work.frame.captured_ns
    if not work.bodies:
        return Outcome(without_bodies(captured_ns, "empty"))
    return Outcome(AnonymousFrame(_SEAL, captured_ns, "ok", bodies), work.bodies - len(bodies))


def _complete(joints: Floats) -> list[bool]:
    """Of which bodies all joints are there: finite, and not at the origin, where a missing joint is put."""
    if not len(joints):
        return []
    squares = np.add.reduce(joints * joints, 2)
    if squares.min() > 0.0 and squares.max() < FARTHEST_JOINT_M**2:
        return [True] * len(joints)
    complete: list[bool] = ((squares > 0.0) & (squares < FARTHEST_JOINT_M**2)).all(1).tolist()
    return complete


def _public_id(body: Body) -> int:
    return body.id
