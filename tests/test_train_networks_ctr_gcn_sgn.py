"""CTR-GCN and SGN: what the public ones compute, and how SGN takes frames and bodies from a clip."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from torch import Tensor, nn

from skelanon.train.networks.ctr_gcn import CtrGcn, RefinedGraphConv
from skelanon.train.networks.sgn import Sgn

Fill = Callable[[nn.Module], None]


@pytest.mark.parametrize(("make", "name"), [(CtrGcn, "ctrgcn"), (Sgn, "sgn")])
def test_a_network_computes_what_the_public_one_computes(
    make: Callable[[int], nn.Module], name: str, reference: Path, fill_by_rule: Fill
) -> None:
    public = np.load(reference / f"{name}.npz")
    network = make(60).eval()
    ours = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert ours == {str(key): json.loads(shape) for key, shape in zip(public["keys"], public["shapes"], strict=True)}
    fill_by_rule(network)
    classify = network.classify_frames if isinstance(network, Sgn) else network
    with torch.inference_mode():
        logits = classify(torch.from_numpy(public["input"])).numpy()
    assert np.abs(logits - public["logits"]).max() / public["logits"].std() <= 1e-3


@pytest.mark.parametrize(("make", "count"), [(CtrGcn, 1_446_672), (Sgn, 691_048)])
def test_a_network_has_as_many_parameters_as_the_public_one(make: Callable[[int], nn.Module], count: int) -> None:
    assert sum(p.numel() for p in make(60).parameters() if p.requires_grad) == count


def test_the_refined_graph_convolution_is_that_of_the_paper() -> None:
    """Relations from features of each frame, averaged, and one sum for each joint: the equations word by word."""
    torch.manual_seed(0)
    layer = RefinedGraphConv(16, 16).eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 16, 5, 25)
    out = torch.zeros_like(x)
    for conv, shared in zip(layer.convs, layer.PA, strict=True):
        one, other, values = (getattr(conv, f"conv{i}")(x) for i in (1, 2, 3))
        for joint in range(25):
            difference = one.mean(2)[..., joint, None] - other.mean(2)  # (N, R, V)
            graph = shared[joint] + layer.alpha * conv.get_submodule("conv4")(difference.tanh()[:, :, None])
            out[..., joint] += (graph * values).sum(-1)
    torch.testing.assert_close(layer(x), (layer.bn(out) + x).relu(), atol=1e-4, rtol=1e-4)


@pytest.fixture
def sgn(fill_by_rule: Fill) -> Sgn:
    network = Sgn(7).eval()
    fill_by_rule(network)
    return network


def clips(samples: int, frames: int, bodies: int) -> Tensor:
    """(N, 3, T, 25, M)"""
    return torch.randn(samples, 3, frames, 25, bodies, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("frames", "middles"),
    [
        (1, [0] * 20),
        (10, [i // 2 for i in range(20)]),
        (20, list(range(20))),
        (40, list(range(1, 40, 2))),
        (300, list(range(7, 300, 15))),
    ],
)
def test_sgn_takes_the_middle_frame_of_each_segment(frames: int, middles: list[int], sgn: Sgn) -> None:
    x = clips(3, frames, 1)
    chosen = x[:, :, middles, :, 0].permute(0, 2, 3, 1).flatten(2)  # (N, 20, V * C)
    torch.testing.assert_close(sgn(x), sgn.classify_frames(chosen))


@pytest.mark.parametrize("frames", [7, 20, 64, 301])
def test_sgn_trains_on_a_random_frame_of_each_segment(frames: int) -> None:
    torch.manual_seed(0)
    network, seen = Sgn(3).train(), list[Tensor]()
    network.joint_embed.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    numbered = torch.arange(1.0, frames + 1)[:, None, None].expand(30, 3, frames, 25, 2)  # frame i holds i + 1
    network(numbered)
    chosen = seen[0][:, 0, 0].reshape(30, 2, 20) - 1  # (N, M, T)
    assert torch.equal(chosen[:, 0], chosen[:, 1])  # of two bodies at the same time
    edges = torch.arange(21) * frames / 20
    assert (chosen[:, 0] >= edges[:-1].floor()).all()
    assert (chosen[:, 0] < edges[1:].ceil()).all()
    if frames <= 20:
        assert set(chosen.flatten().tolist()) == set(range(frames))
    else:
        assert (chosen[:, 0].std(0) > 0).all()


def test_sgn_averages_over_the_bodies_that_are_there(sgn: Sgn) -> None:
    x = clips(3, 40, 2)
    first, second = sgn(x[..., :1]), sgn(x[..., 1:])
    x[1, ..., 1] = x[2, ..., 0] = 0
    expected = torch.stack([(first + second)[0] / 2, first[1], second[2]])
    torch.testing.assert_close(sgn(x), expected)


def test_sgn_classifies_an_empty_clip(sgn: Sgn) -> None:
    x = clips(2, 20, 2)
    x[0] = 0
    torch.testing.assert_close(sgn(x)[0], sgn.classify_frames(torch.zeros(1, 20, 75))[0])


def test_absent_bodies_do_not_enter_the_statistics_of_sgn() -> None:
    x = clips(4, 20, 2)
    x[..., 1] = 0
    networks = Sgn(3), Sgn(3)
    networks[0](x)
    networks[1](x[..., :1])
    with_absent, without = (network.joint_embed.state_dict() for network in networks)
    torch.testing.assert_close(with_absent["cnn.0.bn.running_var"], without["cnn.0.bn.running_var"])
    assert (without["cnn.0.bn.running_var"] != 1).all()
