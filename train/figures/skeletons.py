"""Figure 6: a sequence before and after the anonymizer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skelanon.configs.training import DataSettings, Label
from skelanon.train.anonymizers.normalise import Normalised
from skelanon.train.checkpoint import RunFolder
from skelanon.train.data.clips import Batch, Clips
from skelanon.train.data.show import PALETTE, Palette, draw_skeletons
from skelanon.train.data.splits import split
from skelanon.train.data.store import SkeletonDataset
from skelanon.train.errors import TrainingError
from skelanon.train.releases import create_release
from skelanon.train.task import targets
from skelanon.train.trained import load_classifier

from .evaluations import kind_of
from .page import QUIET, TEXT, page, save

Floats = NDArray[np.floating]

_SHADOW: Final = Palette("#b5b5b5", "#b5b5b5", "#b5b5b5")
"""Raw skeletons, under anonymous ones."""
_ROW_INCHES, _LABEL_INCHES, _HEADER_INCHES, _FOOT_INCHES = 2.0, 0.95, 0.72, 0.62
_ACROSS_M, _UP_M = 0.16, 0.08  # margins
_DEPTH_M: Final = 10.0
_SMALL_PRINT: Final = (
    "Seen from in front. Blue: left side, orange: right side, grey: raw. What looks different need not be anonymous."
)


class BeforeAndAfter(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of figure 6: raw and released skeletons of a person, which no licence may let pass on."""

    release: str
    """As it was asked for."""
    data: str
    """Fingerprint of the data set."""
    licence: str
    """Under which terms its recordings may be used."""
    sequence: int
    """Number in the data set."""
    rmse_m: float
    """Root mean square difference of coordinates, of measured joints, over the whole clip."""
    seconds: tuple[float, ...]
    """Times of the frames that are drawn."""
    raw: list[list[list[list[float]]]]
    """(frames, bodies, 25, 3), metres, normalised axes: x from the left to the right shoulder, z up."""
    released: list[list[list[list[float]]]]
    """The same, anonymized."""


@dataclass(frozen=True, slots=True)
class _Clip:
    """A test sequence; arrays are (T, P, 25, 3), `seconds` has the time of each frame that was recorded."""

    raw: Floats
    released: Floats
    present: NDArray[np.bool_]
    seconds: Floats


def draw_before_and_after(
    release: str, index: int, out: Path, *, classifier: str | None = None, frames: int = 8
) -> BeforeAndAfter:
    """Draw evenly spaced frames of test sequence `index` (its number in the data set): raw, released, and both.

    release: the folder of an anonymizer's run, or as `create_release` takes it. classifier: the run whose data
    settings count; without one those of `release` itself, or of the classifier that it attacks.
    Raises TrainingError, CheckpointError, DataError.
    """
    if frames < 1:
        raise TrainingError(f"`frames` is {frames}, there must be at least one")
    settings = _data_of(release, classifier)
    dataset = SkeletonDataset(settings.folder)
    clip = _released(release, dataset, index, settings)
    chosen = np.unique(np.linspace(0, len(clip.seconds) - 1, frames).round().astype(int))
    if not clip.present[chosen].any():
        raise TrainingError(f"nobody is wholly there in sequence {index} of {dataset.folder}: take another")
    measured = clip.present[..., None] & np.array(dataset.info.measured)  # (T, P, V)
    numbers = BeforeAndAfter(
        release=release,
        data=dataset.info.fingerprint,
        licence=dataset.info.licence,
        sequence=index,
        rmse_m=float(np.sqrt(np.square(clip.released - clip.raw)[measured].mean())),
        seconds=tuple(clip.seconds[chosen].round(3).tolist()),
        raw=clip.raw[chosen].astype(np.float64).round(4).tolist(),
        released=clip.released[chosen].astype(np.float64).round(4).tolist(),
    )
    _draw(clip, chosen, dataset, numbers, out)
    return numbers


def _data_of(release: str, classifier: str | None) -> DataSettings:
    """Raises TrainingError: nothing says which data."""
    kind = kind_of(release)
    run = classifier or {"run": release, "attack": release.partition("=")[2]}.get(kind)
    if run is None:
        raise TrainingError(f"{release} is no run: name one whose data to take (`--classifier`)")
    return RunFolder(run).settings().data


def _released(release: str, dataset: SkeletonDataset, index: int, settings: DataSettings) -> _Clip:
    test = split(dataset, settings.split).test
    if index not in test:
        few = ", ".join(map(str, test[:5]))
        raise TrainingError(
            f"sequence {index} is none of the {len(test)} of {dataset.folder} that test: take one of {few}"
            f"{', ...' if len(test) > 5 else ''}"
        )
    told = [load_classifier(release.partition("=")[2])] if kind_of(release) == "attack" else []
    part = np.array([index])
    classes: dict[Label, tuple[int, ...]] = {one.run.label: one.classes for one in told}
    numbers = targets(dataset, part, settings, classes) if told else np.zeros((1, 0), np.int64)
    batch = Batch(*(tensor[None] for tensor in Clips(dataset, part, numbers, settings)[0]))
    with torch.no_grad():
        raw = Normalised(nn.Identity(), settings.bodies).sequence(batch.joints, batch.present)
        released = create_release(release, told, settings.bodies).release(batch, raw)
    return _Clip(raw[0].numpy(), released[0].numpy(), batch.present[0].numpy() > 0, _times(dataset, index, settings))


def _times(dataset: SkeletonDataset, index: int, settings: DataSettings) -> Floats:
    """When the frames of a clip were recorded, in seconds from the first, without those that only fill it."""
    recorded = int(dataset.frames[index])
    if settings.fit == "resample":
        return np.floor((np.arange(settings.frames) + 0.5) * recorded / settings.frames) / dataset.info.rate_hz
    return np.arange(min(recorded, settings.frames)) / dataset.info.rate_hz


def _draw(
    clip: _Clip, chosen: NDArray[np.integer], dataset: SkeletonDataset, numbers: BeforeAndAfter, out: Path
) -> None:
    """Three rows: raw, released, and released over raw."""
    raw, released, present = clip.raw[chosen], clip.released[chosen], clip.present[chosen]
    both = np.stack([raw, released])[:, present]  # (2, n, V, C)
    x, z = -both[..., 0], both[..., 2]
    across, up = (
        (float(one.min()) - margin, float(one.max()) + margin) for one, margin in ((x, _ACROSS_M), (z, _UP_M))
    )
    panel_inches = _ROW_INCHES * (across[1] - across[0]) / (up[1] - up[0])
    width = max(_LABEL_INCHES + len(chosen) * panel_inches + 0.15, 5.2)
    height = _HEADER_INCHES + 3 * _ROW_INCHES + _FOOT_INCHES
    subtitle = f"{dataset.info.kind}, sequence {numbers.sequence}; RMSE {100 * numbers.rmse_m:.2g} cm"
    figure = page(width, height, f"Before and after: {numbers.release}", subtitle, _SMALL_PRINT)
    measured = dataset.info.measured
    for row, name in enumerate(("raw", "released", "both")):
        bottom = height - _HEADER_INCHES - (row + 1) * _ROW_INCHES
        figure.text(0.15 / width, (bottom + _ROW_INCHES / 2) / height, name, size=9, color=TEXT, va="center")
        for column in range(len(chosen)):
            left = _LABEL_INCHES + column * panel_inches
            axes = figure.add_axes((left / width, bottom / height, panel_inches / width, _ROW_INCHES / height))
            axes.set(xlim=across, ylim=up, aspect="equal")
            axes.axis("off")
            if name != "released":
                palette = _SHADOW if name == "both" else PALETTE
                draw_skeletons(axes, _upright(raw[column], present[column]), measured=measured, palette=palette)
            if name != "raw":
                draw_skeletons(axes, _upright(released[column], present[column]), measured=measured)
            if name == "both":
                seconds = f"{numbers.seconds[column]:.2f} s"
                axes.annotate(seconds, (0.5, 0), (0, -2), xycoords="axes fraction", textcoords="offset points",
                              ha="center", va="top", size=8, color=QUIET)  # fmt: skip
    save(figure, out, numbers)


def _upright(joints: Floats, present: NDArray[np.bool_]) -> Floats:
    """(P, 25, 3) in normalised axes (z up) as they are drawn (y up), bodies that are not there as zeros.

    The depth, which is not drawn, is moved: SpineMid at the origin would count as a joint that is not there.
    """
    turned = joints[..., [0, 2, 1]] + (0.0, 0.0, _DEPTH_M)
    return np.where(present[:, None, None], turned, 0.0)
