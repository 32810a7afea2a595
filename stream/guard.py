"""The last check before a body is published: finite, human-shaped, and not the input. It trusts no model."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.body import difference_matrix
from skelanon.sensors.joints import BONES, JOINTS, ROOT

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

LONGEST_BONE_M: Final = 1.5
SHORTEST_LEG_M: Final = 0.1
"""A body whose longest bone is shorter has collapsed; an infant's shin is longer."""
FARTHEST_ROOT_M: Final = 50.0
SAME_JOINT_M: Final = 2e-6
"""A few float32 steps at 4 m: a joint that went through a rotation and back untouched lies within."""
SAME_BONE_M: Final = 1e-3
MOST_SAME_BONES: Final = 14
"""Of 24. More of equal length than that, and the body is the raw one, moved or slightly disturbed."""
KEPT_ROOT_M: Final = 1e-4

_AXES: Final = np.eye(3, dtype=np.float32)
_BONES: Final = np.kron(difference_matrix()[list(BONES)].T, _AXES).astype(np.float32)  # (75, 72)
_SUM_BONES: Final = np.kron(np.eye(len(BONES)), np.ones((3, 1))).astype(np.float32)  # (72, 24)
_SUM_JOINTS: Final = np.kron(np.eye(JOINTS), np.ones((3, 1))).astype(np.float32)  # (75, 25)
_max, _min, _any = np.maximum.reduce, np.minimum.reduce, np.logical_or.reduce  # faster than the methods


class Guard:
    """Compares anonymized bodies with the raw ones they were made of. Matrix products, for they cost least.

    keeps_root: the manifest says that the root is raw; it alone is then exempt from the comparison.
    """

    def __init__(self, *, keeps_root: bool) -> None:
        self._first = ROOT + 1 if keeps_root else 0
        self._known = _RawJoints()

    def check(self, raw: Floats, anonymous: Floats) -> Bools:
        """Which of B bodies may be published.

        raw, anonymous: (B, 25, 3) float32, metres. Refused is a body that is not finite or not human-shaped, in
        which any joint is its own raw joint (to 2e-6 m) or bit for bit any raw joint of this call or the one before
        (mixed-up or stale buffers), or of which more than 14 of 24 bones have their raw length (to 1e-3 m: a body
        moved or slightly disturbed). A root that is kept must be that of the same body.
        """
        bodies = len(raw)
        both = np.concatenate((raw, anonymous))
        bones = np.dot(both.reshape(-1, 3 * JOINTS), _BONES)
        lengths = np.sqrt(np.dot(bones * bones, _SUM_BONES))  # (2B, 24)
        longest = _max(lengths[bodies:], 1)
        moved_by = (anonymous - raw).reshape(bodies, -1)
        distances = np.dot(moved_by * moved_by, _SUM_JOINTS)  # (B, 25), squared
        good: Bools = (
            (longest < LONGEST_BONE_M)  # False where it is not a number
            & (longest > SHORTEST_LEG_M)
            & (np.abs(anonymous[:, ROOT]).max(1) < FARTHEST_ROOT_M)
            & (np.add.reduce(np.abs(lengths[bodies:] - lengths[:bodies]) < SAME_BONE_M, 1) <= MOST_SAME_BONES)
            & (_min(distances[:, self._first :], 1) > SAME_JOINT_M**2)
        )
        if self._first:  # a root that is kept is that of the same body
            good &= distances[:, ROOT] < KEPT_ROOT_M**2
        echoes = self._known.among(both, self._first)
        return good if echoes is None else good & ~echoes


class _RawJoints:
    """Remembers the raw joints of two calls, and finds them wherever they turn up.

    Each joint is mixed into one number, the same only for the same three floats. A table of marks finds candidates
    in a few array operations; only those, one call in fifty for a single body, are compared exactly. The table grows
    with the calls, so that most joints of thousands of bodies are no candidates either.
    """

    _MIX: Final = np.array([1.0, math.pi, math.exp(2)])  # in no simple ratio: floats lie on a grid, and would meet
    _SCATTER: Final = np.uint64(0x9E3779B97F4A7C15)  # multiplicative hashing: 2^64 / golden ratio
    _MOST_BITS: Final = 22

    def __init__(self) -> None:
        self._call = 1
        self._bits = 16
        self._marks = np.zeros(1 << self._bits, np.uint64)  # the call that set a mark
        self._numbers = np.empty(0), np.empty(0)

    def among(self, both: Floats, first: int) -> Bools | None:
        """Which bodies of the second half of (2B, 25, 3) have a joint of the first half, or of the call before."""
        numbers = np.dot(both.reshape(-1, 3), self._MIX)
        half = len(numbers) // 2
        if half << 4 > len(self._marks) and self._bits < self._MOST_BITS:
            self._grow(half)
        places = self._places(numbers)
        self._call += 1
        self._numbers = self._numbers[1], numbers[:half]
        self._marks[places[:half]] = self._call
        suspects = np.flatnonzero(self._marks[places[half:]] >= self._call - 1)
        if not len(suspects):
            return None
        asked, known = numbers[half + suspects], np.concatenate(self._numbers)
        ordered = np.sort(asked)
        nearest = ordered[np.minimum(np.searchsorted(ordered, known), len(ordered) - 1)]
        echoes = np.zeros(half, np.bool_)
        echoes[suspects] = np.isin(asked, known[nearest == known])
        found: Bools = _any(echoes.reshape(-1, JOINTS)[:, first:], 1)
        return found

    def _grow(self, joints: int) -> None:
        """A table of some sixteen places for each joint, with the marks of the call before."""
        self._bits = min(self._MOST_BITS, (joints << 4).bit_length())
        self._marks = np.zeros(1 << self._bits, np.uint64)
        self._marks[self._places(self._numbers[1])] = self._call

    def _places(self, numbers: NDArray[np.float64]) -> NDArray[np.uint64]:
        return (numbers.view(np.uint64) * self._SCATTER) >> np.uint64(64 - self._bits)
