"""From a data set to what a subscriber would have: through the stream's own anonymizer, guard and ids.

Nothing of a bundle is run in another way here. `raw` and `noise=STD` are comparisons that no stream publishes.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelanon.export.bundle import Bundle, default_bundle_path, read_bundle, with_audit
from skelanon.export.errors import BundleError
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.export.runner import Runner
from skelanon.sensors.frame import BodyFrame, no_bodies
from skelanon.sensors.joints import JOINTS
from skelanon.stream.anonymizer import Anonymizer
from skelanon.stream.anonymous import AnonymousFrame
from skelanon.stream.latency import Latencies, Stopwatch
from skelanon.train.data.clips import withhold
from skelanon.train.data.store import SkeletonDataset

from .errors import AuditError
from .published import Published
from .results import RAW, TEMPLATE

Progress = Callable[[int, int], None]
"""Called with the number of sequences published, and of all."""

_VERSION: Final = 1
"""Of publishing: a change of what is published is a new number."""
_WAYS: Final = "take raw, noise=0.05, template, a bundle (.onnx) or released skeletons (.npz)"
_EPOCH_NS: Final = 1_700_000_000_000_000_000
_TOGETHER: Final = 64
"""Frames in one call, as when a lossless replay is faster than the model."""


def release_key(name: str, dataset: SkeletonDataset) -> str:
    """Hash of what decides a release: the set, and the way; of files their contents. Raises AuditError.

    What an audit has written into a bundle does not count: it is the same release as before.
    """
    if name == RAW or name.startswith("noise="):
        what = name
    elif is_bundle(name):
        what = with_audit(open_bundle(name), None).sha256
    else:
        try:
            what = hashlib.sha256(Path(name).read_bytes()).hexdigest()
        except OSError as error:
            raise AuditError(f"{name}: {error.strerror}; {_WAYS}") from None
    return hashlib.sha256(f"{_VERSION} {dataset.info.fingerprint} {what}".encode()).hexdigest()[:32]


def is_bundle(name: str) -> bool:
    """Whether a release is made by a bundle."""
    return name == TEMPLATE or name.endswith(".onnx")


def open_bundle(name: str) -> Bundle:
    """The bundle of a release. Raises AuditError."""
    try:
        return read_bundle(default_bundle_path() if name == TEMPLATE else Path(name))
    except BundleError as error:
        raise AuditError(f"{name}: {error}; {_WAYS}") from error


def bits_of(name: str) -> float | None:
    """The most that one frame of a release carries, on average; None where nothing is said. Raises AuditError."""
    return open_bundle(name).manifest.bits_per_frame if is_bundle(name) else None


def drawn_at_random(name: str) -> bool:
    """Whether a release comes out differently each time: noise, or a bundle with a persona. Raises AuditError."""
    if is_bundle(name):
        return open_bundle(name).manifest.persona_size > 0
    return name.startswith("noise=")


def release(
    name: str, dataset: SkeletonDataset, draw: int = 0, progress: Progress = lambda done, total: None
) -> Published:
    """Publish all sequences of a data set in one way.

    name: `raw`, `noise=STD_M`, `template` (the bundle that comes with skelanon), a bundle (`.onnx`), or released
    skeletons of the same sequences in the same order (`.npz`). draw: decides noise. Raises AuditError, RunnerError.
    """
    kind, _, value = name.partition("=")
    if name == RAW:
        return _as_recorded(dataset, 0.0, draw, progress)
    if kind == "noise":
        try:
            return _as_recorded(dataset, float(value), draw, progress)
        except ValueError:
            raise AuditError(f"{name}: the standard deviation must be a number of metres, noise=0.01") from None
    if name.endswith(".npz"):
        return _released_elsewhere(Path(name), dataset)
    if not is_bundle(name):
        raise AuditError(f"{name!r} is no release: {_WAYS}")
    try:
        runner = OnnxRuntimeCpu(open_bundle(name))
    except BundleError as error:
        raise AuditError(str(error)) from error
    try:
        return publish(dataset, runner, progress)
    finally:
        runner.close()


def publish(dataset: SkeletonDataset, runner: Runner, progress: Progress = lambda done, total: None) -> Published:
    """Push all sequences, one after the other, through the stream's anonymizer."""
    anonymizer = Anonymizer(runner, sensors=1)
    watch = Stopwatch(Latencies())
    records = []
    for index in range(len(dataset)):
        frames = list(_frames(dataset, index))
        outcomes = []
        for start in range(0, len(frames), _TOGETHER):
            part = [(0, frame) for frame in frames[start : start + _TOGETHER]]
            outcomes += anonymizer.anonymize(part, watch)
        while runner.manifest.presence_frames and outcomes and outcomes[-1].frame.bodies:  # nobody is there any more
            outcomes += anonymizer.anonymize([(0, no_bodies(_time(dataset, len(outcomes))))], watch)
        if frames and all(outcome.frame.state == "fault" for outcome in outcomes):
            raise AuditError(
                "the model fails on every frame of a sequence: nothing would be published, so nothing to audit"
            )
        records.append(_received([outcome.frame for outcome in outcomes]))
        progress(index + 1, len(dataset))
    return _joined(records)


def _frames(dataset: SkeletonDataset, index: int) -> Iterator[BodyFrame]:
    """A sequence as its sensor delivered it."""
    sequence = dataset[index]
    seen = (sequence.joints != 0).any(axis=(2, 3))  # (T, M)
    for number, times in enumerate(_times(dataset, index)):
        bodies = np.flatnonzero(seen[number])
        joints = np.ascontiguousarray(sequence.joints[number, bodies])
        tracking = np.ascontiguousarray(sequence.tracking[number, bodies])
        yield BodyFrame(times, joints, tracking, tuple(bodies.tolist()), discontinuity=number == 0)


class _Record:
    """The arrays of one sequence, under the names that `Published` has."""

    def __init__(self, times: list[int]) -> None:
        self.captured_ns = np.array(times, np.int64)
        self.joints: list[NDArray[np.float32]] = [np.empty((0, JOINTS, 3), np.float32)]
        self.tracking: list[NDArray[np.uint8]] = [np.empty((0, JOINTS), np.uint8)]
        self.frame: list[int] = []
        self.id: list[int] = []

    def add(self, frame: int, public_id: int, joints: NDArray[np.float32], tracking: NDArray[np.uint8]) -> None:
        self.frame.append(frame)
        self.id.append(public_id)
        self.joints.append(joints.reshape(1, JOINTS, 3))
        self.tracking.append(tracking.reshape(1, JOINTS))


def _received(frames: list[AnonymousFrame]) -> _Record:
    record = _Record([frame.captured_ns for frame in frames])
    for number, frame in enumerate(frames):
        for body in frame.bodies:
            joints, tracking = np.frombuffer(body.joints, "<f4"), np.frombuffer(body.tracking, np.uint8)
            record.add(number, body.id, joints, tracking)
    return record


def _as_recorded(dataset: SkeletonDataset, std_m: float, draw: int, progress: Progress) -> Published:
    """What would be seen without an anonymizer, or with Gaussian noise of a true standard deviation for one."""
    rng = np.random.default_rng(draw)
    records = []
    for index in range(len(dataset)):
        sequence = dataset[index]
        joints = withhold(sequence.joints)
        record = _Record(_times(dataset, index))
        ids: list[int] = [int(rng.integers(1 << 32)) for _ in range(joints.shape[1])]
        for number, body in np.argwhere((joints != 0).any(axis=(2, 3))).tolist():
            noise = std_m * rng.standard_normal((JOINTS, 3)).astype(np.float32)
            record.add(number, ids[body], joints[number, body] + noise, sequence.tracking[number, body])
        records.append(record)
        progress(index + 1, len(dataset))
    return _joined(records)


def _joined(records: list[_Record]) -> Published:
    return Published(
        joints=np.concatenate([part for record in records for part in record.joints]),
        start=np.cumsum([0, *(len(record.id) for record in records)]),
        frame=np.array([frame for record in records for frame in record.frame], np.int64),
        id=np.array([public for record in records for public in record.id], np.uint32),
        tracking=np.concatenate([part for record in records for part in record.tracking]),
        frame_start=np.cumsum([0, *(len(record.captured_ns) for record in records)]),
        captured_ns=np.concatenate([record.captured_ns for record in records]),
    )


def _times(dataset: SkeletonDataset, index: int) -> list[int]:
    return [_time(dataset, number) for number in range(int(dataset.frames[index]))]


def _time(dataset: SkeletonDataset, number: int) -> int:
    return _EPOCH_NS + int(number * (1e9 / dataset.info.rate_hz))


def _released_elsewhere(path: Path, dataset: SkeletonDataset) -> Published:
    published = Published.load(path)
    if len(published) != len(dataset):
        raise AuditError(
            f"{path} holds {len(published)} sequences, {dataset.folder} {len(dataset)}: they must be the same, in order"
        )
    return published
