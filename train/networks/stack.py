"""What 2s-AGCN, CTR-GCN and Shift-GCN have in common: ten layers over joints and frames, then a mean and a classifier.

Shapes: N samples, C channels, T frames, V joints, M bodies.
"""

import math
from collections.abc import Callable

from torch import Tensor, nn

from skelanon.sensors.joints import JOINTS

Shape = tuple[int, int, int]
"""(channels, channels out, stride) of a layer."""

LAYERS: tuple[Shape, ...] = (
    (3, 64, 1), *[(64, 64, 1)] * 3, (64, 128, 2), *[(128, 128, 1)] * 2, (128, 256, 2), *[(256, 256, 1)] * 2,
)  # fmt: skip


class Layer(nn.Module):
    """A graph convolution, one over frames, a residual: (N, C, T, V) to (N, C', ceil(T / stride), V).

    The layer that takes coordinates has no residual; `narrow` makes that of one that changes shape.
    """

    def __init__(self, gcn: nn.Module, tcn: nn.Module, narrow: Callable[[int, int, int], nn.Module], *shape: int):
        super().__init__()
        channels, out, stride = shape
        self.gcn1, self.tcn1 = gcn, tcn
        self.residual: nn.Module | None = None
        if channels != 3:
            same = channels == out and stride == 1
            self.residual = nn.Identity() if same else narrow(channels, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.tcn1(self.gcn1(x))
        return (out if self.residual is None else out + self.residual(x)).relu()


class LayeredNetwork(nn.Module):
    """The network around the layers that `layer` makes.

    forward: clips (N, 3, T, 25, M) float32, metres, M = `bodies`, zeros where nobody is; to logits (N, classes).
    Any T; an absent body counts in the mean over bodies. Raises RuntimeError when M is another.
    """

    axes = (0, 2, 3, 1)
    """Which axes of (N * M, V, C, T) are those of a layer's input; as it stands, (N * M, C, T, V)."""

    def __init__(self, layer: Callable[[int, int, int], Layer], classes: int, bodies: int) -> None:
        super().__init__()
        self.data_bn = nn.BatchNorm1d(bodies * JOINTS * 3)
        for i, shape in enumerate(LAYERS, 1):
            self.add_module(f"l{i}", layer(*shape))
        self.fc = nn.Linear(LAYERS[-1][1], classes)
        self.apply(self.initialise)
        nn.init.normal_(self.fc.weight, std=math.sqrt(2 / classes))

    def forward(self, clips: Tensor) -> Tensor:
        samples, _, _, joints, bodies = clips.shape
        x = self.data_bn(clips.permute(0, 4, 3, 1, 2).flatten(1, 3))  # (N, M * V * C, T)
        x = x.reshape(samples * bodies, joints, 3, -1).permute(self.axes)
        for i in range(1, len(LAYERS) + 1):
            x = self.get_submodule(f"l{i}")(x)
        x = x.mean((2, 3)).reshape(samples, bodies, -1).mean(1)  # (N, C)
        logits: Tensor = self.fc(x)
        return logits

    @staticmethod
    def initialise(module: nn.Module) -> None:
        """The public code's first weights of one module; called for inner modules first."""
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
