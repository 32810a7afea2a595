"""Fixtures of training: small data sets, runs, and classifiers that have been trained."""

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter

from skelanon.configs.training import TrainingRun
from skelanon.export.runner import Floats
from skelanon.sensors.population import Activity, population, skeleton_sequence

if TYPE_CHECKING:
    from torch import nn

    from skelanon.train.data.store import SkeletonDataset


@pytest.fixture(scope="session")
def write_dataset(tmp_path_factory: pytest.TempPathFactory) -> "Callable[..., SkeletonDataset]":
    """Writes a data set of sequences, joints (T, M, 25, 3) and whole-number labels, into a folder of its own."""
    store = pytest.importorskip("skelanon.train.data.store", reason="needs skelanon[train]")

    def write(*sequences: tuple[Floats, dict[str, int]]) -> "SkeletonDataset":
        folder = tmp_path_factory.mktemp("dataset")
        rows = np.concatenate([joints.reshape(-1, 25, 3) for joints, _ in sequences])
        frames, bodies = (np.array([joints.shape[axis] for joints, _ in sequences]) for axis in (0, 1))
        start = np.cumsum(frames * bodies) - frames * bodies
        labels: dict[str, Any] = {name: np.array([row[name] for _, row in sequences]) for name in sequences[0][1]}
        np.save(folder / "joints.npy", rows)
        np.save(folder / "tracking.npy", np.full(rows.shape[:2], 2, np.uint8))
        np.savez(folder / "index.npz", start=start, frames=frames, bodies=bodies, **labels)
        about = {"kind": "test", "licence": "-", "rate_hz": 30, "measured": (True,) * 25, "kept": len(frames)}
        fingerprint = str(zlib.crc32(rows.tobytes()))
        (folder / "dataset.json").write_bytes(msgspec.json.encode({**about, "fingerprint": fingerprint}))
        return store.SkeletonDataset(folder)  # type: ignore[no-any-return]

    return write


@pytest.fixture(scope="session")
def make_run(write_dataset: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TrainingRun]:
    """Makes settings of a run, changed, on a set that is learnt in seconds: 3 persons, 3 actions, 4 trials of each."""
    pytest.importorskip("torch").set_num_threads(1)
    persons, activities = population(0, 3), (Activity.WAVE, Activity.WALK, Activity.STAND)
    labels = [{"subject": s, "action": a, "trial": t} for s in range(3) for a in range(3) for t in range(4)]
    joints = (skeleton_sequence(persons[s], activities[a], 15, 12 + 4 * t, t) for s, a, t in map(dict.values, labels))
    folder = write_dataset(*((body[:, None], row) for body, row in zip(joints, labels, strict=True))).folder
    data = {"folder": str(folder), "split": {"by": "trial", "test": [3], "train": [0, 1]}, "frames": 16}
    anonymizer = {"anonymizer": {"kind": "residual"}, "objective": {"alpha": 1.0, "beta": 10.0}}
    of_task: dict[str, dict[str, Any]] = {
        "classifier": {"label": "action", "network": {"name": "sgn"}},
        "auto_encoder": {"anonymizer": {"kind": "auto_encoder"}},
        "ensemble": anonymizer,
        "adversarial": {**anonymizer, "private_optimizer": {"learning_rate": 0.01}},
    }

    def make(task: str = "classifier", **changes: Any) -> TrainingRun:
        trainer = {"epochs": 4, "batch_size": 6, "accelerator": "cpu"}
        tree = {
            "task": task,
            "data": data,
            "trainer": trainer,
            "optimizer": {"learning_rate": 0.01},
            **of_task.get(task, {}),
        }
        for key, value in ({"out": str(tmp_path_factory.mktemp("runs") / task)} | changes).items():
            tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
        return TypeAdapter[TrainingRun](TrainingRun).validate_python(tree)

    return make


@pytest.fixture(scope="session")
def classifiers(make_run: Callable[..., TrainingRun]) -> dict[str, str]:
    """Folders of SGNs: `action` and `private` have learnt, `action2` and `private2` have but begun."""
    train = pytest.importorskip("skelanon.train.trainer").train
    adam, out = {"name": "adam", "learning_rate": 0.001}, {}
    for name, epochs in {"action": 12, "private": 12, "action2": 1, "private2": 1}.items():
        trainer = {"epochs": epochs, "batch_size": 3, "test_every": epochs, "seed": epochs}
        train(run := make_run(label=name.strip("2"), trainer=trainer, optimizer=adam))
        out[name] = run.out
    return out


@pytest.fixture(scope="session")
def fill_by_rule() -> "Callable[[nn.Module], None]":
    """Fills a network's weights as the reference networks' were: each tensor by its name."""
    torch = pytest.importorskip("torch", reason="needs skelanon[train]")

    def fill(network: "nn.Module") -> None:
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.as_tensor(_by_rule(name, tuple(tensor.shape))))

    return fill


def _by_rule(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    z = np.asarray(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape))
    if name.endswith(".running_var"):
        return np.abs(z) * 0.5 + 0.5
    if name.endswith(".running_mean"):
        return z * 0.1
    if name.endswith(".weight") and z.ndim == 1:
        return 1 + 0.1 * z
    if name.endswith("bias"):
        return z * 0.05
    return z / np.sqrt(np.prod(shape[1:])) if z.ndim > 1 else z * 0.1
