"""Shift-GCN: its shifts against loops, and the public checkpoints."""

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from torch import Tensor, nn

from skelanon.sensors.joints import JOINTS
from skelanon.train.networks.shift_gcn import ShiftGcn, SpatialShift, TemporalShift
from skelanon.train.weights import load_weights, read_weights

CHECKPOINTS = {
    "action": ("ntu_ShiftGCN_joint_xview.pt", 60, slice(17, 20)),
    "identity": ("ntu_experiment.pt", 40, slice(9, 12)),
}
"""For each label its checkpoint, classes, and where its number stands in SsssCcccPpppRrrrAaaa."""


@pytest.mark.parametrize(
    ("label", "inputs", "logits", "right"),
    [
        ("action", "normalised", "action_logits_raw", 10),
        ("action", "anonymised", "action_logits_anon", 10),
        ("identity", "normalised", "identity_logits_raw", 10),
        ("identity", "anonymised", "identity_logits_anon", 0),
    ],
)
def test_a_public_checkpoint_computes_what_it_did(
    label: str, inputs: str, logits: str, right: int, reference: Path
) -> None:
    expected = np.load(reference / "ntu_expected.npz")
    file, classes, digits = CHECKPOINTS[label]
    network = ShiftGcn(classes).eval()
    load_weights(network, reference / file)
    with torch.inference_mode():
        ours = network(torch.from_numpy(expected[inputs])).numpy()
    assert np.abs(ours - expected[logits]).max() / expected[logits].std() <= 1e-3
    wanted = [int(str(name)[digits]) - 1 for name in expected["names"]]
    assert (ours.argmax(1) == wanted).sum() == right


def test_the_spatial_shifts_are_those_of_the_public_checkpoint(reference: Path) -> None:
    public = read_weights(reference / CHECKPOINTS["action"][0])
    shifts = dict(ShiftGcn(60).named_buffers())
    names = [f"l{layer}.gcn1.shift_{way}" for layer in range(1, 11) for way in ("in", "out")]
    assert all(torch.equal(shifts[name], public[name]) for name in names)


def test_it_has_as_many_parameters_as_the_public_network() -> None:
    assert sum(p.numel() for p in ShiftGcn(60).parameters() if p.requires_grad) == 693_107


def shifted_by_loops(x: Tensor, ypos: Tensor, stride: int) -> Tensor:
    """(N, C, V, T), number by number."""
    _, channels, _, frames = x.shape

    def at(channel: int, frame: int) -> Tensor:
        inside = 0 <= frame < frames
        return x[:, channel, :, frame] if inside else torch.zeros_like(x[:, channel, :, 0])

    moved = []
    for channel in range(channels):
        for frame in range(frames // stride):
            time = frame * stride + ypos[channel] + (0.5 if stride == 2 else 0)
            before = math.floor(time.item())
            part = time - before
            moved.append(at(channel, before) * (1 - part) + at(channel, before + 1) * part)
    return torch.stack(moved, -1).reshape(len(x), -1, channels, frames // stride).transpose(1, 2)


def temporal_shift(stride: int) -> TemporalShift:
    """Shifts within a frame, over several, onto a frame, and beyond both ends."""
    shift = TemporalShift(9, stride).double()
    with torch.no_grad():
        shift.ypos.copy_(torch.tensor([0.25, -0.75, 2.6, -3.3, 1.0, -2.0, 7.9, -8.4, 1000.0]))
    return shift


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("frames", [1, 8, 9])
def test_the_temporal_shift_is_what_loops_compute(stride: int, frames: int) -> None:
    x = torch.randn(2, 9, 3, frames, dtype=torch.double, generator=torch.Generator().manual_seed(0)).requires_grad_()
    shift = temporal_shift(stride)
    out, expected = shift(x), shifted_by_loops(x, shift.ypos, stride) if frames >= stride else torch.empty(2, 9, 3, 0)
    assert out.shape == expected.shape == (2, 9, 3, frames // stride)
    if frames < stride:
        return
    torch.testing.assert_close(out, expected)
    weights = torch.randn(out.shape, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((out * weights).sum(), [x, shift.ypos])
    theirs = torch.autograd.grad((expected * weights).sum(), [x, shift.ypos])
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradient_of_the_temporal_shift_is_its_derivative(stride: int) -> None:
    shift = temporal_shift(stride)
    x = torch.randn(2, 9, 2, 8, dtype=torch.double, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ypos = (shift.ypos.detach() + 0.11).requires_grad_()  # off the frames, where it has a kink

    def moved(x: Tensor, ypos: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(shift, {"ypos": ypos}, (x,))
        return out

    assert torch.autograd.gradcheck(moved, (x, ypos))


@pytest.mark.parametrize(("channels", "out"), [(3, 30), (30, 30)])
def test_the_spatial_shift_is_what_loops_compute(channels: int, out: int) -> None:
    torch.manual_seed(0)
    layer = SpatialShift(channels, out).eval()
    for tensor in [*layer.parameters(), layer.bn.running_mean]:
        assert tensor is not None
        nn.init.normal_(tensor)
    x = torch.randn(2, channels, JOINTS, 4)
    shifted = torch.empty(2, 4, JOINTS, channels)  # (N, T, V, C)
    for joint in range(JOINTS):
        for channel in range(channels):
            shifted[..., joint, channel] = x[:, channel, (joint + channel) % JOINTS]
    mixed = shifted * (layer.Feature_Mask.tanh() + 1) @ layer.Linear_weight + layer.Linear_bias
    back = torch.empty(2, 4, JOINTS, out)
    for joint in range(JOINTS):
        for channel in range(out):
            back[..., joint, channel] = mixed[:, :, (joint - channel) % JOINTS, channel]
    normed = layer.bn(back.flatten(0, 1).flatten(1)).reshape(back.shape).permute(0, 3, 2, 1)
    torch.testing.assert_close(layer(x), (normed + layer.down(x)).relu(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("frames", [0, 1, 6, 299])
def test_a_clip_that_cannot_be_halved_twice_is_refused(frames: int) -> None:
    with pytest.raises(ValueError, match=f"{frames} frames are not divisible by 4"):
        ShiftGcn(5)(torch.zeros(1, 3, frames, JOINTS, 2))


def test_training_moves_the_temporal_shifts() -> None:
    torch.manual_seed(0)
    network = ShiftGcn(3)
    network(torch.randn(2, 3, 16, JOINTS, 2)).square().sum().backward()
    positions = {name: p.grad for name, p in network.named_parameters() if name.endswith("ypos")}
    assert len(positions) == 20
    assert all(gradient is not None and (gradient != 0).all() for gradient in positions.values())
