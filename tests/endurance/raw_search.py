"""Finds raw joints in bytes that left a node: three float32 in a row, at any offset, in either byte order."""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelanon.configs import SyntheticSettings
from skelanon.sensors.synthetic import LOOP_FRAMES, Synthetic

_BITS: Final = 22
_PIECE_BYTES: Final = 1 << 18


class RawSearch:
    """Counts the known joints, (J, 3) float32, that stand in the bytes it is given."""

    def __init__(self, joints: NDArray[np.float32]) -> None:
        words = np.unique(np.ascontiguousarray(joints, "<f4").view("<u4").reshape(-1, 3), axis=0)
        self._known = np.unique(_fingerprints(words))
        self._marks = np.zeros(1 << _BITS, np.bool_)  # most words are sorted out by one look: no joint begins so
        self._marks[_scattered(words[:, 0])] = True
        self._pieces: list[bytes] = []
        self._waiting = 0
        self.searched = 0
        """Bytes that were looked at."""
        self.found = 0

    def add(self, message: bytes) -> None:
        """Take a message; it is searched with the next ones."""
        self._pieces.append(message)
        self._waiting += len(message)
        if self._waiting >= _PIECE_BYTES:
            self.finish()

    def finish(self) -> None:
        """Search all that waits."""
        # Between two messages stands what no joint begins or ends with, so that none is found across them.
        data = (b"\xff" * 4).join(self._pieces)
        self.searched += self._waiting
        self._pieces, self._waiting = [], 0
        for offset in range(4):
            end = len(data) - (len(data) - offset) % 4
            if end - offset >= 12:
                words = np.frombuffer(data[offset:end], "<u4")
                self.found += self._count(words) + self._count(words.byteswap())

    def _count(self, words: NDArray[np.uint32]) -> int:
        first = np.flatnonzero(self._marks[_scattered(words[:-2])])
        asked = _fingerprints(words[first[:, None] + np.arange(3)])
        nearest = self._known[np.minimum(np.searchsorted(self._known, asked), len(self._known) - 1)]
        return int((nearest == asked).sum())


def synthetic_joints(seeds: Iterable[int], persons: int) -> NDArray[np.float32]:
    """All raw joints, (J, 3), that synthetic sensors at 30 Hz ever deliver."""
    found = []
    for seed in seeds:
        with Synthetic(SyntheticSettings(kind="synthetic", persons=persons, seed=seed, fast=True)) as sensor:
            frames = [sensor.read(0) for _ in range(LOOP_FRAMES)]
        found += [frame.joints.reshape(-1, 3) for frame in frames if frame is not None]
    return np.concatenate(found)


def _scattered(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return (words * np.uint32(0x9E3779B1)) >> np.uint32(32 - _BITS)


def _fingerprints(words: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """One number for each three words, (N, 3): the same only for the same three, but for one case in 2^64."""
    factors = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
    mixed: NDArray[np.uint64] = np.bitwise_xor.reduce(words.astype(np.uint64) * factors, axis=1)
    return mixed
