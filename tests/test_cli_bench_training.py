"""`skelanon bench-training`: its step is a real one, its loops compute what the networks do, its figures add up."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch
from torch import Tensor, nn

from skelanon.cli.bench import naive_networks, training
from skelanon.cli.bench.naive_networks import WITH_LOOPS, naive_blocks
from skelanon.cli.bench.training import bench_training
from skelanon.configs.errors import ConfigError
from skelanon.configs.training import Network
from skelanon.train.adversarial import AdversarialTask
from skelanon.train.data.clips import Batch
from skelanon.train.networks import create_network
from skelanon.train.networks.shift_gcn import SpatialShift, TemporalShift

SMALL = ("--batch-size", "3", "--frames", "8", "--bodies", "1", "--repeats", "2")

app = typer.Typer()
app.command()(bench_training)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def varied(network: nn.Module) -> nn.Module:
    """Weights none of which is nothing, and shifts beyond a frame."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            spread = 2.0 if name.endswith("ypos") else 0.1
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype) * spread)
    return network


def logits_and_gradients(network: nn.Module, clips: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """In double precision; gradients by the weights' names, and by `clips`."""
    clips = clips.detach().requires_grad_()
    logits: Tensor = network(clips)
    weights = {name: weight for name, weight in network.named_parameters() if not name.endswith("xpos")}
    seed = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=logits.dtype)
    gradients = torch.autograd.grad((logits * seed).sum(), [clips, *weights.values()])
    return logits.detach(), dict(zip(["clips", *weights], gradients, strict=True))


@pytest.mark.parametrize("name", WITH_LOOPS)
def test_the_loops_give_the_same_logits_and_gradients(name: Network) -> None:
    network = varied(create_network(name, 5, 1)).double()
    clips = torch.randn(2, 3, 4, 25, 1, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    logits, gradients = logits_and_gradients(network, clips)
    with naive_blocks():
        naive_logits, naive_gradients = logits_and_gradients(network, clips)
    torch.testing.assert_close(naive_logits, logits)
    scale = max(gradient.abs().max().item() for gradient in gradients.values())
    for weight, gradient in gradients.items():
        torch.testing.assert_close(naive_gradients[weight], gradient, rtol=1e-6, atol=1e-10 * scale, msg=weight)


@pytest.mark.parametrize("name", get_args(Network))
def test_loops_take_the_place_of_blocks_in_the_networks_that_say_so(
    name: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []

    def noted(block: str) -> Callable[[nn.Module, Tensor], Tensor]:
        loop = getattr(naive_networks, block)

        def noted_loop(self: nn.Module, x: Tensor) -> Tensor:
            used.append(block)
            out: Tensor = loop(self, x)
            return out

        return noted_loop

    for block in ("_spatial_shift", "_temporal_shift", "_multi_scale_graph_conv", "_temporal_windows"):
        monkeypatch.setattr(naive_networks, block, noted(block))
    network, clips = create_network(name, 2, 1).eval(), torch.zeros(1, 3, 8, 25, 1)
    with torch.inference_mode(), naive_blocks():
        network(clips)
    expected = {
        "shift_gcn": {"_spatial_shift", "_temporal_shift"},
        "ms_g3d": {"_multi_scale_graph_conv", "_temporal_windows"},
        "ms_g3d_without_g3d": {"_multi_scale_graph_conv"},
    }
    assert set(used) == expected.get(name, set())
    assert (name in WITH_LOOPS) == bool(used)


def test_after_the_loops_networks_are_what_they_were() -> None:
    before = SpatialShift.forward, TemporalShift.forward
    with naive_blocks():
        assert before != (SpatialShift.forward, TemporalShift.forward)
    assert (SpatialShift.forward, TemporalShift.forward) == before
    with pytest.raises(KeyError), naive_blocks():
        raise KeyError
    assert (SpatialShift.forward, TemporalShift.forward) == before


def figures(*arguments: str | Path) -> tuple[dict[str, Any], str]:
    """The JSON and the table."""
    out = Path(arguments[-1])
    done = CliRunner().invoke(app, [*SMALL, *map(str, arguments[:-1]), "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return msgspec.json.decode(out.read_bytes()), done.stdout


def test_figures_add_up(tmp_path: Path) -> None:
    report, table = figures("--network", "sgn", "--network", "shift_gcn", "--threads", "1", tmp_path / "out.json")
    assert report["threads"] == torch.get_num_threads() == 1
    assert report["gpu"] is None
    assert report["machine"]["cpu"] in table
    assert {"torch", "lightning-fabric", "numpy", "python"} <= set(report["machine"]["versions"])
    assert (report["plan"]["batch_size"], report["plan"]["frames"], report["plan"]["bodies"]) == (3, 8, 1)
    assert [(cost["network"], cost["form"]) for cost in report["costs"]] == [
        ("sgn", "vectorised"),
        ("shift_gcn", "vectorised"),
    ]
    for cost in report["costs"]:
        assert 0 < cost["lower_quartile_s"] <= cost["step_s"] <= cost["upper_quartile_s"]
        assert cost["steps_per_s"] == pytest.approx(1 / cost["step_s"])
        assert cost["clips_per_s"] == pytest.approx(3 / cost["step_s"])
        assert cost["ntu60_hours"] == pytest.approx(50 * 12_548 * cost["step_s"] / 3600)  # 37,646 = 3 * 12,548 + 2
        assert cost["times_vectorised"] is None
        assert cost["network"] in table
        assert cost["peak_mb"] is None or cost["peak_mb"] > 50  # Python and torch alone take more
    assert "627,400 steps" in table


def test_forms_take_turns_and_are_compared_pair_by_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[bool] = []
    clock_s = [0.0]
    costs_s = itertools.cycle([1.0, 3.0, 2.0, 10.0])

    def step() -> None:
        order.append(SpatialShift.forward is naive_networks._spatial_shift)
        if len(order) > 2 * training.WARM_UP:
            clock_s[0] += next(costs_s)

    monkeypatch.setattr(training, "_prepared", lambda *_: step)
    monkeypatch.setattr("skelanon.cli.bench.training.time.perf_counter", lambda: clock_s[0])
    report, _ = figures("--network", "shift_gcn", "--naive", tmp_path / "out.json")
    assert order == [False, False, True, True, False, True, False, True]
    plain, naive = report["costs"]
    assert (plain["form"], plain["step_s"], plain["times_vectorised"]) == ("vectorised", 1.5, None)
    assert (naive["form"], naive["step_s"], naive["times_vectorised"]) == ("naive", 6.5, (3 / 1 + 10 / 2) / 2)
    assert (naive["lower_quartile_s"], naive["upper_quartile_s"]) == (4.75, 8.25)


def test_the_step_is_the_real_one_with_both_labels_of_ntu60(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, Batch, dict[str, Tensor], dict[str, int]]] = []
    real = AdversarialTask.step

    def step(self: AdversarialTask, batch: Batch, number: int) -> dict[str, Tensor]:
        losses = real(self, batch, number)
        seen.append((number, batch, losses, {label: len(values) for label, values in self.classes.items()}))
        return losses

    monkeypatch.setattr(AdversarialTask, "step", step)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    figures("--network", "sgn", "--bodies", "2", tmp_path / "out.json")
    assert [number for number, *_ in seen] == list(range(training.WARM_UP + 2))
    for _, batch, losses, classes in seen:
        assert classes == {"action": 60, "private": 40}
        assert batch.joints.shape == (3, 8, 2, 25, 3)
        assert batch.present.all()
        assert {"action_loss", "private_loss", "distance_m2", "adversary_loss"} <= set(losses)
        assert all(np.isfinite(float(loss)) for loss in losses.values())
    assert seen[0][2]["adversary_loss"] != seen[-1][2]["adversary_loss"]  # weights have moved
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_on_a_gpu_it_tells_what_torch_allocated(precision: str, tmp_path: Path) -> None:
    arguments = ("--network", "shift_gcn", "--device", "cuda", "--precision", precision, "--naive")
    report, _ = figures(*arguments, tmp_path / "out.json")
    assert report["gpu"]
    for cost in report["costs"]:
        assert 1 < cost["peak_mb"] < 1000  # the whole process would take more


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--naive", "--network", "agcn"), "--naive is for shift_gcn, ms_g3d, ms_g3d_without_g3d, not for agcn"),
        (("--bodies", "3"), "'--bodies'"),
        (("--device", "tpu"), "'tpu' is not one of"),
        (("--repeats", "0"), "'--repeats'"),
    ],
)
def test_wrong_usage_is_refused(arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    done = CliRunner().invoke(app, ["--device", "cuda"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert done.exit_code == 2
    assert "torch sees no CUDA device: take --device cpu" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--network", "transformer"), "transformer"),
        (("--network", "shift_gcn", "--frames", "30"), "take a multiple of 4"),
        (("--network", "sgn", "--precision", "16-mixed"), "needs a GPU"),
    ],
)
def test_settings_that_no_run_could_have_are_refused_as_there(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_without_torch_it_says_what_to_install() -> None:
    script = """
import sys
sys.modules["torch"] = None
import typer
from skelanon.cli.bench.training import bench_training
app = typer.Typer()
app.command()(bench_training)
app([])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "torch is not installed: pip install 'skelanon[train]'" in " ".join(done.stderr.split())
