"""`skelanon bench-training`: what a step of adversarial training costs on this machine, network by network.

The step is `AdversarialTask.step` itself: minimisation through normalisation, residual anonymizer, a fixed recognizer
of 60 actions and a learning one of 40 persons, then maximisation. Networks are new and clips made up, which costs the
same. Loading of clips is not in it.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from skelanon.cli.extras import needing_train

from .naive_networks import WITH_LOOPS, naive_blocks

if TYPE_CHECKING:
    from rich.table import Table

    from skelanon.configs.training import AdversarialRun, TrainingRun

    from .machine import Machine

CLIPS: Final = 37_646
"""Training clips of NTU60, cross-view."""
EPOCHS: Final = 50
ACTIONS: Final = 60
PERSONS: Final = 40
WARM_UP: Final = 2
"""Steps that are not timed; the second has all that stays in memory."""
WIDTH: Final = 120
"""Of the table where it does not go to a terminal."""

Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    networks: tuple[str, ...]
    batch_size: int
    frames: int
    bodies: int
    device: str
    precision: str
    repeats: int
    naive: bool


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a network's step costs; `step_s` is a median."""

    network: str
    form: Literal["vectorised", "naive"]
    step_s: float
    lower_quartile_s: float
    upper_quartile_s: float
    steps_per_s: float
    clips_per_s: float
    peak_mb: float | None
    """On a GPU what torch allocated, on the CPU the whole process, where the system tells."""
    ntu60_hours: float
    """50 epochs of 37,646 clips, whole batches alone."""
    times_vectorised: float | None
    """Of a naive step: median over pairs of steps, one of each form, right after each other."""


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """Everything that `--out` writes."""

    machine: "Machine"
    gpu: str | None
    threads: int
    plan: Plan
    costs: tuple[StepCost, ...]


def bench_training(
    networks: Annotated[
        list[str] | None,
        typer.Option("--network", help="Architecture; may be repeated.", show_default="shift_gcn and ms_g3d"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips of a step.")] = 32,
    frames: Annotated[int, typer.Option(min=4, help="Length of a clip.")] = 300,
    bodies: Annotated[int, typer.Option(min=1, max=2, help="Bodies of a clip.")] = 2,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where it runs.")] = "cpu",
    precision: Annotated[
        Literal["32-true", "bf16-mixed", "16-mixed"], typer.Option(help="Of the networks' arithmetic.")
    ] = "32-true",
    repeats: Annotated[int, typer.Option(min=1, help="Steps that are timed.")] = 10,
    naive: Annotated[bool, typer.Option("--naive", help="In turns with the same step, written in loops.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Of torch.", show_default="torch's own choice")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this file, as JSON.")] = None,
) -> None:
    """Measure a step of adversarial training, with machine and versions. Needs the `train` extra."""
    with needing_train():
        import torch

        import skelanon.train.trainer  # noqa: F401 - everything that a step needs
    import msgspec
    from rich.console import Console

    chosen = tuple(networks or ("shift_gcn", "ms_g3d"))
    without = [name for name in chosen if name not in WITH_LOOPS]
    if naive and without:
        raise typer.BadParameter(f"--naive is for {', '.join(WITH_LOOPS)}, not for {', '.join(without)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("torch sees no CUDA device: take --device cpu")
    if threads is not None:
        torch.set_num_threads(threads)
    plan = Plan(chosen, batch_size, frames, bodies, device, precision, repeats, naive)
    machine = _machine()
    costs = tuple(cost for network in chosen for cost in _measure(network, plan))
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    report = TrainingReport(machine, gpu, torch.get_num_threads(), plan, costs)
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(_table(report))
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def _measure(network: str, plan: Plan) -> list[StepCost]:
    """Forms take turns, so that a noisy machine is noisy to both."""
    import tempfile

    forms: dict[Literal["vectorised", "naive"], Callable[[], AbstractContextManager[None]]]
    forms = {"vectorised": nullcontext, "naive": naive_blocks} if plan.naive else {"vectorised": nullcontext}
    peaks, seconds = {}, {form: list[float]() for form in forms}
    with tempfile.TemporaryDirectory(prefix="skelanon-bench-") as folder:
        step = _prepared(network, plan, Path(folder))
        for form, written in forms.items():
            typer.echo(f"{network}, {form}: warming up", err=True)
            with written():
                peaks[form] = _warm_up(step, plan.device)
        typer.echo(f"{network}: {plan.repeats} steps", err=True)
        for _ in range(plan.repeats):
            for form, written in forms.items():
                with written():
                    start_s = time.perf_counter()
                    step()
                    seconds[form].append(time.perf_counter() - start_s)
    return [_cost(network, form, plan, seconds[form], peaks[form], seconds["vectorised"]) for form in forms]


def _cost(
    network: str,
    form: Literal["vectorised", "naive"],
    plan: Plan,
    seconds: list[float],
    peak_mb: float | None,
    vectorised: list[float],
) -> StepCost:
    import numpy as np

    lower, middle, upper = np.percentile(seconds, [25, 50, 75]).tolist()
    return StepCost(
        network=network,
        form=form,
        step_s=middle,
        lower_quartile_s=lower,
        upper_quartile_s=upper,
        steps_per_s=1 / middle,
        clips_per_s=plan.batch_size / middle,
        peak_mb=peak_mb,
        ntu60_hours=_steps(plan) * middle / 3600,
        times_vectorised=float(np.median(np.divide(seconds, vectorised))) if form == "naive" else None,
    )


def _steps(plan: Plan) -> int:
    """Of a training on NTU60."""
    return EPOCHS * (CLIPS // plan.batch_size)


def _warm_up(step: Step, device: str) -> float | None:
    """The first steps; returns peak memory in megabytes."""
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak is now what is resident now
    for _ in range(WARM_UP):
        step()
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    with suppress(OSError):
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) * 1024 / 1e6
    return None


def _prepared(network: str, plan: Plan, work: Path) -> Step:
    """A step of a real run, to be called over and over with the same clips; `work`: an empty folder."""
    import gc
    import itertools

    import torch
    from lightning_fabric import Fabric
    from torch.utils.data import default_collate

    from skelanon.train.adversarial import AdversarialTask
    from skelanon.train.data.clips import Batch
    from skelanon.train.data.splits import split
    from skelanon.train.data.store import SkeletonDataset

    gc.collect()  # the network before this one
    run = _run(network, plan, work)
    dataset = SkeletonDataset(run.data.folder)
    parts = split(dataset, run.data.split)
    task = AdversarialTask(run, dataset, parts)
    fabric = Fabric(accelerator=plan.device, devices=1, precision=run.trainer.precision)
    fabric.launch()
    task.setup(fabric)
    task.train()
    for learner in task.learners.values():
        learner.begin_epoch(0)
    clips = task.clips(dataset, parts.train, run.data)
    loaded: Batch = default_collate([clips[i] for i in range(plan.batch_size)])
    batch = fabric.to_device(loaded)
    numbers = itertools.count()

    def step() -> None:
        losses = task.step(batch, next(numbers))
        for loss in losses.values():
            float(loss)  # as the trainer does
        if plan.device == "cuda":
            torch.cuda.synchronize()

    return step


def _run(network: str, plan: Plan, work: Path) -> "AdversarialRun":
    """Settings of an adversarial run on made-up data, whose two classifiers are trained for no epoch."""
    from skelanon.configs.training import AdversarialRun
    from skelanon.train.trainer import train

    _write_dataset(work / "data", plan)
    sizes = {"frames": plan.frames, "bodies": plan.bodies}
    data = {"folder": str(work / "data"), "split": {"by": "view", "test": [1]}, **sizes}
    trainer = {"epochs": 0, "batch_size": plan.batch_size, "accelerator": "cpu"}
    for label in ("action", "private"):
        classifier = {"task": "classifier", "label": label, "network": {"name": network}}
        rest = {"data": data, "trainer": trainer, "optimizer": {"learning_rate": 0.1}}
        train(_loaded(work / label, {**classifier, **rest}))
    run = _loaded(
        work / "adversarial",
        {
            "task": "adversarial",
            "data": data,
            "trainer": trainer | {"epochs": EPOCHS, "accelerator": plan.device, "precision": plan.precision},
            "anonymizer": {"kind": "residual"},
            "objective": {"alpha": 14.9, "beta": 149.0},
            "optimizer": {"learning_rate": 0.0018},
            "private_optimizer": {"learning_rate": 0.0030},
            "action": [str(work / "action")],
            "private": [str(work / "private")],
        },
    )
    if not isinstance(run, AdversarialRun):
        raise TypeError(f"{run.task} is not what was asked for")
    return run


def _loaded(folder: Path, settings: dict[str, Any]) -> "TrainingRun":
    """Settings of a run, checked. Raises ConfigError."""
    import json

    from skelanon.configs.training_loader import load_training_run

    config = folder.with_suffix(".yaml")
    config.write_text(json.dumps({"out": str(folder), **settings}), "utf-8")  # JSON is YAML
    return load_training_run(config)


def _write_dataset(folder: Path, plan: Plan) -> None:
    """Enough sequences for a batch, in which every action and every person occurs; one more, of view 1, tests."""
    import msgspec
    import numpy as np

    from skelanon.sensors.joints import JOINTS
    from skelanon.train.data.store import DatasetInfo

    number = np.arange(max(plan.batch_size, ACTIONS) + 1)
    frames = 30
    joints = np.random.default_rng(0).normal((0, 0, 3), 0.3, (len(number) * frames * plan.bodies, JOINTS, 3))
    folder.mkdir()
    np.save(folder / "joints.npy", joints.astype(np.float32))
    np.save(folder / "tracking.npy", np.full(joints.shape[:2], 2, np.uint8))
    np.savez(
        folder / "index.npz",
        start=number * frames * plan.bodies,
        frames=np.full_like(number, frames),
        bodies=np.full_like(number, plan.bodies),
        action=number % ACTIONS,
        subject=number % PERSONS,
        view=np.where(number == number[-1], 1, 2),
    )
    info = DatasetInfo(
        kind="made up", licence="", rate_hz=30.0, measured=(True,) * JOINTS, kept=len(number), fingerprint="made up"
    )
    (folder / "dataset.json").write_bytes(msgspec.json.encode(info))


def _machine() -> "Machine":
    """The machine as it is now, with the versions that training depends on."""
    from importlib.metadata import version

    from msgspec.structs import replace

    from .machine import this_machine

    machine = this_machine()
    return replace(machine, versions=machine.versions | {name: version(name) for name in ("torch", "lightning-fabric")})


def _table(report: TrainingReport) -> "Table":
    """For people."""
    from rich.table import Table

    plan = report.plan
    place = report.gpu or f"CPU, {report.threads} threads"
    title = f"{report.machine.headline()}\n{plan.batch_size} clips of {plan.frames} frames and {plan.bodies} bodies, "
    title += f"{plan.precision}, {place}; NTU60: {_steps(plan):,} steps, {EPOCHS} epochs of {CLIPS:,} clips / batch"
    table = Table(title=title, title_justify="left", title_style="")
    for name in ("network", "form"):
        table.add_column(name)
    for name in ("step, s", "quartiles", "steps/s", "clips/s", "peak, MB", "NTU60, h", "naive : vectorised"):
        table.add_column(name, justify="right")
    for cost in report.costs:
        table.add_row(
            cost.network,
            cost.form,
            f"{cost.step_s:.3g}",
            f"{cost.lower_quartile_s:.3g} - {cost.upper_quartile_s:.3g}",
            f"{cost.steps_per_s:.3g}",
            f"{cost.clips_per_s:.3g}",
            "" if cost.peak_mb is None else f"{cost.peak_mb:,.0f}",
            f"{cost.ntu60_hours:,.1f}",
            "" if cost.times_vectorised is None else f"{cost.times_vectorised:.2f}",
        )
    return table
