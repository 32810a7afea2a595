"""The graph networks: MS-G3D with and without its G3D branch, 2s-AGCN and ST-GCN."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from torch import Tensor, nn

from skelanon.sensors.joints import INDEX
from skelanon.train.networks.agcn import Agcn
from skelanon.train.networks.graph import INWARD, scales, spatial_partition, undirected, windowed
from skelanon.train.networks.ms_g3d import MsG3d, MsG3dWithoutG3d
from skelanon.train.networks.st_gcn import StGcn

Fill = Callable[[nn.Module], None]
Make = Callable[[int, int], nn.Module]

NETWORKS = [MsG3d, MsG3dWithoutG3d, Agcn, StGcn]
PUBLIC = [
    (MsG3d, "msg3d", 60, 2, 3_194_595),
    (MsG3dWithoutG3d, "msg3d_without_g3d", 2, 1, 1_415_855),
    (Agcn, "agcn", 60, 2, 3_469_510),
    (StGcn, "stgcn", 60, 2, 3_098_832),
]


def clips(samples: int, frames: int, bodies: int, seed: int = 0) -> Tensor:
    """(N, 3, T, 25, M)"""
    return torch.randn(samples, 3, frames, 25, bodies, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("make", "name", "classes", "bodies", "_"), PUBLIC)
def test_a_network_computes_what_the_public_one_computes(
    make: Make, name: str, classes: int, bodies: int, _: int, reference: Path, fill_by_rule: Fill
) -> None:
    public = np.load(reference / f"{name}.npz")
    network = make(classes, bodies).eval()
    ours = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert ours == {str(key): json.loads(shape) for key, shape in zip(public["keys"], public["shapes"], strict=True)}
    fill_by_rule(network)
    with torch.inference_mode():
        logits = network(torch.from_numpy(public["input"])).numpy()
    assert np.abs(logits - public["logits"]).max() / public["logits"].std() <= 1e-3


@pytest.mark.parametrize(("make", "_", "classes", "bodies", "count"), PUBLIC)
def test_a_network_has_as_many_parameters_as_the_public_one(
    make: Make, _: str, classes: int, bodies: int, count: int
) -> None:
    assert sum(p.numel() for p in make(classes, bodies).parameters() if p.requires_grad) == count


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("bodies", [1, 2])
@pytest.mark.parametrize("frames", [1, 13])
def test_the_gradient_reaches_every_joint_of_every_frame_and_body(
    make: Make, bodies: int, frames: int, fill_by_rule: Fill
) -> None:
    network = make(5, bodies).eval()
    fill_by_rule(network)
    x = clips(2, frames, bodies).requires_grad_()
    logits = network(x)
    assert logits.shape == (2, 5)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    assert gradient.isfinite().all()
    assert (gradient.abs().sum(1) > 0).all()  # (N, T, V, M)


@pytest.mark.parametrize("make", NETWORKS)
def test_logits_do_not_depend_on_the_other_clips(make: Make, fill_by_rule: Fill) -> None:
    network = make(5, 2).eval()
    fill_by_rule(network)
    x = clips(3, 16, 2)
    with torch.inference_mode():
        alone = torch.cat([network(clip[None]) for clip in x])
        together = network(x)
    assert together.std(0).min() > 0
    torch.testing.assert_close(together, alone, rtol=0, atol=float(1e-4 * together.std()))


@pytest.mark.parametrize("make", NETWORKS)
def test_a_network_learns_from_clips_whose_second_body_is_absent(make: Make) -> None:
    torch.manual_seed(0)
    network, labels = make(2, 2), torch.tensor([0, 1, 0, 1])
    x = clips(4, 8, 2)
    x[..., 1] = 0
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(network(x), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    assert all(p.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("make", NETWORKS)
def test_bfloat16_changes_logits_little(make: Make, fill_by_rule: Fill) -> None:
    network = make(20, 2).eval()
    fill_by_rule(network)
    x = clips(2, 16, 2)
    with torch.inference_mode():
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = network(x)
    assert (coarse.float() - exact).abs().max() / exact.std() < 0.2


@pytest.mark.parametrize("make", [MsG3d, MsG3dWithoutG3d, Agcn])
def test_another_number_of_bodies_is_refused(make: Make) -> None:
    with pytest.raises(RuntimeError, match="75"):
        make(2, 1).eval()(clips(1, 4, 2))


def hops() -> list[list[int]]:
    """[a][b]: edges on the way from joint a to joint b, joint by joint."""
    neighbours = {
        joint: [b for a, b in INWARD if a == joint] + [a for a, b in INWARD if b == joint] for joint in range(25)
    }
    distances = []
    for start in range(25):
        reached, border = {start: 0}, [start]
        for joint in border:
            for other in neighbours[joint]:
                if other not in reached:
                    reached[other] = reached[joint] + 1
                    border.append(other)
        distances.append([reached[joint] for joint in range(25)])
    return distances


@pytest.mark.parametrize("window", [1, 3])
def test_scales_link_joints_that_are_exactly_so_many_hops_apart(window: int) -> None:
    distance = np.tile(hops(), (window, window)).astype(float)
    itself = np.eye(len(distance), dtype=bool)
    distance[(distance == 0) & ~itself] = 1  # the same joint in another frame
    stacked = scales(undirected() if window == 1 else windowed(undirected(), window), 13)
    for k, scale in enumerate(stacked):
        linked = (distance == k) | itself
        np.testing.assert_array_equal(scale > 0, linked)
        degrees = linked.sum(1)
        np.testing.assert_allclose(scale[linked], (1 / np.sqrt(np.outer(degrees, degrees)))[linked])


def test_the_spatial_partition_is_an_average_over_nearer_and_farther_neighbours() -> None:
    itself, inward, outward = spatial_partition()
    np.testing.assert_allclose((itself + inward + outward).sum(0), 1)
    elbow, wrist, shoulder = INDEX["ElbowLeft"], INDEX["WristLeft"], INDEX["ShoulderLeft"]
    assert itself[elbow, elbow] == inward[wrist, elbow] == outward[shoulder, elbow] == pytest.approx(1 / 3)
    centre = INDEX["SpineShoulder"]
    assert not outward[:, centre].any()
    assert [i for i in range(25) if inward[i, centre]] == sorted(
        INDEX[name] for name in ("SpineMid", "Neck", "ShoulderLeft", "ShoulderRight")
    )
