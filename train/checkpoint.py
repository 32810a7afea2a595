"""The folder of a training run, and checkpoints that are either whole or not there.

config.yaml       all settings, resolved
data.json         fingerprint of the data, numbers of sequences, classes
checkpoint.pt     newest epoch: weights, optimizers, history; enough to go on as if nothing had happened
metrics.jsonl     one line for each epoch
tensorboard/      the same for TensorBoard
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from torch import Tensor, nn

from skelanon.configs import ConfigError
from skelanon.configs.training import Label, TrainingRun
from skelanon.configs.training_loader import load_training_run, resolved_yaml
from skelanon.export.whole_file import write_whole

from .errors import CheckpointError, TrainingError

FORMAT: Final = 1


class DataRecord(msgspec.Struct, frozen=True, kw_only=True):
    """On what a run was trained."""

    fingerprint: str
    """Of the data set."""
    licence: str
    """Of the data set."""
    train: int
    """Sequences that train."""
    test: int
    """Sequences that test."""
    classes: dict[Label, tuple[int, ...]]
    """For each label (`action`, `private`) its values: class number i stands for entry i."""


class Checkpoint(msgspec.Struct, kw_only=True):
    """The state of a run after an epoch; everything in it is plain values and tensors."""

    epoch: int
    """Finished epochs."""
    modules: dict[str, dict[str, Tensor]]
    """State dicts by name."""
    optimizers: dict[str, dict[str, Any]]
    """State dicts by name."""
    history: list[dict[str, float]]
    """Metrics of each epoch."""


class RunFolder:
    """Reads and writes the folder of one run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def settings(self) -> TrainingRun:
        """The resolved settings. Raises CheckpointError: no run."""
        try:
            return load_training_run(self.path / "config.yaml")
        except ConfigError as error:
            raise CheckpointError(f"{self.path} is no training run: {error}") from error

    def data(self) -> DataRecord:
        """On what it was trained. Raises CheckpointError."""
        try:
            return msgspec.json.decode((self.path / "data.json").read_bytes(), type=DataRecord)
        except (OSError, msgspec.DecodeError) as error:
            raise CheckpointError(f"{self.path} is no training run: data.json cannot be read") from error

    def begin(self, run: TrainingRun, data: DataRecord) -> None:
        """Write settings and data record, or see that they are those of the run that was begun here.

        Raises TrainingError: the folder holds another run. CheckpointError: it cannot be written.
        """
        config, record = resolved_yaml(run).encode(), msgspec.json.format(msgspec.json.encode(data))
        for name, content in (("config.yaml", config), ("data.json", record)):
            file = self.path / name
            if file.exists() and file.read_bytes() != content:
                raise TrainingError(
                    f"{self.path} holds a run of other {'settings' if name == 'config.yaml' else 'data'}: "
                    "set `out` to another folder, or remove this one"
                )
            if not file.exists():
                write_atomically(file, content)

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the newest checkpoint. Raises CheckpointError: it cannot be written; the one before stays."""
        lines = b"".join(msgspec.json.encode(line) + b"\n" for line in checkpoint.history)
        write_atomically(self.path / "metrics.jsonl", lines)  # first, so that a finished run has all of them
        file = self.path / "checkpoint.pt"
        partial = file.with_suffix(".partial")
        try:
            with partial.open("wb") as stream:
                torch.save({"format": FORMAT, **msgspec.structs.asdict(checkpoint)}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, file)
        except (OSError, RuntimeError) as error:  # torch's writer wraps what the system says
            partial.unlink(missing_ok=True)
            raise CheckpointError(
                f"cannot write {file}: {getattr(error, 'strerror', None) or 'is the disk full?'}; "
                f"what was saved before is whole: make room and run the same command again"
            ) from error

    def load(self) -> Checkpoint | None:
        """The newest checkpoint, None where there is none yet. Raises CheckpointError: damaged, or of another kind."""
        file = self.path / "checkpoint.pt"
        try:
            stored = torch.load(file, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise CheckpointError(f"{file} is damaged or no checkpoint ({type(error).__name__})") from error
        if not isinstance(stored, dict) or stored.pop("format", None) != FORMAT:
            raise CheckpointError(f"{file} is not a checkpoint of format {FORMAT}")
        try:
            return Checkpoint(**stored)
        except TypeError as error:
            raise CheckpointError(f"{file} is not a checkpoint of a training run") from error

    def finished(self) -> Checkpoint:
        """The checkpoint of the last epoch. Raises CheckpointError: the run was not begun, or has not ended."""
        settings, checkpoint = self.settings(), self.load()
        if checkpoint is None or checkpoint.epoch < settings.trainer.epochs:
            done = 0 if checkpoint is None else checkpoint.epoch
            raise CheckpointError(
                f"{self.path} has finished {done} of {settings.trainer.epochs} epochs: train it first"
            )
        return checkpoint


def load_state(network: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Load a state dict into a network. Raises CheckpointError where it is that of another architecture."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        mine = network.state_dict()
        missing, strange = sorted(mine.keys() - weights.keys()), sorted(weights.keys() - mine.keys())
        other = sorted(name for name in mine.keys() & weights.keys() if mine[name].shape != weights[name].shape)
        raise CheckpointError(
            f"{what} is of another architecture than {type(network).__name__}: "
            f"{len(missing)} tensors are missing {missing[:3]}, {len(strange)} are unknown {strange[:3]}, "
            f"{len(other)} have another shape {other[:3]}"
        ) from error


def write_atomically(file: Path, content: bytes) -> None:
    """Write a file so that it is either whole or as it was. Raises CheckpointError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
    except OSError as error:
        raise CheckpointError(f"cannot write {file}: {error.strerror}") from error
