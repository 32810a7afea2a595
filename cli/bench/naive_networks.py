"""What Shift-GCN and MS-G3D would cost as one first writes them: the same numbers, in loops. Only to compare with.

Shapes: N samples, C channels, T frames, V joints, K scales, W frames of a window.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor, nn

    from skelanon.train.networks.ms_g3d_blocks import MultiScaleGraphConv, TemporalWindows
    from skelanon.train.networks.shift_gcn import SpatialShift, TemporalShift

WITH_LOOPS: Final = ("shift_gcn", "ms_g3d", "ms_g3d_without_g3d")
"""The networks that `naive_blocks` changes."""


@contextmanager
def naive_blocks() -> Iterator[None]:
    """While it is open, every network of this process computes its shifts and graph convolutions in loops.

    Its weights stay where they are, and results are equal up to rounding.
    """
    from skelanon.train.networks.ms_g3d_blocks import MultiScaleGraphConv, TemporalWindows
    from skelanon.train.networks.shift_gcn import SpatialShift, TemporalShift

    loops: dict[type[nn.Module], Callable[..., Tensor]] = {
        SpatialShift: _spatial_shift,
        TemporalShift: _temporal_shift,
        MultiScaleGraphConv: _multi_scale_graph_conv,
        TemporalWindows: _temporal_windows,
    }
    before = {block: block.forward for block in loops}
    for block, forward in loops.items():
        block.forward = forward
    try:
        yield
    finally:
        for block, forward in before.items():
            block.forward = forward


def _spatial_shift(self: "SpatialShift", x: "Tensor") -> "Tensor":
    """Channel by channel: (N, C, V, T) to (N, C', V, T)."""
    import torch

    shifted = torch.stack([of_one.roll(-channel, 1) for channel, of_one in enumerate(x.unbind(1))], 1)
    shifted = shifted * (self.Feature_Mask.tanh() + 1).transpose(1, 2)[..., None]
    mixed = torch.einsum("ncvt,cd->ndvt", shifted, self.Linear_weight) + self.Linear_bias.reshape(-1, 1, 1)
    back = torch.stack([of_one.roll(channel, 1) for channel, of_one in enumerate(mixed.unbind(1))], 2)  # (N, V, C', T)
    back = self.bn(back.flatten(1, 2)).view_as(back).transpose(1, 2)
    moved: Tensor = self.down(x) + back
    return moved.relu()


def _temporal_shift(self: "TemporalShift", x: "Tensor") -> "Tensor":
    """Channel by channel: (N, C, V, T) to (N, C, V, T // stride)."""
    import torch

    frames = x.shape[-1]
    here = torch.arange(frames // self.stride, device=x.device) * self.stride
    moved = []
    for of_one, place in zip(x.unbind(1), self.ypos + 0.5 if self.stride == 2 else self.ypos, strict=True):
        whole = place.detach().floor()
        times, part = here + whole.long(), place - whole
        before, after = (
            of_one[..., at.clamp(0, frames - 1)] * ((at >= 0) & (at < frames)) for at in (times, times + 1)
        )
        moved.append(before * (1 - part) + after * part)
    return torch.stack(moved, 1)


def _multi_scale_graph_conv(self: "MultiScaleGraphConv", x: "Tensor") -> "Tensor":
    """Scale by scale: (N, C, T, V) to (N, C', T, V)."""
    import torch

    graphs = (self.adjacency + self.A_res).reshape(-1, x.shape[3], x.shape[3])  # (K, V, V)
    out: Tensor = self.mlp(torch.cat([x @ graph.t() for graph in graphs], 1))
    return out


def _temporal_windows(self: "TemporalWindows", x: "Tensor") -> "Tensor":
    """Frame by frame: (N, C, T, V) to (N, C, ceil(T / stride), W * V)."""
    import torch

    half = self.window // 2
    padded = torch.nn.functional.pad(x, (0, 0, half, half))
    starts = range(0, x.shape[2], self.stride)
    return torch.stack([padded[:, :, start : start + self.window].flatten(2) for start in starts], 2)
