"""How posture and motion are spread over a whole sequence: a forest of extremely randomised trees.

A forest needs few sequences to learn from and finds small regularities that networks miss.
"""

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from skelanon.audit.view import View
from skelanon.sensors.joints import ROOT

from .attacker import Attacker, Course, Lesson, Scores

_TREES: Final = 400
_QUANTILES: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_PARTS: Final = 3
"""Beginning, middle and end."""


class StatisticsAttacker(Attacker):
    """Knows which positions each joint takes, how often and how fast, in which third, and where the body is."""

    kind: ClassVar[str] = "statistics"
    at_once: ClassVar[bool] = True

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._model: ExtraTreesClassifier | ExtraTreesRegressor
        self._classes = 0

    def learn(self, lesson: Lesson) -> Course:
        self._classes = lesson.classes
        kind = ExtraTreesClassifier if lesson.classes else ExtraTreesRegressor
        self._model = kind(_TREES, min_samples_leaf=2, max_features="sqrt", random_state=self._seed)
        self._model.fit(
            np.concatenate([statistics(lesson.train), statistics(lesson.validation)]),
            np.concatenate([lesson.train_targets, lesson.validation_targets]),
        )
        return Course(converged=True, epochs=_TREES)

    def tell(self, view: View) -> Scores:
        features = statistics(view)
        if not self._classes:
            return self._model.predict(features)[:, None].astype(np.float32)  # type: ignore[no-any-return]
        scores = np.full((len(view), self._classes), -30.0, np.float32)
        scores[:, self._model.classes_] = np.log(self._model.predict_proba(features) + 1e-9)
        return scores


def statistics(view: View) -> NDArray[np.float32]:
    """(N, features): of 72 coordinates about SpineBase and 3 of SpineBase itself, quantiles over time, spread, mean and
    greatest change from frame to frame, and means of each third.
    """
    pose = np.delete(view.faced - view.faced[:, :, [ROOT]], ROOT, 2).reshape(*view.faced.shape[:2], -1)
    series = np.concatenate([pose, view.place], 2)  # (N, T, 75)
    changes = np.abs(np.diff(series, axis=1))
    thirds = [part.mean(1) for part in np.array_split(series, _PARTS, axis=1)]
    features = [*np.quantile(series, _QUANTILES, axis=1), series.std(1), changes.mean(1), changes.max(1), *thirds]
    return np.concatenate(features, 1).astype(np.float32)
