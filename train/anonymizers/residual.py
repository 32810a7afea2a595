"""The Residual anonymizer of "Anonymization for Skeleton Action Recognition" (arXiv 2111.15129), in two forms."""

import os
from typing import Final, Literal

import torch
from torch import Tensor, nn

from skelanon.sensors.joints import JOINTS
from skelanon.train.errors import CheckpointError
from skelanon.train.weights import read_weights

BLOCKS: Final = 10
_FEATURES: Final[dict[int, Literal[1, 2]]] = {3 * JOINTS: 1, 6 * JOINTS: 2}
"""Features of a network, and how many bodies they are."""


class ResidualMlp(nn.Module):
    """The paper's form, improved: f(x) = x + W2 relu(W1 x + b1) + b2, the identity when new.

    Without a last ReLU joints may move both ways; the last layer starts at zero. (N, 75 P) to (N, 75 P).
    """

    def __init__(self, bodies_per_sample: int) -> None:
        super().__init__()
        features = bodies_per_sample * JOINTS * 3
        self.fc1, self.fc2 = nn.Linear(features, features), nn.Linear(features, features)
        nn.init.zeros_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        moved: Tensor = self.fc2(self.fc1(x.to(self.fc1.weight.dtype)).relu())
        return x + moved.to(x.dtype)


class ResidualBlock(nn.Module):
    """x + relu(W2 relu(W1 x + b1) + b2): joints only ever move towards +x, +y and +z."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(features, features), nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        moved: Tensor = self.fc2(self.fc1(x.to(self.fc1.weight.dtype)).relu())
        return x + moved.relu().to(x.dtype)


class ResidualBlocks(nn.Sequential):
    """The public code's form: ten residual blocks, default initialisation. (N, 75 P) to (N, 75 P)."""

    def __init__(self, bodies_per_sample: Literal[1, 2]) -> None:
        super().__init__(*(ResidualBlock(bodies_per_sample * JOINTS * 3) for _ in range(BLOCKS)))
        self.bodies_per_sample: Literal[1, 2] = bodies_per_sample


def load_reference_checkpoint(path: str | os.PathLike[str]) -> ResidualBlocks:
    """The network of a public residual checkpoint: tensors `res_blocks.{0..9}.fc{1,2}.{weight,bias}`.

    Its features are numbered c * V * M + v * M + m (coordinate, joint, body), ours (m * V + v) * C + c: the weights
    are permuted once, here. Raises CheckpointError: unreadable, or not such a checkpoint.
    """
    weights = read_weights(path)
    features = weights["res_blocks.0.fc1.bias"].numel() if "res_blocks.0.fc1.bias" in weights else 0
    if features not in _FEATURES:
        raise CheckpointError(
            f"not a residual checkpoint: `res_blocks.0.fc1.bias` has {features} numbers, not one of {list(_FEATURES)}"
        )
    network = ResidualBlocks(_FEATURES[features])
    theirs = torch.arange(features).reshape(3, JOINTS, network.bodies_per_sample).permute(2, 1, 0).flatten()
    try:
        network.load_state_dict(
            {
                name.removeprefix("res_blocks."): tensor[theirs] if tensor.ndim == 1 else tensor[theirs][:, theirs]
                for name, tensor in weights.items()
            }
        )
    except (RuntimeError, IndexError) as error:
        raise CheckpointError(
            f"not a residual checkpoint: it must hold `res_blocks.{{0..{BLOCKS - 1}}}.fc{{1,2}}.{{weight,bias}}`, "
            f"each of {features} features, and nothing else"
        ) from error
    return network.eval()
