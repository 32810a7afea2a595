"""Networks by name, how they behave as functions of a clip, and whose weights they take."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from torch import Tensor, nn

from skelanon.configs.training import Network
from skelanon.train import networks
from skelanon.train.errors import CheckpointError
from skelanon.train.networks import create_network
from skelanon.train.weights import load_weights

Fill = Callable[[nn.Module], None]

CLASSES: dict[Network, str] = {
    "ms_g3d": "MsG3d",
    "ms_g3d_without_g3d": "MsG3dWithoutG3d",
    "shift_gcn": "ShiftGcn",
    "agcn": "Agcn",
    "st_gcn": "StGcn",
    "ctr_gcn": "CtrGcn",
    "sgn": "Sgn",
}
every_network = pytest.mark.parametrize("name", CLASSES)
these = pytest.mark.parametrize("name", ["shift_gcn", "ctr_gcn", "sgn"])
"""The others have the same tests of their own."""


def clips(samples: int, frames: int, bodies: int) -> Tensor:
    """(N, 3, T, 25, M)"""
    return torch.randn(samples, 3, frames, 25, bodies, generator=torch.Generator().manual_seed(0))


def filled(name: Network, classes: int, bodies: int, fill_by_rule: Fill) -> nn.Module:
    network = create_network(name, classes, bodies).eval()
    fill_by_rule(network)
    return network


def test_every_name_of_the_settings_is_a_network() -> None:
    assert set(CLASSES) == set(get_args(Network))
    assert set(networks.__all__) == {*CLASSES.values(), "create_network"}


@every_network
@pytest.mark.parametrize("bodies", [1, 2])
def test_a_network_of_a_name_takes_clips(name: Network, bodies: int) -> None:
    network = create_network(name, 5, bodies).eval()
    assert type(network).__name__ == CLASSES[name]
    with torch.inference_mode():
        logits = network(clips(2, 8, bodies))
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()


@these
@pytest.mark.parametrize("bodies", [1, 2])
def test_the_gradient_reaches_every_joint_of_every_frame_and_body(
    name: Network, bodies: int, fill_by_rule: Fill
) -> None:
    network = filled(name, 5, bodies, fill_by_rule)
    x = clips(2, 20, bodies).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[:, 0].sum(), x)
    assert gradient.isfinite().all()
    assert (gradient.abs().sum(1) > 0).all()  # (N, T, V, M)


@these
def test_the_gradient_is_the_slope(name: Network, fill_by_rule: Fill) -> None:
    network = filled(name, 5, 2, fill_by_rule).double()
    x = clips(2, 24, 2).double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[:, 1].sum(), x)
    way = torch.randn(x.shape, dtype=torch.double, generator=torch.Generator().manual_seed(1)) * 1e-7
    with torch.inference_mode():
        rise = (network(x + way) - network(x - way))[:, 1].sum() / 2
    torch.testing.assert_close((gradient * way).sum(), rise, rtol=1e-4, atol=0)


@these
def test_logits_do_not_depend_on_the_other_clips(name: Network, fill_by_rule: Fill) -> None:
    network = filled(name, 5, 2, fill_by_rule)
    x = clips(3, 24, 2)
    x[1, ..., 1] = 0
    with torch.inference_mode():
        alone = torch.cat([network(clip[None]) for clip in x])
        together = network(x)
    assert together.std(0).min() > 0
    torch.testing.assert_close(together, alone, rtol=0, atol=float(1e-4 * together.std()))


@these
def test_a_network_learns_from_clips_whose_second_body_is_absent(name: Network) -> None:
    torch.manual_seed(0)
    network, labels = create_network(name, 2, 2), torch.tensor([0, 1, 0, 1])
    x = clips(4, 8, 2)
    x[..., 1] = 0
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(network(x), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    assert all(p.isfinite().all() for p in network.parameters())


@these
def test_bfloat16_changes_logits_little(name: Network, fill_by_rule: Fill) -> None:
    network = filled(name, 20, 2, fill_by_rule)
    x = clips(2, 16, 2)
    with torch.inference_mode():
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = network(x)
    assert (coarse.float() - exact).abs().max() / exact.std() < 0.2


@pytest.mark.parametrize("name", ["shift_gcn", "ctr_gcn"])
def test_another_number_of_bodies_is_refused(name: Network) -> None:
    with pytest.raises(RuntimeError, match="75"):
        create_network(name, 2, 1).eval()(clips(1, 4, 2))


@every_network
def test_weights_come_back_whole_with_or_without_the_prefix_of_parallel_training(name: Network, tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved, plain, prefixed = (create_network(name, 4, 1) for _ in range(3))
    torch.save(saved.state_dict(), tmp_path / "plain.pt")
    torch.save(nn.DataParallel(saved).state_dict(), tmp_path / "prefixed.pt")
    load_weights(plain, tmp_path / "plain.pt")
    load_weights(prefixed, tmp_path / "prefixed.pt")
    for key, tensor in saved.state_dict().items():
        assert torch.equal(plain.state_dict()[key], tensor)
        assert torch.equal(prefixed.state_dict()[key], tensor)


def test_constants_of_the_network_in_a_checkpoint_are_left_aside(tmp_path: Path) -> None:
    network = create_network("sgn", 4, 1)
    torch.save(network.state_dict() | {"joint_codes": torch.zeros(25, 25)}, tmp_path / "checkpoint.pt")
    load_weights(network, tmp_path / "checkpoint.pt")
    assert torch.equal(dict(network.named_buffers())["joint_codes"][0, ..., 0], torch.eye(25))


@every_network
def test_a_checkpoint_of_another_architecture_is_refused(name: Network, tmp_path: Path) -> None:
    other: Network = "st_gcn" if name != "st_gcn" else "sgn"
    torch.save(create_network(other, 4, 2).state_dict(), tmp_path / "checkpoint.pt")
    wanted = rf"checkpoint.pt is of another architecture than {CLASSES[name]}: [1-9]\d* tensors are missing \['"
    with pytest.raises(CheckpointError, match=wanted):
        load_weights(create_network(name, 4, 2), tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": torch.zeros(1)}, r"0 tensors are missing \[\], 1 are unknown \['extra'\], 0 have another shape"),
        ({"fc.bias": torch.zeros(9)}, r"0 are unknown \[\], 1 have another shape \['fc.bias'\]"),
    ],
)
def test_a_single_tensor_that_differs_is_named(change: dict[str, Tensor], message: str, tmp_path: Path) -> None:
    network = create_network("sgn", 4, 1)
    torch.save(network.state_dict() | change, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match=message):
        load_weights(network, tmp_path / "checkpoint.pt")


def test_a_checkpoint_of_other_classes_is_refused(tmp_path: Path) -> None:
    torch.save(create_network("shift_gcn", 60, 2).state_dict(), tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match=r"2 have another shape \['fc.bias', 'fc.weight'\]"):
        load_weights(create_network("shift_gcn", 40, 2), tmp_path / "checkpoint.pt")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read the checkpoint: No such file"):
        load_weights(create_network("sgn", 4, 1), tmp_path / "missing.pt")
