"""Publishes a data set through a bundle as a data set of its own: what recognizers of a stream are trained on."""

import os
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np

from skelanon.export.bundle import Bundle
from skelanon.export.errors import BundleError
from skelanon.export.ort_cpu import OnnxRuntimeCpu
from skelanon.sensors.joints import ROOT
from skelanon.sensors.recording import Recording
from skelanon.train.data.importers.importer import ImportedSequence, Skipped, sequence_of
from skelanon.train.data.store import DatasetInfo, Publication, SkeletonDataset
from skelanon.train.data.writing import write_dataset

from .errors import AuditError
from .published import Published
from .publishing import Progress, open_bundle, publish

_BEFORE_THE_SENSOR: Final = np.array([0.0, 0.0, 3.0], np.float32)
"""Metres. Where bodies are put of which a joint lies at the origin, which means a missing joint: SpineMid in normalised
axes, SpineBase of bodies that are centred."""


def publish_dataset(
    name: str,
    dataset: SkeletonDataset,
    out: str | os.PathLike[str],
    progress: Progress = lambda done, total: None,
) -> DatasetInfo:
    """Write what a subscriber gets of each sequence, with its labels, as a data set in the folder `out`.

    name: `template` (the bundle that comes with skelanon) or a bundle (`.onnx`). A body is what has one public id, and
    is absent where it was withheld. A sequence of which nobody was published is left out and counted.
    Raises AuditError: no bundle, a set that was published before, `out` exists or cannot be written, nothing published;
    RunnerError.
    """
    out = Path(out)
    if dataset.info.published is not None:
        raise AuditError(f"{dataset.folder} is what a model published: publish the data set it was made from")
    if out.exists():
        raise AuditError(f"{out} exists already: name another folder, or remove it")
    bundle = open_bundle(name)
    published = _run(bundle, dataset, progress)
    if bundle.manifest.axes == "normalised" or bundle.manifest.root == "body_centred":
        published.joints[:] += _BEFORE_THE_SENSOR
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        try:
            info = _write(partial, published, dataset, bundle)
            partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise AuditError(f"{out} cannot be written: {error.strerror}") from error
    return info


def _run(bundle: Bundle, dataset: SkeletonDataset, progress: Progress) -> Published:
    try:
        runner = OnnxRuntimeCpu(bundle)
    except BundleError as error:
        raise AuditError(str(error)) from error
    try:
        return publish(dataset, runner, progress)
    finally:
        runner.close()


def _write(folder: Path, published: Published, dataset: SkeletonDataset, bundle: Bundle) -> DatasetInfo:
    sequences: list[ImportedSequence] = []
    kept: list[int] = []
    skipped: dict[str, int] = {}
    for index in range(len(dataset)):
        try:
            sequences.append(_sequence(published, index))
            kept.append(index)
        except Skipped as reason:
            skipped[str(reason)] = skipped.get(str(reason), 0) + 1
    if not kept:
        raise AuditError("not a single body was published: there is nothing to train on")
    columns: dict[str, Any] = {
        "frames": np.array([sequence.joints.shape[0] for sequence in sequences], np.int64),
        "bodies": np.array([sequence.joints.shape[1] for sequence in sequences], np.int64),
        **{name: values[kept] for name, values in dataset.labels.items()},
    }
    about = dataset.info
    return write_dataset(
        folder,
        (sequence.joints.reshape(-1, *sequence.joints.shape[2:]) for sequence in sequences),
        (sequence.tracking.reshape(-1, sequence.tracking.shape[2]) for sequence in sequences),
        columns,
        kind=about.kind,
        licence=about.licence,
        rate_hz=about.rate_hz,
        measured=about.measured,
        names=about.names,
        skipped=skipped,
        published=Publication(bundle.manifest.name, bundle.sha256, about.fingerprint),
    )


def _sequence(published: Published, index: int) -> ImportedSequence:
    """A sequence as an importer would give it. Raises Skipped."""
    rows = np.arange(*published.rows(index).indices(len(published.joints)))
    distance = np.linalg.norm(published.joints[rows, ROOT], axis=1)
    rows = rows[np.lexsort((distance, published.frame[rows]))]  # not in the order of ids, which is random
    frames = np.arange(len(published.times(index)) + 1)
    recording = Recording(
        published.joints[rows],
        published.tracking[rows],
        tuple(published.id[rows].tolist()),
        tuple(np.searchsorted(published.frame[rows], frames).tolist()),
    )
    return sequence_of(recording, {})
