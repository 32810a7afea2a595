"""Who is who from frame to frame: sticky sample slots and random public ids for the tracks of one sensor."""

import heapq
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from skelanon.export.runner import Floats


class Rows:
    """Hands out the rows of a runner, smallest first, to the samples of all sensors."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._next = 0

    def acquire(self) -> int:
        """A free row."""
        if self._free:
            return heapq.heappop(self._free)
        self._next += 1
        return self._next - 1

    def release(self, row: int) -> None:
        """Give a row back."""
        heapq.heappush(self._free, row)


MAX_TRACKS: Final = 128
"""Of one sensor; beyond it the track unseen for longest ends."""
_NOBODY: Final = 1 << 64
"""From here on, ids are of tracks that have parted from their sensor's; those of sensors have 64 bits."""


@dataclass(slots=True)
class Track:
    """A body followed from frame to frame. Its place in the model's input and its public id stay the same."""

    sample: "Sample"
    slot: int
    public_id: int
    seen_ns: int
    left: int = 0
    """Frames for which it must still be published, seen or not."""
    held: Floats | None = field(default=None, repr=False)
    """(25, 3), raw: what the model goes on seeing when the sensor no longer does."""


class Sample:
    """Bodies that the model sees together: one row of the runner, `size` slots."""

    __slots__ = ("fresh", "row", "slots")

    def __init__(self, row: int, size: int) -> None:
        self.row = row
        self.fresh = True
        """No frame of it has gone through the model yet."""
        self.slots: list[int | None] = [None] * size  # the sensor's track id in each slot


class Tracks:
    """The tracks of one sensor. A body keeps its slot until it has been unseen for `timeout_ns`."""

    def __init__(self, rows: Rows, bodies_per_sample: int, timeout_ns: int) -> None:
        self._rows = rows
        self._size = bodies_per_sample
        self._timeout_ns = timeout_ns
        self._tracks: dict[int, Track] = {}
        self._samples: list[Sample] = []
        self._newest_ns = 0

    def __len__(self) -> int:
        return len(self._tracks)

    def update(self, track_ids: Iterable[int], captured_ns: int) -> list[Track]:
        """The track of each id, in order; new ids start tracks, those unseen for too long end."""
        if captured_ns < self._newest_ns - self._timeout_ns:  # the clock was set back
            self.part(captured_ns)
        self._newest_ns = captured_ns
        tracks = self._tracks
        seen = []
        fresh = []
        for track_id in track_ids:
            track = tracks.get(track_id)
            if track is not None and captured_ns - track.seen_ns > self._timeout_ns:
                self._end(track_id)
                track = None
            if track is None:
                fresh.append(track_id)
            else:
                track.seen_ns = captured_ns
                seen.append(track_id)
        if len(tracks) > len(seen):
            self._expire(captured_ns)
        for track_id in fresh:
            if len(tracks) >= MAX_TRACKS:  # ghosts, or a clock that stands still
                self._end(min(tracks, key=lambda known: tracks[known].seen_ns))
            self._start(track_id, captured_ns)
        return [tracks[track_id] for track_id in track_ids]

    def hold(self, seen: Iterable[tuple[Track, Floats]], presence: int, captured_ns: int) -> list[Track]:
        """Note the raw joints of tracks seen in a frame; return the others that must be published in it all the same.

        presence: tracks are published for a multiple of so many frames.
        """
        there = set()
        for track, joints in seen:
            track.left = (track.left or presence) - 1
            track.held = joints.copy()
            there.add(track.public_id)
        held = [track for track in self._tracks.values() if track.left and track.public_id not in there]
        for track in held:
            track.left -= 1
            track.seen_ns = captured_ns
        return held

    def part(self, captured_ns: int) -> None:
        """Nobody is who was there before (another recording, a loop, a jump in time): tracks end, but those that must
        still be published are held, and known to no id.
        """
        for track_id, track in list(self._tracks.items()):
            if not track.left:
                self._end(track_id)
            else:
                del self._tracks[track_id]
                parted = _NOBODY + track.public_id
                self._tracks[parted] = track
                track.sample.slots[track.slot] = parted
            track.seen_ns = captured_ns

    def _start(self, track_id: int, captured_ns: int) -> None:
        sample = next((s for s in self._samples if None in s.slots), None)
        if sample is None:
            sample = Sample(self._rows.acquire(), self._size)
            self._samples.append(sample)
        slot = sample.slots.index(None)
        sample.slots[slot] = track_id
        self._tracks[track_id] = Track(sample, slot, self._new_public_id(), captured_ns)

    def _end(self, track_id: int) -> None:
        track = self._tracks.pop(track_id)
        track.sample.slots[track.slot] = None
        if not any(slot is not None for slot in track.sample.slots):
            self._samples.remove(track.sample)
            self._rows.release(track.sample.row)

    def _expire(self, captured_ns: int) -> None:
        for track_id, track in list(self._tracks.items()):
            if captured_ns - track.seen_ns > self._timeout_ns:
                self._end(track_id)

    def _new_public_id(self) -> int:
        taken = {track.public_id for track in self._tracks.values()}
        while (public_id := secrets.randbits(32)) in taken:
            pass
        return public_id
