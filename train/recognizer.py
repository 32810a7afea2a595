"""A trained classifier as a recognizer for streams: one ONNX file, preprocessing included."""

import os
from importlib.metadata import version
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from skelanon.export.recognizer import Recognizer, RecognizerManifest
from skelanon.export.recognizer_exporter import export_recognizer

from .anonymizers.normalise import Normalised
from .anonymizers.whole_clip import as_clips
from .data.splits import split
from .data.store import SkeletonDataset
from .errors import CheckpointError
from .samples import random_samples
from .trained import TrainedClassifier, load_classifier

PARITY_TOLERANCE: Final = 1e-4
_CLIPS: Final = 8
"""Made-up clips that torch and ONNX Runtime are compared on."""


class RecognizerModule(nn.Module):
    """From clips as they are published to confidences: the normalisation of training, the network, a softmax."""

    def __init__(self, network: nn.Module, bodies_per_sample: Literal[1, 2]) -> None:
        super().__init__()
        self.normalise = Normalised(nn.Identity(), bodies_per_sample)
        self.network = network

    def forward(self, joints: Tensor) -> Tensor:
        """(N, T, P, 25, 3) metres, zeros where a body is not there, to (N, K)."""
        present = joints.ne(0).flatten(3).any(3).to(joints)  # (N, T, P)
        logits: Tensor = self.network(as_clips(self.normalise.sequence(joints, present)))
        return logits.softmax(1)


def build_recognizer(run: str | os.PathLike[str], path: str | os.PathLike[str]) -> Recognizer:
    """Write the recognizer of a finished run of a classifier; the data set that it names tells what classes are called.

    Raises CheckpointError: no such run, or its data set is another by now; DataError: the data set is gone; BundleError
    when it cannot be written or fails the parity gate.
    """
    trained = load_classifier(run)
    dataset = SkeletonDataset(trained.run.data.folder)
    if dataset.info.fingerprint != trained.data.fingerprint:
        raise CheckpointError(f"{run} was trained on another data set than {dataset.folder} now is: train it again")
    settings = trained.run.data
    module = RecognizerModule(trained.network, settings.bodies)
    return export_recognizer(module, _manifest(trained, dataset), path, _made_up(settings.frames, settings.bodies))


def _manifest(trained: TrainedClassifier, dataset: SkeletonDataset) -> RecognizerManifest:
    run, settings, published = trained.run, trained.run.data, dataset.info.published
    names = dataset.info.names.get(trained.column, {})
    frames = float(np.median(dataset.frames[split(dataset, settings.split).train]))
    return RecognizerManifest(
        name=f"{run.network.name.replace('_', '-')}-{trained.column.replace('_', '-')}",
        frames=settings.frames,
        fit=settings.fit,
        bodies_per_sample=settings.bodies,
        classes=trained.classes,
        names=tuple(names.get(value, f"{trained.column} {value}") for value in trained.classes),
        rate_hz=dataset.info.rate_hz,
        seconds=frames / dataset.info.rate_hz,
        parity_tolerance=PARITY_TOLERANCE,
        model_sha256=None if published is None else published.sha256,
        provenance={
            "config": run.model_dump(exclude={"out": True, "data": {"folder": True}, "network": {"weights": True}}),
            "data": {"fingerprint": trained.data.fingerprint, "train": trained.data.train, "test": trained.data.test},
            "versions": {name: version(name) for name in ("skelanon", "numpy")},  # torch's is in `packages`
        },
        data_licence=trained.data.licence,
    )


def _made_up(frames: int, bodies: int) -> NDArray[np.float32]:
    """(N, T, P, 25, 3): bodies that change from pose to pose, one that is there for a frame, and nobody."""
    clips = random_samples(tracks=_CLIPS, frames=frames, bodies_per_sample=bodies).joints.swapaxes(0, 1).copy()
    clips[-2, 1:] = 0
    clips[-1] = 0
    return clips
