"""The U-Net: sizes that halving does not fit, a network without a way round it, and whole clips only."""

import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch

from skelanon.train.anonymizers.module import StreamModule
from skelanon.train.anonymizers.unet import UNet
from skelanon.train.errors import TrainingError


@pytest.fixture(scope="module")
def network() -> UNet:
    """New, in eval mode: nothing here changes it."""
    torch.manual_seed(0)
    return UNet().eval()


@pytest.mark.parametrize("shape", [(1, 3, 300, 25, 2), (2, 3, 20, 25, 1), (1, 3, 37, 25, 2), (1, 3, 16, 25, 1)])
def test_clips_keep_their_shape_and_nothing_of_them_is_handed_through(network: UNet, shape: tuple[int, ...]) -> None:
    clips = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        out, of_larger = network(clips), network(100 * clips)
    assert out.shape == clips.shape
    assert out.isfinite().all()
    # New, with running statistics 0 and 1, it makes small values: its input would show at once.
    for anonymous, raw in ((out, clips), (of_larger, 100 * clips)):
        assert anonymous.std() < 0.5 * raw.std()
        assert torch.corrcoef(torch.stack([anonymous.flatten(), raw.flatten()]))[0, 1].abs() < 0.2


def test_columns_are_joints_first_and_bodies_second(network: UNet) -> None:
    """What is near in the image is near in effect; only the lower levels reach far."""
    clips = torch.randn(1, 3, 32, 25, 2, generator=torch.Generator().manual_seed(1))
    other = clips.clone()
    other[:, :, :, 12, 0] += 1.0
    with torch.inference_mode():
        changed = (network(other) - network(clips)).abs().mean((0, 1, 2))  # (V, M)
    far = torch.cat([changed[:7], changed[18:]]).max()
    assert (changed[12] > 5 * far).all(), changed


def test_a_frame_depends_on_later_ones_and_it_is_no_stream_module(network: UNet) -> None:
    clips = torch.randn(1, 3, 40, 25, 1, generator=torch.Generator().manual_seed(1))
    other = clips.clone()
    other[:, :, 30:] += 1.0
    with torch.inference_mode():
        assert (network(other) - network(clips))[:, :, 29].abs().max() > 1e-4
    assert not isinstance(network, StreamModule)


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    network = UNet()
    clips = torch.randn(2, 3, 20, 25, 1, generator=torch.Generator().manual_seed(1))
    (network(clips) - clips).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


def test_a_clip_too_short_is_refused(network: UNet) -> None:
    with pytest.raises(TrainingError, match=r"16 frames or more, these have 15: see `data.frames`"):
        network(torch.zeros(1, 3, 15, 25, 1))
