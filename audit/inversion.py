"""Inversion: how much of the raw skeleton a network brings back that has learned it from pairs of other sequences."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skelanon.configs.auditing import AttackerSettings
from skelanon.sensors.body import difference_matrix
from skelanon.sensors.joints import BONES, JOINTS

from .attackers.attacker import Course, Lesson, Scores
from .attackers.learning import NetworkAttacker
from .attackers.networks import FEATURES, TemporalCnn, features
from .exam import Exam, Indices
from .results import Inversion
from .statistics import Interval, bootstrap_maximum, bootstrap_r_squared, r_squared
from .view import Floats, View

Doubles = NDArray[np.float64]

_RIDGE: Final = 1e-6
_TINY: Final = 1e-12
"""Added to squares, whose roots have no slope at 0."""
_DIFFERENCES: Final = torch.tensor(difference_matrix()[list(BONES)], dtype=torch.float32)


def invert(
    name: str,
    raw: View,
    released: View,
    exam: Exam,
    tell: Callable[[View], Scores],
    measured: Sequence[bool],
    settings: AttackerSettings,
    seed: int,
) -> Inversion:
    """Learn the way back on what the exam learns from, go it on what the exam tries, and read the label there.

    raw, released: views of the same N sequences. tell: an attacker that has learned from raw skeletons. measured: of
    each joint, whether the sensor gave it. The inverted view is that of the release, but for its `faced`.
    """
    attacker = _Inverter(settings, seed)
    lesson = Lesson(
        released[exam.learn],
        _wanted(raw, released, exam.learn),
        released[exam.validate],
        _wanted(raw, released, exam.validate),
        0,
    )
    course = attacker.learn(lesson)
    truth, shown = raw[exam.test], released[exam.test]
    there = _there(truth, shown)
    back = attacker.tell(shown).reshape(truth.faced.shape) * _there(shown, shown)[..., None, None]
    joints = np.flatnonzero(measured)
    bones = np.array([number for number, bone in enumerate(BONES) if measured[bone]])
    lengths, known = _lengths(truth.faced, there)[:, bones], _guess(raw, released, exam)[bones]
    read_again, interval = _read(exam, tell(dataclasses.replace(shown, faced=back)))
    return Inversion(
        release=name,
        task=exam.task.name,
        mpjpe_m=_distance(back, truth.faced, there, joints),
        mpjpe_released_m=_distance(shown.faced, truth.faced, there, joints),
        bone_error_m=_mean(np.abs(_lengths(back, there)[:, bones] - lengths)),
        bone_error_guess_m=_mean(np.abs(known - lengths)),
        read_again=read_again,
        interval=interval,
        converged=course.converged,
    )


class _InverseNetwork(TemporalCnn):
    """(N, T, F) to (N, T, 75): a given linear map of each frame, and what the frames around add to it, at first 0."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__(3 * JOINTS)
        self.leave = nn.Sequential(nn.Conv1d(3 * self.enter.out_channels, 3 * JOINTS, 1))
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.add_nothing()

    def add_nothing(self) -> None:
        """Be the linear map."""
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.follow(x)  # (N, width, T)
        whole = torch.cat([seen.mean(2), seen.amax(2)], 1)[..., None].expand(-1, -1, x.shape[1])
        more: Tensor = self.leave(torch.cat([seen, whole], 1)).mT  # (N, T, 75)
        return x @ self.weight + self.bias + more


class _Inverter(NetworkAttacker):
    """Estimates skeletons. Targets: (N, T, 76) float32, joints in metres and 1 where the frame counts.

    It is judged by joints and by bone lengths: the mean of all skeletons that may be right has bones too short.
    """

    def __init__(self, settings: AttackerSettings, seed: int) -> None:
        super().__init__(features, lambda outputs: _InverseNetwork(*self._linear), None, settings, seed)

    def learn(self, lesson: Lesson) -> Course:
        self._classes = lesson.classes
        self._linear = _linear_map(self._see(lesson.train), self._targets(lesson.train_targets, first=True))
        course = super().learn(lesson)
        held, wanted = self._see(lesson.validation), self._targets(lesson.validation_targets)
        learned, state = self._score(held, wanted), self._state()
        cast(_InverseNetwork, self.network).add_nothing()
        if self._score(held, wanted) < learned:
            self.network.load_state_dict(state)
        return course

    def _targets(self, values: NDArray[np.generic], first: bool = False) -> Tensor:
        joints, counts = _parts(torch.from_numpy(np.asarray(values, np.float32)).to(self._device))
        if first:
            spread = (joints.square() * counts).sum() / (3 * JOINTS * counts.sum()).clamp_min(1)
            self._scale = 0.0, max(float(spread) ** 0.5, 1e-6)
        return torch.cat([joints / self._scale[1], counts], 2)

    def _epoch(self, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer, length: int) -> None:
        self.network.train()
        size = min(self._settings.batch_size, length)
        order = torch.randperm(len(x), generator=self._random)[:length]
        for batch in order[: length // size * size].reshape(-1, size):
            spans, _ = self._spans(torch.cat([x[batch], y[batch]], 2))
            loss = self._loss(self.network(spans[..., :FEATURES]), spans[..., FEATURES:])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    def _loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        joints, counts = _parts(wanted)
        total = counts.sum().clamp_min(1)
        moved = ((outputs - joints).square() * counts).sum() / (3 * JOINTS * total)
        longer = ((_bone_lengths(outputs) - _bone_lengths(joints)).square() * counts).sum() / (len(BONES) * total)
        loss: Tensor = moved + longer
        return loss


def _parts(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Joints (N, T, 75) and whether frames count (N, T, 1)."""
    return targets[..., : 3 * JOINTS], targets[..., 3 * JOINTS :]


def _bone_lengths(joints: Tensor) -> Tensor:
    """(N, T, 24) of (N, T, 75)."""
    bones = _DIFFERENCES.to(joints.device) @ joints.reshape(*joints.shape[:2], JOINTS, 3)  # (N, T, 24, 3)
    return torch.sqrt(bones.square().sum(3) + _TINY)


def _linear_map(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (F, 75) and bias (75,) of the best linear map from x (N, T, F) to y (N, T, 76) of single frames."""
    joints, counts = _parts(y.double())
    there = counts[..., 0] > 0
    if not bool(there.any()):
        return torch.zeros(FEATURES, 3 * JOINTS), torch.zeros(3 * JOINTS)
    rows, wanted = x.double()[there], joints[there]
    mean, goal = rows.mean(0), wanted.mean(0)
    scale = rows.std(0, correction=0).clamp_min(1e-6)
    rows = (rows - mean) / scale
    square = rows.mT @ rows / len(rows) + _RIDGE * torch.eye(FEATURES, dtype=torch.float64, device=x.device)
    weight = torch.linalg.solve(square, rows.mT @ (wanted - goal) / len(rows)) / scale[:, None]
    return weight.float(), (goal - mean @ weight).float()


def _there(first: View, second: View) -> NDArray[np.bool_]:
    """(N, T) where both show somebody."""
    return (first.faced != 0).any((2, 3)) & (second.faced != 0).any((2, 3))  # type: ignore[no-any-return]


def _wanted(raw: View, released: View, part: Indices) -> Floats:
    """(n, T, 76) what is to be learned."""
    there = _there(raw[part], released[part])
    joints = raw.faced[part].reshape(*there.shape, 3 * JOINTS)
    return np.concatenate([joints, there[..., None].astype(np.float32)], 2)


def _distance(faced: Floats, truth: Floats, there: NDArray[np.bool_], joints: Indices) -> float:
    """Mean distance of joints, metres."""
    return _mean(np.linalg.norm((faced - truth)[there][:, joints], axis=2))


def _lengths(faced: Floats, there: NDArray[np.bool_]) -> Doubles:
    """(N, 24) mean length of each bone in a sequence, metres; NaN where nobody is there."""
    bones = np.linalg.norm(np.einsum("bj,ntjc->ntbc", _DIFFERENCES.numpy(), faced), axis=3)
    frames = there.sum(1)[:, None].astype(np.float64)
    lengths: Doubles = np.where(
        frames > 0, (bones * there[..., None]).sum(1, dtype=np.float64) / np.maximum(frames, 1), np.nan
    )
    return lengths


def _guess(raw: View, released: View, exam: Exam) -> Doubles:
    """(24,) mean length of each bone, of all persons that are learned from alike, metres."""
    learn = exam.learn
    lengths, persons = _lengths(raw.faced[learn], _there(raw[learn], released[learn])), exam.persons[learn]
    seen = ~np.isnan(lengths[:, 0])
    means = [lengths[seen & (persons == person)].mean(0) for person in np.unique(persons[seen])]
    guess: Doubles = np.mean(means, 0) if means else np.full(len(BONES), np.nan)
    return guess


def _mean(values: NDArray[np.floating]) -> float:
    """Of what is known; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _read(exam: Exam, scores: Scores) -> tuple[float, Interval]:
    """Accuracy, or R2 of estimates, on the sequences tried, and its interval."""
    wanted, persons = exam.targets[exam.test], exam.persons[exam.test]
    if exam.classes:
        right = (scores.argmax(1) == wanted).astype(np.float64)
        return float(right.mean()), bootstrap_maximum(right[None], persons)
    estimates, truth = scores[:, 0].astype(np.float64), wanted.astype(np.float64)
    return r_squared(estimates, truth), bootstrap_r_squared(estimates, truth, persons)
