"""Made-up frames as values of a graph's inputs."""

from dataclasses import dataclass

import numpy as np

from .manifest import Manifest
from .runner import Floats


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Samples:
    """T frames of N tracks of P bodies, made up, to compare two implementations on.

    joints: (T, N, P, 25, 3) float32, metres, camera axes, zeros where absent. present: (T, N, P) float32.
    """

    joints: Floats
    present: Floats

    def tracks(self, number: int) -> "Samples":
        """The first tracks alone."""
        return Samples(self.joints[:, :number], self.present[:, :number])

    def scaled(self, factor: float) -> "Samples":
        """All coordinates times a factor."""
        return Samples(self.joints * np.float32(factor), self.present)

    def inputs(self, manifest: Manifest, frame: int) -> dict[str, Floats]:
        """What the graph takes for one frame of all tracks; the state is that of new tracks."""
        tracks = self.joints.shape[1]
        values = {
            "joints": self.joints[frame],
            "present": self.present[frame],
            "state": np.zeros((tracks, manifest.state_size), np.float32),
            "persona": np.random.default_rng(0).standard_normal((tracks, manifest.persona_size)).astype(np.float32),
        }
        return {name: np.ascontiguousarray(values[name]) for name in manifest.inputs}
