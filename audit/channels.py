"""Side channels: what a release tells beside the pose, as features of whole sequences.

All are of the main body (`Published.main_body`), fixed in number for each channel, and 0 where nobody was published.
A feature of one channel should not tell what belongs to another: time statistics do not depend on the duration, last
bits not on the place.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.frame import INFERRED, NOT_TRACKED
from skelanon.sensors.joints import INDEX, JOINTS, ROOT

from .published import Integers, Published

Doubles = NDArray[np.float64]

CHANNELS: Final[tuple[str, ...]] = (
    "ids", "order", "timestamps", "tracking states", "gaps", "duration", "place and stride", "last bits",
)  # fmt: skip

_ID_BITS: Final = 32
_MODULI: Final = np.array([3, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15])
"""Of ids; the powers of two are in the bits."""
_FIRST: Final = 8
"""Frames at the start whose order and bits are features of their own."""
_CLOCK_FRAMES: Final = 16
"""Frames at the start whose digits are looked at: over all of them, regular times would tell how many there are."""
_DIGITS: Final = 10 ** np.arange(6)
_CLOCK_BITS: Final = np.arange(12)
_LATE: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_QUANTILES: Final = (0.1, 0.5, 0.9)
_LAST_BITS: Final = np.arange(8, dtype=np.uint32)
_DEFAULT_PERIOD_S: Final = 1 / 30


def channel_features(published: Published) -> dict[str, NDArray[np.float32]]:
    """For each channel (N, F) features of all sequences."""
    main = [published.main_body(sequence) for sequence in range(len(published))]
    found = {
        name: np.stack([read(published, sequence, rows) for sequence, rows in enumerate(main)]).astype(np.float32)
        for name, read in _READERS.items()
    }
    found["last bits"] = _last_bits(published, main)
    return {name: found[name] for name in CHANNELS}


def _ids(published: Published, sequence: int, rows: Integers) -> Doubles:
    """Bits, magnitude and remainders of the main body's id, and how many ids there are."""
    body = np.int64(published.id[rows[0]] if len(rows) else 0)
    count = len(np.unique(published.id[published.rows(sequence)]))
    bits = body >> np.arange(_ID_BITS) & 1
    return np.array([*bits, body / 2**_ID_BITS, body % 2**16, *(body % _MODULI), count], np.float64)


def _order(published: Published, sequence: int, rows: Integers) -> Doubles:
    """Which of the bodies the main body is, in frames with others: in the first, on average, how often it changes."""
    everything = published.rows(sequence)
    frames = published.frame[everything]
    sorting = np.argsort(frames, kind="stable")
    begin, end = (np.searchsorted(frames[sorting], frames, side) for side in ("left", "right"))
    position = np.empty_like(frames)
    position[sorting] = np.arange(len(frames))
    mine = rows - everything.start
    position, bodies = (position - begin)[mine], (end - begin)[mine]
    most = bodies.max(initial=0)
    position, bodies = position[bodies > 1], bodies[bodies > 1]
    if not len(position):
        return np.array([*np.zeros(_FIRST + 4), most], np.float64)
    first = np.resize(position, _FIRST)  # repeated where there are fewer
    last = position == bodies - 1
    changes = np.count_nonzero(np.diff(position))
    return np.array([*first, position[-1], position.mean(), last.mean(), changes, most], np.float64)


def _timestamps(published: Published, sequence: int, rows: Integers) -> Doubles:
    """When it began; intervals between frames, microseconds; decimal digits and bits of the first times."""
    times = published.times(sequence)
    if not len(times):
        times = published.captured_ns[:1] if len(published.captured_ns) else np.zeros(1, np.int64)
    began = times[0] - (published.captured_ns[0] if len(published.captured_ns) else 0)
    intervals = np.rint(np.diff(times) / 1000) if len(times) > 1 else np.zeros(1)
    first = times[:_CLOCK_FRAMES, None]
    digits, bits = first // _DIGITS % 10, first >> _CLOCK_BITS & 1
    start = [began / 1e9, times[0] // 10**9 % 86400, *digits[0], *bits[0]]
    statistics = [intervals.mean(), intervals.std(), *np.quantile(intervals, _LATE)]
    return np.array([*start, *statistics, *digits.mean(0), *bits.mean(0)], np.float64)


def _tracking_states(published: Published, sequence: int, rows: Integers) -> Doubles:
    """How often each joint is inferred and not tracked, and all states of the first frame."""
    states = published.tracking[rows] if len(rows) else np.zeros((1, JOINTS), np.uint8)
    return np.concatenate([(states == INFERRED).mean(0), (states == NOT_TRACKED).mean(0), states[0]])


def _gaps(published: Published, sequence: int, rows: Integers) -> Doubles:
    """Frames in which the main body is missing: all, runs, the longest, at the start, at the end, those in which nobody
    is there, and which come first. They are counted: shares would tell how many frames there are.
    """
    count = len(published.times(sequence))
    here, anybody = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for seen, numbers in ((here, published.frame[rows]), (anybody, published.frame[published.rows(sequence)])):
        seen[numbers[(numbers >= 0) & (numbers < count)]] = True
    missing = np.flatnonzero(~here)
    if not len(rows) or not len(missing):
        return np.array([float(not len(rows)), *np.zeros(5), *np.full(4, -1.0)])
    runs = [len(run) for run in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1)]
    lead, trail = int(here.argmax()), int(here[::-1].argmax())
    first = [*missing[:4], -1, -1, -1, -1][:4]
    empty = np.count_nonzero(~anybody)
    return np.array([len(missing), len(runs), max(runs), lead, trail, empty, *first], np.float64)


def _duration(published: Published, sequence: int, rows: Integers) -> Doubles:
    """Frames, and the last bits of their number."""
    count = len(published.times(sequence))
    return np.array([count, *(count >> np.arange(4) & 1)], np.float64)


def _place_and_stride(published: Published, sequence: int, rows: Integers) -> Doubles:
    """Where root, head and feet are, how high the head is above the lowest joint; steps and their rhythm."""
    joints = (published.joints[rows] if len(rows) else np.zeros((1, JOINTS, 3))).astype(np.float64)
    points = [ROOT, INDEX["Head"], INDEX["FootLeft"], INDEX["FootRight"]]
    height = joints[:, INDEX["Head"], 1] - joints[:, :, 1].min(1)
    series = np.column_stack([joints[:, points].reshape(len(joints), -1), height])  # (t, 13)
    apart = joints[:, INDEX["AnkleLeft"], ::2] - joints[:, INDEX["AnkleRight"], ::2]
    steps = np.linalg.norm(apart, axis=1)
    intervals = np.diff(published.times(sequence)) / 1e9
    period = float(np.median(intervals)) if len(intervals) else 0.0
    period = period if period > 0 else _DEFAULT_PERIOD_S
    moves = np.linalg.norm(np.diff(joints[:, ROOT, ::2], axis=0), axis=1)
    pace = float(np.median(moves)) / period if len(moves) else 0.0
    quantiles = np.quantile(np.column_stack([series, steps]), _QUANTILES, axis=0)
    return np.concatenate([quantiles.ravel(), series.std(0), [steps.max(), pace, *_rhythm(steps, period)]])


def _rhythm(series: Doubles, period_s: float) -> tuple[float, float]:
    """Strongest frequency of a series, Hz, and its share of the power."""
    length = max(256, len(series))
    power = np.abs(np.fft.rfft((series - series.mean()) * np.hanning(len(series)), length)) ** 2
    power[0] = 0
    peak, total = int(power.argmax()), float(power.sum())
    return (peak / (length * period_s), float(power[peak]) / total) if total > 0 else (0.0, 0.0)


_READERS: Final[dict[str, Callable[[Published, int, Integers], Doubles]]] = {
    "ids": _ids, "order": _order, "timestamps": _timestamps, "tracking states": _tracking_states, "gaps": _gaps,
    "duration": _duration, "place and stride": _place_and_stride,
}  # fmt: skip


def _last_bits(published: Published, main: Sequence[Integers]) -> NDArray[np.float32]:
    """(N, 75 * 8 + 8 * 8): how far the lowest bits of each coordinate's float32 are from chance, over a sequence, in
    standard deviations; and the same over all coordinates of each of the first frames.

    A pose cannot steer these bits but through rounding: a coordinate that is small beside what it was computed from
    ends in zeros. So what counts as chance is how often the bit is set, in the whole release, in the same coordinate
    where all that it may have been computed from is as large. A bit that rounding decides is replaced by chance, or its
    being decided would tell the place.
    """
    rows = np.concatenate([*main, np.zeros(0, np.int64)]).astype(np.int64)
    lengths = np.array([len(some) for some in main])
    there, start = np.flatnonzero(lengths), (np.cumsum(lengths) - lengths)[lengths > 0]
    found = np.zeros((len(main), 3 * JOINTS + _FIRST, len(_LAST_BITS)), np.float32)
    if not len(rows):
        return found.reshape(len(main), -1)
    joints = np.ascontiguousarray(published.joints[rows])
    words, sizes = joints.reshape(-1, 3 * JOINTS).view(np.uint32), _sizes(joints)
    rng = np.random.default_rng(0)
    off, spread = (np.zeros((len(rows), len(_LAST_BITS))) for _ in range(2))
    for coordinate in range(3 * JOINTS):
        bits = (words[:, coordinate, None] >> _LAST_BITS & 1).astype(np.float64)  # (r, 8)
        share = _shares(bits, sizes[:, coordinate])
        surprise, variance = bits - share, share * (1 - share)
        sums, variances = np.add.reduceat(surprise, start), np.add.reduceat(variance, start)
        found[there, coordinate] = _deviations(sums, variances, lengths[there, None], rng)
        off, spread = off + surprise, spread + variance
    for frame in range(_FIRST):
        some = lengths[there] > frame
        at = start[some] + frame
        found[there[some], 3 * JOINTS + frame] = _deviations(off[at], spread[at], 3 * JOINTS, rng)
    return found.reshape(len(main), -1)


def _sizes(joints: NDArray[np.float32]) -> Integers:
    """(r, 75) from (r, 25, 3): exponents of a coordinate, of the root's and the largest along its axis, and of the way
    from the root, in one number.
    """
    own, from_root = _exponents(joints), _exponents(joints - joints[:, [ROOT]])
    sizes: Integers = ((own * 256 + own[:, [ROOT]]) * 256 + own.max(1, keepdims=True)) * 256 + from_root
    return sizes.reshape(-1, 3 * JOINTS)


def _exponents(values: NDArray[np.float32]) -> Integers:
    exponents: Integers = (np.ascontiguousarray(values).view(np.uint32) >> 23 & 255).astype(np.int64)
    return exponents


def _shares(bits: Doubles, groups: Integers) -> Doubles:
    """(r, 8) how often each bit is set among the rows of the same group."""
    group = np.unique(groups, return_inverse=True)[1]
    sums = np.stack([np.bincount(group, column) for column in bits.T], 1)  # (groups, 8)
    shares: Doubles = (sums / np.bincount(group)[:, None])[group]
    return shares


def _deviations(sums: Doubles, variances: Doubles, counts: Integers | int, rng: np.random.Generator) -> Doubles:
    """Sums of surprises of as many bits, filled up with noise to the variance of fair coins, over its root."""
    missing = np.maximum(0.25 * counts - variances, 0)
    deviations: Doubles = (sums + np.sqrt(missing) * rng.standard_normal(sums.shape)) / np.sqrt(0.25 * counts)
    return deviations
