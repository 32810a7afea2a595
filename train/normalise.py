"""The seed's normalisation, in the graph: centred on SpineMid, turned by one rotation latched on the first frame.

"Anonymization for Skeleton Action Recognition" (arXiv 2111.15129) and the NTU RGB+D pre-processing it builds on:
person 0's SpineMid is subtracted in every frame from all persons; two successive minimal rotations turn SpineBase to
SpineMid of person 0's first frame to +z, and then ShoulderLeft to ShoulderRight to +x. Nothing is scaled.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skelanon.export.manifest import Axes
from skelanon.sensors.joints import INDEX, JOINTS

from .module import StreamModule

_SPINE_BASE, _SPINE_MID = INDEX["SpineBase"], INDEX["SpineMid"]
_SHOULDER_LEFT, _SHOULDER_RIGHT = INDEX["ShoulderLeft"], INDEX["ShoulderRight"]
_X, _Z = 0, 2

_NO_LENGTH_M: Final = 1e-12
"""A bone shorter than this has no direction and is not turned."""
_OPPOSITE: Final = 1e-12
"""1 + cosine below which two directions count as opposite: the half turn is then about a fixed axis."""


class Normalised(StreamModule):
    """A per-frame network between the seed's normalisation and, for `camera` axes, the way back.

    network: (N, P * 75) to (N, P * 75) float32, metres; features are x, y, z of joint 0 of body 0, of joint 1, ...;
    a missing joint or body is zeros. Body 0 carries the normalisation; where it is absent, body 1 does.
    State: 9 numbers of the rotation and 1 that says that it is latched. Absent bodies come out as zeros.
    """

    state_size = 10
    root = "model"

    def __init__(self, network: nn.Module, bodies_per_sample: int, axes: Axes = "normalised") -> None:
        super().__init__()
        self.network = network
        self.bodies_per_sample = bodies_per_sample
        self.axes = axes

    def advance(self, joints: Tensor, present: Tensor | None, state: Tensor | None) -> Tensor:
        assert state is not None  # for the type checker: S is 10
        rotation = first_frame_rotation(_carrier(joints, present)).flatten(1)
        latched = nn.functional.pad(rotation, (0, 1), value=1.0)  # (N, 10)
        if present is not None:
            latched = latched * present.amax(1, keepdim=True)
        return torch.where(state[:, 9:] > 0, state, latched)

    def anonymize(self, joints: Tensor, present: Tensor | None, state: Tensor | None) -> Tensor:
        assert state is not None  # for the type checker: S is 10
        centre = _carrier(joints, present)[:, _SPINE_MID : _SPINE_MID + 1]  # (N, 1, 3)
        rotation = state[:, :9].reshape(-1, 3, 3)
        points = joints.flatten(1, 2)  # (N, P * 25, 3)
        missing = torch.linalg.vector_norm(points, ord=1, dim=2, keepdim=True) == 0
        normalised = torch.where(missing, 0.0, points - centre) @ rotation.mT
        anonymous = self.network(normalised.flatten(1)).reshape(-1, self.bodies_per_sample * JOINTS, 3)
        if self.axes == "camera":
            anonymous = anonymous @ rotation + centre
        anonymous = anonymous.reshape(-1, self.bodies_per_sample, JOINTS, 3)
        return anonymous if present is None else anonymous * present[..., None, None]


class MinimalRotation(nn.Module):
    """(N, 3) vectors to the (N, 3, 3) smallest rotations that turn them to a coordinate axis.

    Rodrigues' formula R = I + K + K K (1 - c) / s^2 with u the unit vector, a the axis, K = [u x a], c = u . a and
    s^2 = |u x a|^2. Opposite to the axis, the half turn is about `about`. A vector without length is not turned.
    """

    cross: Tensor
    along: Tensor
    identity: Tensor
    half_turn: Tensor

    def __init__(self, axis: int, about: int) -> None:
        super().__init__()
        levi_civita = np.zeros((3, 3, 3))
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            levi_civita[i, j, k], levi_civita[k, j, i] = 1.0, -1.0
        unit = np.eye(3)
        cross = np.einsum("pqr,q,irj->pij", levi_civita, unit[axis], levi_civita)
        self.register_buffer("cross", constant(cross.reshape(3, 9)))  # u @ cross: K with K w = (u x a) x w, flattened
        self.register_buffer("along", constant(unit[:, [axis]]))
        self.register_buffer("identity", constant(unit))
        self.register_buffer("half_turn", constant(2 * np.outer(unit[about], unit[about]) - unit))

    def forward(self, vectors: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        unit = vectors / length.clamp_min(_NO_LENGTH_M)  # (N, 3)
        cross = unit @ self.cross  # (N, 9)
        sine2 = (cross * cross).sum(1, keepdim=True) / 2  # (N, 1)
        cosine = unit @ self.along
        scale = ((1 - cosine) / sine2.clamp_min(_NO_SINE2))[..., None]
        cross = cross.reshape(-1, 3, 3)
        turned = self.identity + cross + cross @ cross * scale
        opposite = cosine + sine2 < -1 + ...
        return torch.where(opposite, self.half_turn, turned)


def prenormalise(clips: NDArray[np.float32]) -> NDArray[np.float32]:
    """The seed's whole pre-normalisation of recorded clips, offline.

    clips: (N, 3, T, 25, M) float32, metres, camera axes, M = 1 or 2, zeros where nobody is. Missing frames at the end
    of a body are filled by repeating it from its start; a body that is not there at the start is first moved there,
    without its gaps. Then the normalisation. Same shape and type; an absent body stays zeros.
    """
    bodies = np.ascontiguousarray(clips.transpose(0, 4, 2, 3, 1))  # (N, M, T, V, C)
    filled = np.stack([np.stack([_repeat_to_fill(body) for body in clip]) for clip in bodies])
    joints = torch.from_numpy(filled).transpose(1, 2)  # (N, T, M, V, C)
    present = joints.ne(0).any(-1).any(-1).float()
    normalised: NDArray[np.float32] = Normalised(nn.Identity(), joints.shape[2]).sequence(joints, present).numpy()
    return np.ascontiguousarray(normalised.transpose(0, 4, 1, 3, 2))


def _repeat_to_fill(body: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, 25, 3) with missing frames to (T, 25, 3) without, as `prenormalise` says."""
    seen = body.any(axis=(1, 2))
    if not seen.any():
        return body
    recorded = body[: np.flatnonzero(seen)[-1] + 1] if seen[0] else body[seen]
    return recorded[np.arange(len(body)) % len(recorded)]


def _carrier(joints: Tensor, present: Tensor | None) -> Tensor:
    """(N, 25, 3): body 0, or body 1 where body 0 is absent."""
    if present is None:
        return joints[:, 0]
    return torch.where(present[:, :1, None] > 0, joints[:, 0], joints[:, 1])


def _cross_matrices(axis: int) -> Tensor:
    """(3, 9): `u @ _cross_matrices(axis)` is the flattened matrix K with K w = (u x a) x w."""
    generators = torch.zeros(3, 3, 3)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        generators[i, k, j], generators[i, j, k] = 1.0, -1.0
    return torch.stack([torch.tensordot(torch.linalg.cross(u, torch.eye(3)[axis]), generators, 1) for u in torch.eye(3)]).flatten(1)
