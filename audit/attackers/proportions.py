"""Body proportions alone: gradient boosting on quantiles of bone lengths and heights over a sequence."""

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from skelanon.audit.view import View
from skelanon.sensors.body import difference_matrix
from skelanon.sensors.joints import BONES

from .attacker import Attacker, Course, Lesson, Scores

_QUANTILES: Final = (0.1, 0.5, 0.9)
_MANY: Final = 40
"""Classes; boosting grows a tree for each in each round."""


class ProportionsAttacker(Attacker):
    """Knows nothing of motion: only how long bones are and how high the body is, over the whole sequence."""

    kind: ClassVar[str] = "proportions"
    at_once: ClassVar[bool] = True

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._model: HistGradientBoostingClassifier | HistGradientBoostingRegressor
        self._classes = 0

    def learn(self, lesson: Lesson) -> Course:
        self._classes = lesson.classes
        rounds = 200 if lesson.classes <= _MANY else 40
        kind = HistGradientBoostingClassifier if lesson.classes else HistGradientBoostingRegressor
        self._model = kind(max_iter=rounds, min_samples_leaf=5, max_leaf_nodes=15, random_state=self._seed)
        self._model.fit(
            np.concatenate([proportions(lesson.train), proportions(lesson.validation)]),
            np.concatenate([lesson.train_targets, lesson.validation_targets]),
        )
        return Course(converged=True, epochs=int(self._model.n_iter_))

    def tell(self, view: View) -> Scores:
        features = proportions(view)
        if not self._classes:
            return self._model.predict(features)[:, None].astype(np.float32)  # type: ignore[no-any-return]
        scores = np.full((len(view), self._classes), -30.0, np.float32)
        scores[:, self._model.classes_] = np.log(self._model.predict_proba(features) + 1e-9)
        return scores


def proportions(view: View) -> NDArray[np.float32]:
    """(N, features): quantiles over time of 24 bone lengths, of the extent along each axis, and of the root's place."""
    bones = np.einsum("bj,ntjc->ntbc", difference_matrix()[list(BONES)].astype(np.float32), view.faced)
    extent = view.faced.max(2) - view.faced.min(2)  # (N, T, 3)
    series = np.concatenate([np.linalg.norm(bones, axis=3), extent, view.place], 2)
    quantiles = np.quantile(series, _QUANTILES, axis=1)  # (Q, N, 30)
    return np.concatenate([*quantiles, series.std(1)], 1).astype(np.float32)
