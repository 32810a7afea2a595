"""From sequences of any length to clips of a fixed one, as torch loads them. T frames, P bodies, V = 25 joints.

A clip holds what the stream would hand to a model: joints in camera axes, and which bodies are there. Normalisation is
part of the model, not of the data.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from skelanon.configs.training import DataSettings
from skelanon.sensors.fitting import fit_clip
from skelanon.sensors.motion_energy import motion_energy

from .splits import Indices
from .store import SkeletonDataset

Joints = NDArray[np.float32]

FARTHEST_M: Final = 100.0
"""The stream withholds a body with a joint beyond this."""


class Batch(NamedTuple):
    """N clips, or one where N is missing."""

    joints: Tensor
    """(N, T, P, 25, 3) float32, metres, camera axes, zeros where a body is not there."""
    present: Tensor
    """(N, T, P) float32, 1 where a body is there."""
    targets: Tensor
    """(N, L) int64, class numbers of L labels."""


class Clips(Dataset[Batch]):
    """Clips of the sequences `part` of a data set, with class numbers `targets` (len(part), L).

    Numbers go on from epoch to epoch: clip `number` is of sequence `number % len(part)`. seed: with it, `resample`
    draws frames, for each number others; without it, it takes the middle ones, as tests do.
    """

    def __init__(
        self, dataset: SkeletonDataset, part: Indices, targets: Indices, settings: DataSettings, seed: int | None = None
    ) -> None:
        self._dataset, self._part, self._settings, self._seed = dataset, part, settings, seed
        self._targets = torch.from_numpy(targets)

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, number: int) -> Batch:
        index = number % len(self._part)
        random = None if self._seed is None else np.random.default_rng([self._seed, number])
        joints = clip(self._dataset[int(self._part[index])].joints, self._settings, random)
        return Batch(torch.from_numpy(joints), _present(joints), self._targets[index])


class Frames(Dataset[Batch]):
    """Single recorded frames, each after the first frame of its sequence: (2, P, 25, 3), since that fixes the axes.

    Numbers go on from epoch to epoch, as those of `Clips`.
    """

    def __init__(self, dataset: SkeletonDataset, part: Indices, settings: DataSettings) -> None:
        self._dataset, self._part, self._settings = dataset, part, settings
        self._end = np.cumsum(dataset.frames[part])

    def __len__(self) -> int:
        return int(self._end[-1])

    def __getitem__(self, number: int) -> Batch:
        index = number % len(self)
        place = int(np.searchsorted(self._end, index, side="right"))
        frame = index - int(self._end[place] - self._dataset.frames[self._part[place]])
        bodies = _chosen(withhold(self._dataset[int(self._part[place])].joints), self._settings)
        start = int(bodies.any(axis=(1, 2, 3)).argmax())
        joints = np.ascontiguousarray(bodies[[start, max(start, frame)]])
        return Batch(torch.from_numpy(joints), _present(joints), torch.empty(0, dtype=torch.int64))


def clip(joints: Joints, settings: DataSettings, random: np.random.Generator | None = None) -> Joints:
    """A sequence (T0, M, 25, 3) as a clip (T, P, 25, 3) of `settings.frames` frames and `settings.bodies` bodies.

    A body that leaves before the end is repeated from its start. One that comes later is first moved to the start. Not
    so with `fit: pad`: what is missing is zeros. random: draws the frames of `resample`; without it, they are evenly
    spaced.
    """
    return fit_clip(_chosen(withhold(joints), settings), settings.frames, settings.fit, settings.bodies, random)


def withhold(joints: Joints) -> Joints:
    """Bodies (..., 25, 3) with those as zeros that the stream would withhold: not finite, far, or incomplete."""
    near = np.all(np.abs(joints) < FARTHEST_M, axis=(-2, -1), keepdims=True)  # not finite is not near
    complete = np.all(np.any(joints, axis=-1, keepdims=True), axis=-2, keepdims=True)
    return np.where(near & complete, joints, np.float32(0))


def _chosen(joints: Joints, settings: DataSettings) -> Joints:
    """(T, M, 25, 3) to (T, P or fewer, 25, 3): the bodies that the settings choose."""
    order = list(range(joints.shape[1]))
    if settings.choice == "motion_energy":
        order.sort(key=lambda body: motion_energy(joints[:, body]), reverse=True)
    else:
        order = [body for body in order if joints[:, body].any()]
    return joints[:, order[: settings.bodies]]


def _present(joints: Joints) -> Tensor:
    return torch.from_numpy(joints.any(axis=(2, 3)).astype(np.float32))


class EpochBatches(Sampler[list[int]]):
    """Batches of one process: another order in each epoch, decided by the seed, and a share of each whole batch.

    Clips are numbered from epoch to epoch, so that each may be drawn anew: epoch e has e * clips to (e + 1) * clips.
    The last batch is left out where it is not full, unless it is the only one.
    """

    def __init__(self, clips: int, batch_size: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        self._clips, self._seed, self._rank, self._processes = clips, seed, rank, processes
        self._batch_size = min(batch_size, clips)
        self.epoch = 0

    def __len__(self) -> int:
        return self._clips // self._batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(self._clips) + self.epoch * self._clips
        for batch in order[: len(self) * self._batch_size].reshape(len(self), -1):
            yield batch[self._rank :: self._processes].tolist()


class OrderedBatches(Sampler[list[int]]):
    """Batches of one process in the order of the clips: every `processes`-th clip."""

    def __init__(self, clips: int, batch_size: int, rank: int = 0, processes: int = 1) -> None:
        mine = list(range(rank, clips, processes))
        self._batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)
