"""Writes NTU RGB+D `.skeleton` files, so that the project can make recordings of its own to replay.

Only what skelanon reads carries values: body ids, joints, tracking states. All other columns are zero.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from skelanon.configs.schema import SyntheticSettings

from .frame import BodyFrame
from .joints import JOINTS
from .synthetic import Synthetic

RECORDING_HZ = 30.0


def write_skeleton(path: Path, frames: Sequence[BodyFrame]) -> None:
    """Write `frames` in order; joints come back from a reader bit for bit.

    Raises OSError when `path` cannot be written.
    """
    path.write_text("\n".join(_lines(frames)) + "\n", encoding="ascii")


def write_demo_recording(path: Path, seconds: float, persons: int = 2, seed: int = 0) -> None:
    """Write `seconds` of the synthetic population at 30 frames a second to the file `path`."""
    frames = max(round(seconds * RECORDING_HZ), 1)
    settings = SyntheticSettings(
        kind="synthetic", persons=persons, rate_hz=RECORDING_HZ, seed=seed, frames=frames, fast=True
    )
    with Synthetic(settings) as sensor:
        read = (sensor.read(timeout_ms=0) for _ in range(frames))
        write_skeleton(path, [frame for frame in read if frame is not None])


def _lines(frames: Sequence[BodyFrame]) -> Iterator[str]:
    yield str(len(frames))
    for frame in frames:
        yield str(len(frame.track_ids))
        for track_id, joints, tracking in zip(frame.track_ids, frame.joints, frame.tracking, strict=True):
            yield f"{track_id} 0 0 0 0 0 0 0 0 2"
            yield str(JOINTS)
            for (x, y, z), state in zip(joints.tolist(), tracking.tolist(), strict=True):
                yield f"{x:.9g} {y:.9g} {z:.9g} 0 0 0 0 0 0 0 0 {state}"
