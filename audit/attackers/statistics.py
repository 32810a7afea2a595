"""How posture and motion are spread over a whole sequence: a forest of extremely randomised trees.

A forest needs few sequences to learn from and finds small regularities that networks miss.
"""

from typing import Any, ClassVar, Final

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from skelanon.audit.view import Floats, View
from skelanon.sensors.joints import ROOT

from .trees import TreesAttacker

_TREES: Final = 400
_QUANTILES: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_PARTS: Final = 3
"""Beginning, middle and end."""


class StatisticsAttacker(TreesAttacker):
    """Knows which positions each joint takes, how often and how fast, in which third, and where the body is."""

    kind: ClassVar[str] = "statistics"

    def features(self, view: View) -> Floats:
        return statistics(view)

    def model(self, classes: int) -> Any:
        kind = ExtraTreesClassifier if classes else ExtraTreesRegressor
        return kind(_TREES, min_samples_leaf=2, max_features="sqrt", random_state=self._seed)


def statistics(view: View) -> Floats:
    """(N, features): of 72 coordinates about SpineBase and 3 of SpineBase itself, quantiles over time, spread, mean and
    greatest change from frame to frame, and means of each third.
    """
    pose = np.delete(view.faced - view.faced[:, :, [ROOT]], ROOT, 2).reshape(*view.faced.shape[:2], -1)
    series = np.concatenate([pose, view.place], 2)  # (N, T, 75)
    changes = np.abs(np.diff(series, axis=1))
    thirds = [part.mean(1) for part in np.array_split(series, _PARTS, axis=1)]
    features = [*np.quantile(series, _QUANTILES, axis=1), series.std(1), changes.mean(1), changes.max(1), *thirds]
    return np.concatenate(features, 1).astype(np.float32)
