"""The newest frames of one stream, in the shapes that skeleton networks take.

Letters as the field uses them: N samples, C channels (x, y, z), T frames, V joints, M bodies.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.joints import INDEX, JOINTS

from .received import ReceivedFrame

Floats = NDArray[np.float32]

MAX_BODIES: Final = 64
"""Bodies a window holds; beyond it the one unseen for longest is forgotten, so that no publisher can fill memory."""


@dataclass(slots=True)
class _Track:
    joints: Floats  # (T, V, C), a ring; zeros where the body was not seen
    last: int  # number of the push that saw the body last


class Window:
    """Keeps the last `length` frames of one stream, for each body.

    T counts received frames, `empty` and `fault` ones included; a body's joints are zeros in frames without it. A
    body in none of the frames is forgotten. When the publisher starts anew (another epoch) so does the window.
    Raises ValueError for a length below 1.

    >>> window = Window(64)
    >>> window.keypoint().shape
    (0, 64, 25, 3)
    """

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ValueError(f"a window of {length} frames: use 1 or more")
        self.length = length
        self._source: tuple[str, int] | None = None
        self._tracks: dict[int, _Track] = {}
        self._pushed = 0

    def __len__(self) -> int:
        """Frames in the window, at most `length`."""
        return min(self._pushed, self.length)

    @property
    def full(self) -> bool:
        """Whether `length` frames have come since the window was made or cleared."""
        return self._pushed >= self.length

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids of the M bodies in the window, in the order of `keypoint()`: oldest body first."""
        return tuple(self._tracks)

    def clear(self) -> None:
        """Forget every frame; the next may be of any stream."""
        self._source = None
        self._tracks.clear()
        self._pushed = 0

    def push(self, frame: ReceivedFrame) -> None:
        """Add the newest frame. Raises ValueError when it is of another stream than the one before."""
        self._follow(frame.stream, frame.epoch)
        slot = self._pushed % self.length
        self._pushed += 1
        for track in self._tracks.values():
            track.joints[slot] = 0
        for body, joints in zip(frame.ids, frame.joints, strict=True):
            track = self._tracks.get(body) or self._new_track(body)
            track.joints[slot] = joints
            track.last = self._pushed
        oldest = self._pushed - self.length
        for body in [body for body, track in self._tracks.items() if track.last <= oldest]:
            del self._tracks[body]

    def keypoint(self) -> Floats:
        """(M, T, V, C) float32, axes as in the stream's schema: `keypoint` of PYSKL and mmaction2, oldest frame first.

        T is `length`, also before the window is full: the frames yet to come are zeros, at the front.
        """
        rings = [track.joints for track in self._tracks.values()]
        return self._in_order(np.stack(rings) if rings else np.zeros((0, self.length, JOINTS, 3), np.float32))

    def nctvm(self, bodies: int = 2, fill: Literal["zeros", "repeat"] = "zeros") -> Floats:
        """(1, C, T, V, M) float32, M = `bodies`: the input of MS-G3D and Shift-GCN, oldest frame first.

        The bodies in most of the frames come first, of equals the one seen last, and then the one nearest the origin:
        in normalised axes it carries them, as person 0 of a network's training clips does. Zeros where there are fewer.
        fill: what stands for frames yet to come: zeros at the front, or the received frames from the oldest on, again
        and again, as in the clips that networks are trained on with NTU RGB+D.
        """
        sample = np.zeros((1, 3, self.length, JOINTS, bodies), np.float32)
        ranked = sorted(self._tracks.values(), key=_rank)
        for m, track in enumerate(ranked[:bodies]):
            # (1, T, V, C) -> (C, T, V)
            sample[0, ..., m] = self._in_order(track.joints[np.newaxis])[0].transpose(2, 0, 1)
        if fill == "repeat" and len(self):
            return sample[:, :, self.length - len(self) + np.arange(self.length) % len(self)]
        return sample

    def _follow(self, stream: str, epoch: int) -> None:
        if self._source is None:
            self._source = (stream, epoch)
        elif self._source[0] != stream:
            raise ValueError(f"a window of stream {self._source[0]!r} got a frame of {stream!r}: use one for each")
        elif self._source[1] != epoch:
            self.clear()
            self._source = (stream, epoch)

    def _new_track(self, body: int) -> _Track:
        if len(self._tracks) >= MAX_BODIES:
            del self._tracks[min(self._tracks, key=lambda known: self._tracks[known].last)]
        track = _Track(np.zeros((self.length, JOINTS, 3), np.float32), self._pushed)
        self._tracks[body] = track
        return track

    def _in_order(self, rings: Floats) -> Floats:
        """(M, T, V, C), slots -> oldest frame first."""
        return np.roll(rings, -(self._pushed % self.length), axis=1)


def _rank(track: _Track) -> tuple[int, int, float]:
    seen = track.joints[track.joints.any(axis=(1, 2))]  # (frames, V, C)
    return -len(seen), -track.last, float(np.linalg.norm(seen[:, INDEX["SpineMid"]], axis=1).mean())
