"""The manifest: what a bundle says of itself, as JSON in the metadata of its ONNX file."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from skelanon.sensors.joints import JOINTS, LAYOUT

from .errors import BundleError

FORMAT: Final = 1
"""Version of the bundle format that this code writes, and the newest that it reads."""

Precision = Literal["float32", "float16"]
Axes = Literal["camera", "normalised"]
Root = Literal["foot_anchored", "body_centred", "keep", "model"]


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle is and how it is to be called.

    Graph inputs, all float32: joints [N, P, 25, 3]; present [N, P] when P = 2; state [N, S] when S > 0;
    persona [N, K] when K > 0. Outputs: joints [N, P, 25, 3]; state [N, S] when S > 0.
    """

    format: int = FORMAT
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}\Z")]
    anonymizer: Annotated[str, Meta(max_length=64)]
    """Family of the model: `template`, `residual`, ..."""
    layout: Literal["kinect-v2-25"] = LAYOUT
    bodies_per_sample: Literal[1, 2]
    """P: 1, or 2 for models that see two bodies together."""
    state_size: Annotated[int, Meta(ge=0, le=65536)] = 0
    """S: numbers carried from frame to frame; zeros start a new track."""
    persona_size: Annotated[int, Meta(ge=0, le=65536)] = 0
    """K: random numbers drawn once per session."""
    axes: Axes
    """`camera`: metres in the sensor's axes; `normalised`: metres, root-centred and rotated by the model."""
    root: Root
    """foot_anchored: lowest foot at its raw height; body_centred: at the origin; keep: raw; model: moved by it."""
    precision: Precision = "float32"
    """Of the network's weights and sums; inputs, outputs, state and normalisation are always float32."""
    parity_tolerance_m: Annotated[float, Meta(gt=0, le=0.01)]
    """Largest difference between torch and ONNX Runtime that the export let pass, metres."""
    bits_per_frame: Annotated[float, Meta(gt=0)] | None = None
    """The most that what is published carries for each frame, on average, whoever looks; null: no such bound."""
    presence_frames: Annotated[int, Meta(ge=0, le=3600)] = 0
    """A body is published for a multiple of so many frames, however long it was there; 0: as long as it is there."""
    provenance: dict[str, Any] = {}
    """How the model came about: config, data, seed, package versions."""
    data_licence: Annotated[str, Meta(max_length=200)] = "none: no training data"
    audit: dict[str, Any] | None = None
    """Summary of `skelanon audit`; null: not audited."""

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each graph input, in order, without the leading N."""
        shapes: dict[str, tuple[int, ...]] = {"joints": (self.bodies_per_sample, JOINTS, 3)}
        if self.bodies_per_sample > 1:
            shapes["present"] = (self.bodies_per_sample,)
        if self.state_size:
            shapes["state"] = (self.state_size,)
        if self.persona_size:
            shapes["persona"] = (self.persona_size,)
        return shapes

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each graph output, in order, without the leading N.

        An output that would share its name with an input is called `next_state`.
        """
        shapes: dict[str, tuple[int, ...]] = {"anonymous": (self.bodies_per_sample, JOINTS, 3)}
        if self.state_size:
            shapes["next_state"] = (self.state_size,)
        return shapes


def manifest_to_json(manifest: Manifest) -> str:
    """The manifest as JSON, keys sorted, the same bytes every time."""
    return msgspec.json.encode(manifest, order="sorted").decode()


def manifest_from_json(text: str) -> Manifest:
    """Parse a manifest. Raises BundleError for another format version or any wrong value."""
    try:
        version = msgspec.json.decode(text, type=dict[str, Any]).get("format")
        if version != FORMAT:
            raise BundleError(
                f"the bundle has format {version!r:.20}; this skelanon reads format {FORMAT}: install a matching one"
            )
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BundleError(f"the bundle's manifest is not valid: {error}") from error
