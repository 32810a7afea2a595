"""Body proportions alone: gradient boosting on quantiles of bone lengths and heights over a sequence."""

from typing import ClassVar, Final

import numpy as np

from skelanon.audit.view import Floats, View
from skelanon.sensors.body import difference_matrix
from skelanon.sensors.joints import BONES

from .trees import TreesAttacker

_QUANTILES: Final = (0.1, 0.5, 0.9)


class ProportionsAttacker(TreesAttacker):
    """Knows nothing of motion: only how long bones are and how high the body is, over the whole sequence."""

    kind: ClassVar[str] = "proportions"

    def features(self, view: View) -> Floats:
        return proportions(view)


def proportions(view: View) -> Floats:
    """(N, features): quantiles over time of 24 bone lengths, of the extent along each axis, and of the root's place."""
    bones = np.einsum("bj,ntjc->ntbc", difference_matrix()[list(BONES)].astype(np.float32), view.faced)
    extent = view.faced.max(2) - view.faced.min(2)  # (N, T, 3)
    series = np.concatenate([np.linalg.norm(bones, axis=3), extent, view.place], 2)
    quantiles = np.quantile(series, _QUANTILES, axis=1)  # (Q, N, 30)
    return np.concatenate([*quantiles, series.std(1)], 1).astype(np.float32)
