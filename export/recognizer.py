"""A recognizer of actions as one ONNX file: what it says of itself, and how it is run. Needs numpy and onnxruntime.

Graph input `joints` float32 [N, T, P, 25, 3]: clips as a stream's axes have them, metres, zeros where a body is not
there. Output `confidence` float32 [N, K], of each class; a sample's add up to 1. Normalisation is in the graph.
"""

import os
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from skelanon.sensors.fitting import Fit, fit_clip
from skelanon.sensors.joints import JOINTS, LAYOUT

from .bundle import RECOGNIZER_KEY, read_sealed
from .errors import BundleError, RunnerError
from .ort_cpu import cpu_session
from .runner import Floats

FORMAT: Final = 1
"""Version of the recognizer format that this code writes, and the newest that it reads."""

INPUT: Final = "joints"
OUTPUT: Final = "confidence"


class RecognizerManifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a recognizer is and how it is to be called."""

    format: int = FORMAT
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}\Z")]
    layout: Literal["kinect-v2-25"] = LAYOUT
    frames: Annotated[int, Meta(ge=1, le=4096)]
    """T, the length of a clip."""
    fit: Fit
    """How bodies over any number of frames become a clip."""
    bodies_per_sample: Literal[1, 2]
    """P: 1, or 2 for a recognizer of what two people do."""
    classes: Annotated[tuple[int, ...], Meta(min_length=1, max_length=65536)]
    """Label values: class number i stands for entry i."""
    names: tuple[Annotated[str, Meta(max_length=200)], ...]
    """What classes are called."""
    rate_hz: Annotated[float, Meta(gt=0, le=1000)]
    """Frames a second of the sequences that it was trained on."""
    seconds: Annotated[float, Meta(gt=0)]
    """How long they last, half of them longer: what to look at live."""
    parity_tolerance: Annotated[float, Meta(gt=0, le=0.01)]
    """Largest difference of a confidence between torch and ONNX Runtime that the export let pass."""
    model_sha256: str | None = None
    """Of the bundle that published what it was trained on; null: it was trained on raw skeletons."""
    provenance: dict[str, Any] = {}
    """How it came about: config, data, seed, package versions."""
    data_licence: Annotated[str, Meta(max_length=200)]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.classes):
            raise ValueError(f"`names` has {len(self.names)} entries, `classes` {len(self.classes)}")


class Recognizer:
    """Tells actions from bodies of a stream. One thread uses it.

    Raises BundleError: unreadable, no recognizer, edited, of a future format, or another graph than its manifest says;
    RunnerError where onnxruntime is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 1) -> None:
        self.manifest, self.sha256, model = read_sealed(path, RECOGNIZER_KEY, _from_json)
        self._session = cpu_session(model, threads=threads)
        self._check_graph()

    def clip(self, joints: Floats) -> Floats:
        """Bodies over any number of frames (T0, M, 25, 3) as a clip (T, P, 25, 3), as in training."""
        about = self.manifest
        return fit_clip(joints, about.frames, about.fit, about.bodies_per_sample)

    def confidences(self, clips: Floats) -> Floats:
        """Clips (N, T, P, 25, 3) float32, metres, zeros where a body is not there, to (N, K), each row adding up to 1.

        Raises ValueError for another shape, RunnerError.
        """
        if clips.shape[1:] != self._shape:
            raise ValueError(f"clips are {clips.shape}, this recognizer takes (N, {', '.join(map(str, self._shape))})")
        try:
            (confidences,) = self._session.run([OUTPUT], {INPUT: np.ascontiguousarray(clips, np.float32)})
        except Exception as error:
            raise RunnerError(f"the recognizer failed in onnxruntime ({type(error).__name__})") from error
        found: Floats = confidences
        return found

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.manifest.frames, self.manifest.bodies_per_sample, JOINTS, 3

    def _check_graph(self) -> None:
        wanted = [(INPUT, self._shape, "tensor(float)"), (OUTPUT, (len(self.manifest.classes),), "tensor(float)")]
        found = [
            (value.name, tuple(value.shape[1:]), value.type)
            for value in (*self._session.get_inputs(), *self._session.get_outputs())
        ]
        if found != wanted:
            raise BundleError(f"the recognizer's graph has {found}, but its manifest says {wanted}")


def to_json(manifest: RecognizerManifest) -> str:
    """The manifest as JSON, keys sorted, the same bytes every time."""
    return msgspec.json.encode(manifest, order="sorted").decode()


def _from_json(text: str) -> RecognizerManifest:
    try:
        version = msgspec.json.decode(text, type=dict[str, Any]).get("format")
        if version != FORMAT:
            raise BundleError(
                f"the recognizer has format {version!r:.20}; this skelanon reads {FORMAT}: install a matching one"
            )
        return msgspec.json.decode(text, type=RecognizerManifest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BundleError(f"the recognizer's manifest is not valid: {error}") from error
