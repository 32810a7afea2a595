"""What other runs have trained, ready to use."""

import os
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from skelanon.configs.training import AdversarialRun, AutoEncoderRun, ClassifierRun, EnsembleRun, Label, TokensRun

from .anonymizers.create import create_anonymizer
from .anonymizers.tokens import TokenNetwork
from .checkpoint import DataRecord, RunFolder, load_state
from .errors import CheckpointError, TrainingError
from .networks import create_network

AnonymizerRun = AdversarialRun | EnsembleRun


@dataclass(frozen=True, slots=True)
class TrainedClassifier:
    """A classifier of one label, frozen: in eval mode, without gradients of its weights.

    network: clips (N, 3, T, 25, P) in normalised axes to logits (N, classes).
    """

    path: Path
    network: nn.Module
    run: ClassifierRun
    data: DataRecord

    @property
    def classes(self) -> tuple[int, ...]:
        """Label values: class number i stands for entry i."""
        return self.data.classes[self.run.label]

    @property
    def column(self) -> str:
        """The label's column in the data set."""
        return self.run.data.column(self.run.label)

    def learner(self) -> nn.Module:
        """A copy of the network that can go on learning."""
        network = create_network(self.run.network.name, len(self.classes), self.run.data.bodies)
        network.load_state_dict(self.network.state_dict())
        return network


@dataclass(frozen=True, slots=True)
class TrainedAnonymizer:
    """An anonymizer's network, frozen."""

    path: Path
    network: nn.Module
    run: AnonymizerRun
    data: DataRecord
    history: list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class TrainedTokens:
    """Motion tokens' network, frozen."""

    network: TokenNetwork
    run: TokensRun
    data: DataRecord


def load_classifier(path: str | os.PathLike[str]) -> TrainedClassifier:
    """The classifier of a finished run. Raises CheckpointError."""
    folder = RunFolder(path)
    run, data, checkpoint = folder.settings(), folder.data(), folder.finished()
    if not isinstance(run, ClassifierRun):
        raise CheckpointError(f"{path} is a run of `task: {run.task}`, not of a classifier")
    network = create_network(run.network.name, len(data.classes[run.label]), run.data.bodies)
    load_state(network, checkpoint.modules.get("classifier", {}), f"the checkpoint of {path}")
    return TrainedClassifier(Path(path), freeze(network), run, data)


def load_anonymizer(path: str | os.PathLike[str]) -> TrainedAnonymizer:
    """The anonymizer of a finished run. Raises CheckpointError."""
    folder = RunFolder(path)
    run, checkpoint = folder.settings(), folder.finished()
    if not isinstance(run, AnonymizerRun):
        raise CheckpointError(f"{path} is a run of `task: {run.task}`, not of an anonymizer")
    network = create_anonymizer(run.anonymizer, run.data.bodies)
    load_state(network, checkpoint.modules.get("anonymizer", {}), f"the checkpoint of {path}")
    return TrainedAnonymizer(Path(path), freeze(network), run, folder.data(), checkpoint.history)


def load_tokens(path: str | os.PathLike[str]) -> TrainedTokens:
    """The motion tokens of a finished run. Raises CheckpointError."""
    folder = RunFolder(path)
    run, checkpoint = folder.settings(), folder.finished()
    if not isinstance(run, TokensRun):
        raise CheckpointError(f"{path} is a run of `task: {run.task}`, not of motion tokens")
    network = TokenNetwork(run.tokens)
    load_state(network, checkpoint.modules.get("anonymizer", {}), f"the checkpoint of {path}")
    freeze(network)
    return TrainedTokens(network, run, folder.data())


def load_auto_encoder(path: str | os.PathLike[str], network: nn.Module) -> None:
    """Give an auto-encoder the weights of a finished pre-training run. Raises CheckpointError."""
    folder = RunFolder(path)
    run, checkpoint = folder.settings(), folder.finished()
    if not isinstance(run, AutoEncoderRun):
        raise CheckpointError(f"{path} is a run of `task: {run.task}`, not the pre-training of an auto-encoder")
    load_state(network, checkpoint.modules.get("anonymizer", {}), f"the checkpoint of {path}")


def fitting_classifier(path: str, run: AnonymizerRun, label: Label, fingerprint: str) -> TrainedClassifier:
    """A classifier that was trained on the same data, split and clips, of the label that a run needs it for.

    Raises TrainingError, naming the setting that differs; CheckpointError.
    """
    classifier = load_classifier(path)
    column = run.data.column(label)
    if classifier.column != column:
        raise TrainingError(f"`{label}` names {path}, which tells `{classifier.column}`, not `{column}`")
    if classifier.data.fingerprint != fingerprint:
        raise TrainingError(f"`{label}` names {path}, which was trained on another data set than {run.data.folder}")
    for key in ("split", "frames", "fit", "bodies", "choice"):
        mine, other = getattr(run.data, key), getattr(classifier.run.data, key)
        if mine != other:
            raise TrainingError(
                f"`{label}` names {path}, which was trained with another `data.{key}`: {other}, not {mine}"
            )
    return classifier


def freeze(network: nn.Module) -> nn.Module:
    """The network in eval mode, its weights without gradients."""
    return network.eval().requires_grad_(False)
