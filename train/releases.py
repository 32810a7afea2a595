"""Ways from raw skeletons to released ones, that evaluations compare. All results are in normalised axes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from .anonymizers.noise import Noise
from .anonymizers.normalise import Normalised
from .anonymizers.template import Template
from .anonymizers.whole_clip import SequenceModel, sequence_model
from .attack import AttackSettings, attack
from .data.clips import Batch
from .errors import TrainingError
from .trained import TrainedClassifier, load_anonymizer


class Release(ABC):
    """One way. `against` holds the folders of the classifiers that it was trained against or aimed at."""

    against: frozenset[Path] = frozenset()

    @abstractmethod
    def release(self, batch: Batch, raw: Tensor) -> Tensor:
        """(N, T, P, 25, 3) released skeletons; `raw` are the batch's own in normalised axes."""


class Raw(Release):
    """Nothing changed."""

    def release(self, batch: Batch, raw: Tensor) -> Tensor:
        return raw


class Noisy(Release):
    """Gaussian noise."""

    def __init__(self, std_m: float) -> None:
        self._noise = Noise(std_m, seed=0)

    def release(self, batch: Batch, raw: Tensor) -> Tensor:
        noisy: Tensor = self._noise(raw, batch.present)
        return noisy


class Templated(Release):
    """The shipped Template anonymizer, then normalised."""

    def __init__(self, bodies: Literal[1, 2]) -> None:
        self._template, self._normalise = Template(), Normalised(nn.Identity(), bodies)

    def release(self, batch: Batch, raw: Tensor) -> Tensor:
        joints = batch.joints.transpose(1, 2).flatten(0, 1)[:, :, None]  # (N * P, T, 1, V, C): one body at a time
        present = batch.present.transpose(1, 2).flatten(0, 1)[..., None]
        anonymous = self._template.to(joints.device).sequence(joints, present) * present[..., None, None]
        bodies = anonymous.reshape(*raw.shape[:1], raw.shape[2], *anonymous.shape[1:2], *raw.shape[3:]).transpose(1, 2)
        return self._normalise.to(joints.device).sequence(bodies, batch.present)


class Trained(Release):
    """An anonymizer that was trained."""

    def __init__(self, path: str) -> None:
        trained = load_anonymizer(path)
        self.bodies = trained.run.data.bodies
        self.against = frozenset(Path(run).resolve() for run in (*trained.run.action, *trained.run.private))
        gone = [str(run) for run in self.against if not run.is_dir()]
        if gone:  # else a classifier that was trained against would pass for one that was held out
            raise TrainingError(f"{path} was trained against {gone}, not there: run this where it was trained")
        self._model = sequence_model(trained.network, self.bodies)

    def release(self, batch: Batch, raw: Tensor) -> Tensor:
        model: SequenceModel = self._model.to(raw.device)
        return model.sequence(batch.joints, batch.present)


class Attacked(Release):
    """An adversarial attack on one privacy classifier, which knows the true labels."""

    def __init__(self, path: str, classifiers: Sequence[TrainedClassifier]) -> None:
        matches = [one for one in classifiers if one.path.resolve() == Path(path).resolve()]
        if not matches or matches[0].run.label != "private":
            raise TrainingError(f"attack={path}: name one of the privacy classifiers of this evaluation")
        self.against = frozenset({Path(path).resolve()})
        self._network = matches[0].network

    def release(self, batch: Batch, raw: Tensor) -> Tensor:
        with torch.enable_grad():
            return attack(self._network.to(raw.device), raw, batch.present, batch.targets[:, -1], AttackSettings())


def create_release(name: str, classifiers: Sequence[TrainedClassifier], bodies: Literal[1, 2]) -> Release:
    """`raw`, `template`, `noise=STD_M`, `attack=RUN` of a privacy classifier, or the folder of an anonymizer's run.

    Raises TrainingError, CheckpointError.
    """
    kind, _, value = name.partition("=")
    if name == "raw":
        return Raw()
    if name == "template":
        return Templated(bodies)
    if kind == "attack":
        return Attacked(value, classifiers)
    if kind == "noise":
        try:
            return Noisy(float(value))
        except ValueError:
            raise TrainingError(f"{name}: the standard deviation must be a number of metres, noise=0.01") from None
    trained = Trained(name)
    if trained.bodies != bodies:
        raise TrainingError(f"{name} anonymizes {trained.bodies} bodies together, the classifiers take {bodies}")
    return trained
