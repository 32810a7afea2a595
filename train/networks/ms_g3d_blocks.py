"""The blocks of MS-G3D (arXiv 2003.14111). Shapes: N samples, C channels, T frames, V joints, K scales, W window."""

import torch
from torch import Tensor, nn

from .graph import Doubles, scales, undirected, windowed

DILATIONS = (1, 2, 3, 4)
WINDOWS = (3, 5)


class Mlp(nn.Module):
    """A 1x1 convolution, batch norm and ReLU: (N, C, T, V) to (N, C', T, V)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class TemporalConv(nn.Module):
    """A convolution over frames and batch norm: (N, C, T, V) to (N, C', ceil(T / stride), V)."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.conv = nn.Conv2d(channels, out, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


def pointwise(channels: int, out: int, stride: int) -> TemporalConv:
    """The residual of a layer that changes shape."""
    return TemporalConv(channels, out, 1, stride)


class MultiScaleTemporalConv(nn.Module):
    """MS-TCN (section 3.4): six branches side by side, a residual, and ReLU unless `activate` is false.

    Four dilated convolutions, a maximum over three frames and a 1x1 convolution, each of a sixth of the channels.
    (N, C, T, V) to (N, C', ceil(T / stride), V); `out` must be divisible by 6.
    """

    def __init__(self, channels: int, out: int, stride: int = 1, activate: bool = True) -> None:
        super().__init__()
        width = out // (len(DILATIONS) + 2)
        self.branches = nn.ModuleList(
            nn.Sequential(*narrowed(channels, width), nn.ReLU(), TemporalConv(width, width, 3, stride, dilation))
            for dilation in DILATIONS
        )
        largest = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(nn.Sequential(*narrowed(channels, width), nn.ReLU(), largest, nn.BatchNorm2d(width)))
        self.branches.append(nn.Sequential(*narrowed(channels, width, stride)))
        same = channels == out and stride == 1
        self.residual = nn.Identity() if same else TemporalConv(channels, out, 1, stride)
        self.act = nn.ReLU() if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(torch.cat([branch(x) for branch in self.branches], 1) + self.residual(x))
        return out


def narrowed(channels: int, width: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """How a branch begins: a 1x1 convolution to fewer channels, and batch norm."""
    return nn.Conv2d(channels, width, 1, (stride, 1)), nn.BatchNorm2d(width)


class MultiScaleGraphConv(nn.Module):
    """MS-GCN (section 3.2): what each joint's neighbours at 0 to K - 1 hops have, side by side, then an `Mlp`.

    The K adjacencies lie on top of each other, so that all scales are one matrix product; `A_res` is the learned
    residual mask. (N, C, T, V) to (N, C', T, V), where V is as large as the graph (25, or 25 W).
    """

    adjacency: Tensor

    def __init__(self, channels: int, out: int, links: Doubles, count: int) -> None:
        super().__init__()
        stacked = torch.tensor(scales(links, count), dtype=torch.float32).flatten(0, 1)  # (K * V, V)
        self.register_buffer("adjacency", stacked, persistent=False)
        self.A_res = nn.Parameter(torch.empty_like(stacked).uniform_(-1e-6, 1e-6))
        self.mlp = Mlp(channels * count, out)

    def forward(self, x: Tensor) -> Tensor:
        joints = x.shape[3]
        graphs = (self.adjacency + self.A_res).reshape(-1, joints, joints).transpose(0, 1)  # (V, K, V)
        gathered = graphs.flatten(0, 1) @ x.permute(0, 2, 3, 1)  # (N, T, V * K, C)
        gathered = gathered.reshape(*gathered.shape[:2], joints, -1)  # (N, T, V, K * C)
        out: Tensor = self.mlp(gathered.permute(0, 3, 1, 2))
        return out


class TemporalWindows(nn.Module):
    """The frames around each `stride`-th frame as one graph: (N, C, T, V) to (N, C, ceil(T / stride), W * V).

    Frames beyond the clip are zero.
    """

    def __init__(self, window: int, stride: int) -> None:
        super().__init__()
        self.window, self.stride = window, stride

    def forward(self, x: Tensor) -> Tensor:
        half = self.window // 2
        padded = nn.functional.pad(x.permute(0, 2, 3, 1), (0, 0, 0, 0, half, half))  # (N, T, V, C)
        windows = padded.unfold(1, self.window, self.stride)  # (N, T', V, C, W)
        return windows.permute(0, 1, 4, 2, 3).flatten(2, 3).permute(0, 3, 1, 2)


class WindowedGraphConv(nn.Module):
    """G3D at one window size (section 3.3): a graph convolution across space and time, then one over the window.

    (N, C, T, V) to (N, C', ceil(T / stride), V), without activation.
    """

    def __init__(self, channels: int, out: int, count: int, window: int, stride: int) -> None:
        super().__init__()
        width = out if channels == 3 else channels  # coordinates become channels at once
        graph = MultiScaleGraphConv(channels, width, windowed(undirected(), window), count)
        self.gcn3d = nn.Sequential(TemporalWindows(window, stride), graph)
        self.out_conv = nn.Conv3d(width, out, (1, window, 1))
        self.out_bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        joints = x.shape[3]
        x = self.gcn3d(x)  # (N, C, T, W * V)
        out: Tensor = self.out_bn(self.out_conv(x.reshape(*x.shape[:3], -1, joints)).squeeze(3))
        return out


class MultiWindowGraphConv(nn.Module):
    """The G3D branch: the sum of one `WindowedGraphConv` for each window size."""

    def __init__(self, channels: int, out: int, count: int, stride: int) -> None:
        super().__init__()
        self.gcn3d = nn.ModuleList(WindowedGraphConv(channels, out, count, window, stride) for window in WINDOWS)

    def forward(self, x: Tensor) -> Tensor:
        short, long = self.gcn3d
        out: Tensor = short(x) + long(x)
        return out


class FactorisedBranch(nn.Sequential):
    """The other branch: one MS-GCN and two MS-TCNs, without a last activation."""

    def __init__(self, channels: int, width: int, out: int, count: int, stride: int) -> None:
        super().__init__(
            MultiScaleGraphConv(channels, width, undirected(), count),
            MultiScaleTemporalConv(width, out, stride),
            MultiScaleTemporalConv(out, out, activate=False),
        )
