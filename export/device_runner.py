"""Runs a bundle on a device where states and personas stay: only joints and slot numbers cross the bus.

Each row has three slots of the pool of states. A call reads a row's current slot and writes another one, and only when
the whole call has succeeded does that become the current one; the third keeps what `_restore` would go back to. So a
failed call has changed nothing, and nothing is copied for it. There are two pools, and a call reads one and writes the
other: no library promises that a graph may overwrite what it reads.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .device import Array, Device
from .errors import RunnerError
from .manifest import Manifest
from .resident import (
    FIRST_SLOT,
    MOST_ROWS,
    MOVED,
    NEXT,
    PERSONAS,
    PLACES,
    POOL,
    ROWS,
    SCRATCH_SLOT,
    SLOTS_PER_ROW,
    ZERO_SLOT,
    resident_shapes,
)
from .runner import Flags, Floats, RowRunner, Rows

Slots = NDArray[np.int64]


class _Bucket:
    """The buffers of one batch size, on the host and on the device, and what runs the graph on them."""

    def __init__(self, manifest: Manifest, device: Device, size: int) -> None:
        self.size = size
        shapes = resident_shapes(manifest, size, 0)
        self.joints = np.zeros(shapes["joints"], np.float32)
        self.present = np.zeros(shapes["joints"][:2], np.float32)
        self.places = np.zeros((3, size), np.int64)
        sent: dict[str, Array] = {"joints": self.joints, "present": self.present, PLACES: self.places}
        self.sent = {name: (values, device.allocate(values)) for name, values in sent.items() if name in shapes}
        self.inputs = {name: buffer for name, (_, buffer) in self.sent.items()}
        self.outputs = {"anonymous": device.allocate(np.zeros_like(self.joints))}
        if manifest.state_size:
            self.outputs[MOVED] = device.allocate(np.zeros(size, np.float32))
        self.run: list[Callable[[], None]] = []
        """From the first pool to the second, and back; a single one where there is no state."""

    def fill(self, joints: Floats, present: Floats, places: Slots) -> None:
        """Take over up to `size` samples; the rest is empty and goes to the scratch slot."""
        count = len(joints)
        self.joints[:count], self.joints[count:] = joints, 0.0
        self.present[:count], self.present[count:] = present, 0.0
        self.places[:, :count], self.places[:, count:] = places, [[ZERO_SLOT], [SCRATCH_SLOT], [0]]


class DeviceRunner(RowRunner):
    """A bundle on a device, in batches of a few fixed sizes. The device must have loaded `resident_model(bundle)`.

    buckets: the batch sizes, ascending; a call is filled up to the next one, a larger one than all is cut up.
    Raises RunnerError where the device cannot run a batch of some size; each has been run when this returns.
    """

    def __init__(self, bundle: Bundle, device: Device, buckets: Sequence[int]) -> None:
        super().__init__(bundle)
        if not buckets or buckets[0] < 1 or any(after <= before for before, after in pairwise(buckets)):
            raise RunnerError(f"`model.buckets` is {list(buckets)}: batch sizes from 1 on, ascending")
        self._device = device
        self._side = 0
        """Which pool holds the states now."""
        self._pools: list[Any] = []
        self._drawn = np.zeros((0, self.manifest.persona_size), np.float32)
        self._current = self._kept = np.zeros(0, np.int64)
        try:
            with self._device_errors("cannot get its memory"):
                self._buckets = [_Bucket(self.manifest, device, size) for size in buckets]
                self._settle_in(ROWS, np.zeros(self._pool_shape(ROWS), np.float32))
            self._warm_up()
        except RunnerError:
            device.close()
            raise

    @property
    def name(self) -> str:
        """What it runs on, for people."""
        return self._device.name

    @property
    def runs_on(self) -> str:
        """The same."""
        return self.name

    def close(self) -> None:
        self._device.close()

    def _plain(self, joints: Floats, present: Floats) -> Floats:
        return self._run(joints, present, np.zeros((3, len(joints)), np.int64))

    def _reserve(self, rows: int) -> None:
        if rows <= len(self._current):
            return
        if rows > MOST_ROWS:
            raise RunnerError(f"{rows} samples at the same time; this runner has room for {MOST_ROWS}")
        with self._device_errors("cannot make room for more bodies"):
            size = min(MOST_ROWS, max(rows, 2 * len(self._current)))
            states = np.zeros(self._pool_shape(size), np.float32)
            before = self._device.download(self._pools[self._side])
            states[: len(before)] = before
            self._settle_in(size, states)

    def _advance(self, rows: Rows, fresh: Flags, joints: Floats, present: Floats) -> Floats:
        if fresh.any() and self.manifest.persona_size:
            self._draw_personas(rows[fresh])
        written = self._free_slots(rows)
        places = np.stack([np.where(fresh, ZERO_SLOT, self._current[rows]), written, rows])
        anonymous = self._run(joints, present, places)
        self._current[rows] = written
        return anonymous

    def _peek(self, rows: Rows, joints: Floats, present: Floats) -> tuple[Floats, bool]:
        places = np.stack([self._current[rows], np.full(len(rows), SCRATCH_SLOT), rows])
        moved = np.zeros(len(rows), np.float32)
        anonymous = self._run(joints, present, places, moved)
        return anonymous, bool((moved == 0.0).all())

    def _save(self) -> Slots:
        self._kept = self._current.copy()
        return self._kept

    def _restore(self, before: Slots) -> None:
        self._current = before.copy()

    def _free_slots(self, rows: Rows) -> Slots:
        """Of each row a slot that holds neither its state nor the one that is kept."""
        first = FIRST_SLOT + SLOTS_PER_ROW * rows.astype(np.int64)
        current, kept = self._current[rows] - first, self._kept[rows] - first
        free: Slots = first + np.where(current == kept, (current + 1) % 3, 3 - current - kept)
        return free

    def _draw_personas(self, rows: Rows) -> None:
        self._drawn[rows] = self._random.standard_normal((len(rows), self.manifest.persona_size))
        with self._device_errors("cannot take a persona"):
            self._device.upload(self._personas, self._drawn)

    def _run(self, joints: Floats, present: Floats, places: Slots, moved: Floats | None = None) -> Floats:
        """Anonymous joints (N, P, 25, 3); `moved` (N,) takes how far each state moved."""
        anonymous = np.empty_like(joints)
        largest = self._buckets[-1].size
        with self._device_errors("failed"):
            for start in range(0, len(joints), largest):
                part = slice(start, start + largest)
                bucket = self._run_bucket(joints[part], present[part], places[:, part])
                count = len(joints[part])
                anonymous[part] = self._device.download(bucket.outputs["anonymous"])[:count]
                if moved is not None and MOVED in bucket.outputs:
                    moved[part] = self._device.download(bucket.outputs[MOVED])[:count]
        return anonymous

    def _run_bucket(self, joints: Floats, present: Floats, places: Slots) -> _Bucket:
        bucket = next(bucket for bucket in self._buckets if bucket.size >= len(joints))
        bucket.fill(joints, present, places)
        for values, buffer in bucket.sent.values():
            self._device.upload(buffer, values)
        bucket.run[self._side % len(bucket.run)]()
        self._side = (self._side + 1) % len(bucket.run)
        return bucket

    def _settle_in(self, rows: int, states: Floats) -> None:
        """New pools for so many rows, and the graph bound to them; slots keep their numbers."""
        first = FIRST_SLOT + SLOTS_PER_ROW * np.arange(len(self._current), rows, dtype=np.int64)
        shared: dict[str, Any] = {}
        if self.manifest.persona_size:
            self._drawn = np.pad(self._drawn, ((0, rows - len(self._drawn)), (0, 0)))
            shared[PERSONAS] = self._personas = self._device.allocate(self._drawn)
        self._pools = [self._device.allocate(states) for _ in range(2)]
        self._side = 0
        ways = ((0, 1), (1, 0)) if self.manifest.state_size else ((0, 0),)
        for bucket in self._buckets:
            bucket.run = []
            for source, target in ways:
                pools = ({POOL: self._pools[source]}, {NEXT: self._pools[target]})
                state_in, state_out = pools if self.manifest.state_size else ({}, {})
                bucket.run.append(self._device.bind(bucket.inputs | shared | state_in, bucket.outputs | state_out))
        self._current = np.concatenate([self._current, first])
        self._kept = self._current.copy()

    def _pool_shape(self, rows: int) -> tuple[int, int]:
        return FIRST_SLOT + SLOTS_PER_ROW * rows, self.manifest.state_size

    def _warm_up(self) -> None:
        """Every size, both ways, twice: the first calls get memory, and a CUDA graph is recorded and then replayed."""
        random = np.random.default_rng(0)
        for bucket in self._buckets:
            joints = random.standard_normal(bucket.joints.shape).astype(np.float32)
            places = np.repeat(np.array([[ZERO_SLOT], [SCRATCH_SLOT], [0]]), bucket.size, axis=1)
            for _ in range(2 * len(bucket.run)):
                self._run(joints, np.ones(joints.shape[:2], np.float32), places)

    @contextmanager
    def _device_errors(self, what: str) -> Iterator[None]:
        """Whatever a library raises becomes a RunnerError without its words: they might hold what it was given."""
        try:
            yield
        except RunnerError:
            raise
        except Exception as error:
            raise RunnerError(f"{self._device.name} {what} ({type(error).__name__})") from error
