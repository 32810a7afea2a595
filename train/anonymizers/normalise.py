"""The seed's normalisation, in the graph: centred on SpineMid, turned by one rotation latched on the first frame.

"Anonymization for Skeleton Action Recognition" (arXiv 2111.15129) and the NTU RGB+D pre-processing it builds on:
person 0's SpineMid is subtracted in every frame from all persons; two successive minimal rotations turn SpineBase to
SpineMid of person 0's first frame to +z, and then ShoulderLeft to ShoulderRight to +x. Nothing is scaled.
"""

from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skelanon.export.manifest import Axes
from skelanon.sensors.fitting import repeat_to_fill
from skelanon.sensors.joints import INDEX, JOINTS

from .kinematics import constant
from .module import StreamModule

_X, _Z = 0, 2

_LANDMARKS: Final = [INDEX[name] for name in ("SpineMid", "SpineBase", "ShoulderLeft", "ShoulderRight")]
_FROM_LANDMARKS: Final = np.array([[1, 0, 0, 0], [1, -1, 0, 0], [0, 0, -1, 1]])
"""SpineMid, SpineBase to SpineMid and ShoulderLeft to ShoulderRight."""

_NO_LENGTH_M: Final = 1e-12
"""A bone shorter than this has no direction and is not turned."""
_NO_SINE2: Final = 1e-12
"""Two directions closer than this (squared sine) to opposite count as opposite: their plane would be rounding."""


class MinimalRotation(nn.Module):
    """(N, 3) vectors to the (N, 3, 3) smallest rotations that turn them to a coordinate axis a.

    Rodrigues' formula R = I + K + K K (1 - c) / s^2, with u the unit vector, K w = (u x a) x w = (a u' - u a') w,
    c = u . a and s = |u x a|. Opposite to a, it is the half turn about the axis `about`. A vector without length is
    not turned.
    """

    cross: Tensor
    two: Tensor
    minus_twice_axis: Tensor
    identity: Tensor
    half_turn: Tensor

    def __init__(self, axis: int, about: int) -> None:
        super().__init__()
        identity = np.eye(3)
        a = identity[axis]
        cross = np.einsum("i,pk->pik", a, identity) - np.einsum("pi,k->pik", identity, a)
        self.register_buffer("cross", constant(cross.reshape(3, 9)))
        self.register_buffer("two", constant([2.0]))
        self.register_buffer("minus_twice_axis", constant(-2 * a[:, None]))
        self.register_buffer("identity", constant(identity))
        self.register_buffer("half_turn", constant(2 * np.outer(identity[about], identity[about]) - identity))

    def forward(self, vectors: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        unit = vectors / length.clamp_min(_NO_LENGTH_M)  # (N, 3)
        k = unit @ self.cross.to(unit)  # (N, 9)
        twice_sine2 = (k * k).sum(1, keepdim=True)  # (N, 1)
        scale = torch.addmm(self.two.to(unit), unit, self.minus_twice_axis.to(unit)) / twice_sine2.clamp_min(_NO_SINE2)
        k, scale = k.reshape(-1, 3, 3), scale[..., None]
        turned = self.identity.to(unit) + k + k @ k * scale
        return torch.where(scale > 1 / _NO_SINE2, self.half_turn.to(unit), turned)


class Normalised(StreamModule):
    """A per-frame network between the seed's normalisation and, for `camera` axes, the way back.

    network: rows (N, P * 75) to rows (N, P * 75), float32 whatever its weights are, metres: x, y, z of joint 0 of body
    0, of joint 1, ...; an absent body is zeros. Body 0 carries the normalisation; where it is absent, body 1 does.
    State: 9 numbers of the rotation and 1 that says that it is latched. Absent bodies come out as zeros.
    """

    state_size = 10
    root = "model"
    landmarks: Tensor
    middle: Tensor
    axes_of_body: Tensor
    points: Tensor
    bodies: Tensor
    carrier: Tensor
    carrier_otherwise: Tensor

    def __init__(self, network: nn.Module, bodies_per_sample: Literal[1, 2], axes: Axes = "normalised") -> None:
        super().__init__()
        self.network = network
        self.bodies_per_sample = bodies_per_sample
        self.axes = axes
        self.upright = MinimalRotation(_Z, about=_X)
        self.sideways = MinimalRotation(_X, about=_Z)  # a body that faces away stays upright
        bodies = np.kron(np.eye(bodies_per_sample), np.ones(3 * JOINTS))
        landmarks = np.arange(bodies_per_sample * 3 * JOINTS).reshape(-1, JOINTS, 3)[:, _LANDMARKS].ravel()
        vectors = np.tile(np.kron(_FROM_LANDMARKS.T, np.eye(3)), (bodies_per_sample, 1))
        carrier = bodies[:, landmarks]
        self.register_buffer("landmarks", torch.from_numpy(landmarks))  # (P * 12,): where they stand in a row
        self.register_buffer("middle", constant(vectors[:, :3]))  # (P * 12, 3)
        self.register_buffer("axes_of_body", constant(vectors[:, 3:]))  # (P * 12, 6)
        self.register_buffer("points", constant(np.tile(np.eye(3), bodies_per_sample * JOINTS)))  # (3, P * 75)
        self.register_buffer("bodies", constant(bodies))  # (P, P * 75)
        self.register_buffer("carrier", constant(np.outer(np.eye(bodies_per_sample)[0], carrier[0] - carrier[-1])))
        self.register_buffer("carrier_otherwise", constant(carrier[-1]))

    def advance(self, joints: Tensor, present: Tensor | None, state: Tensor) -> Tensor:
        vectors = self._carrying(joints, present) @ self.axes_of_body  # exact but for one subtraction
        # In double precision: for a body that faces away, or lies, rounding would be magnified a thousand times.
        spine, shoulders = vectors.double().chunk(2, 1)
        upright = self.upright(spine)
        sideways = self.sideways((upright @ shoulders[..., None]).squeeze(2))
        latched = nn.functional.pad((sideways @ upright).float().flatten(1), (0, 1), value=1.0)  # (N, 10)
        if present is not None:
            latched = latched * present.amax(1, keepdim=True)
        return torch.where(state[:, 9:] > 0, state, latched)

    def settled(self, state: Tensor) -> Tensor:
        return state[:, 9].amin(0) > 0  # every sample has latched

    def halve(self) -> None:
        self.network.half()

    def anonymize(self, joints: Tensor, present: Tensor | None, state: Tensor) -> Tensor:
        centre = self._carrying(joints, present) @ self.middle  # (N, 3)
        rotation = state[:, :9].reshape(-1, 3, 3)
        seen = None if present is None else present @ self.bodies  # (N, P * 75)
        rows = torch.addmm(joints.flatten(1), centre, -self.points)
        rows = rows if seen is None else rows * seen
        rows = self.network(_turn(rows, rotation.mT))
        if self.axes == "camera":
            rows = torch.addmm(_turn(rows, rotation), centre, self.points)
        rows = rows if seen is None else rows * seen
        return rows.reshape(-1, self.bodies_per_sample, JOINTS, 3)

    def _carrying(self, joints: Tensor, present: Tensor | None) -> Tensor:
        """(N, P * 12), the landmarks of the carrying body; zeros in the place of the other's."""
        landmarks = joints.flatten(1).index_select(1, self.landmarks)
        if present is not None:
            landmarks = landmarks * torch.addmm(self.carrier_otherwise, present, self.carrier)
        return landmarks


def prenormalise(clips: NDArray[np.float32]) -> NDArray[np.float32]:
    """The seed's whole pre-normalisation of recorded clips, offline.

    clips: (N, 3, T, 25, M) float32, metres, camera axes, M = 1 or 2, zeros where nobody is. Missing frames at the end
    of a body are filled by repeating it from its start; a body that is not there at the start is first moved there,
    without its gaps. Then the normalisation. Same shape and type; an absent body stays zeros.
    """
    bodies = np.ascontiguousarray(clips.transpose(0, 4, 2, 3, 1))  # (N, M, T, V, C)
    filled = np.stack([np.stack([repeat_to_fill(body) for body in clip]) for clip in bodies])
    joints = torch.from_numpy(filled).transpose(1, 2)  # (N, T, M, V, C)
    present = joints.ne(0).any(-1).any(-1).float()
    missing = joints.eq(0).all(-1, keepdim=True)
    model = Normalised(nn.Identity(), 2 if joints.shape[2] > 1 else 1)
    normalised: NDArray[np.float32] = model.sequence(joints, present).masked_fill(missing, 0).numpy()
    return np.ascontiguousarray(normalised.transpose(0, 4, 1, 3, 2))


def _turn(rows: Tensor, rotation: Tensor) -> Tensor:
    """Rows of points (N, K * 3), each point multiplied by its sample's (3, 3) matrix from the right."""
    return (rows.reshape(-1, rows.shape[1] // 3, 3) @ rotation).flatten(1)
