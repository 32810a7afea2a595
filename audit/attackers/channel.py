"""One side channel alone: gradient boosting on its features."""

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from skelanon.audit.view import Floats, View

from .attacker import Attacker, Course, Lesson, Scores

_MANY_CLASSES: Final = 40
"""Boosting grows a tree for each in each round."""
_MANY_FEATURES: Final = 128
"""Of more, only the half of them is used that, each alone, tells most of what is learned from."""


class ChannelAttacker(Attacker):
    """Sees nothing but `view.channels[name]`."""

    kind: ClassVar[str] = "channel"
    at_once: ClassVar[bool] = True

    def __init__(self, name: str, seed: int) -> None:
        self._name, self._seed = name, seed
        self._model: HistGradientBoostingClassifier | HistGradientBoostingRegressor
        self._classes = 0

    def learn(self, lesson: Lesson) -> Course:
        self._classes = lesson.classes
        features = np.concatenate([lesson.train.channels[self._name], lesson.validation.channels[self._name]])
        targets = np.concatenate([lesson.train_targets, lesson.validation_targets])
        self._columns = _telling(features, targets, lesson.classes > 0)
        rounds = 200 if lesson.classes <= _MANY_CLASSES else 40
        kind = HistGradientBoostingClassifier if lesson.classes else HistGradientBoostingRegressor
        self._model = kind(max_iter=rounds, min_samples_leaf=5, max_leaf_nodes=15, random_state=self._seed)
        self._model.fit(features[:, self._columns], targets)
        return Course(converged=True, epochs=int(self._model.n_iter_))

    def tell(self, view: View) -> Scores:
        features = view.channels[self._name][:, self._columns]
        if not self._classes:
            return self._model.predict(features)[:, None].astype(np.float32)  # type: ignore[no-any-return]
        scores = np.full((len(view), self._classes), -30.0, np.float32)
        scores[:, self._model.classes_] = np.log(self._model.predict_proba(features) + 1e-9)
        return scores


def _telling(features: Floats, targets: NDArray[np.generic], classes: bool) -> NDArray[np.int64]:
    """Columns that are worth a look: all that vary, or of many those with the largest share of variance explained."""
    varying = np.flatnonzero(np.ptp(features, 0) > 0)
    if len(varying) <= _MANY_FEATURES:
        return varying if len(varying) else np.zeros(1, np.int64)
    x = features[:, varying].astype(np.float64)
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    if classes:
        of_class = np.unique(targets, return_inverse=True)[1]
        member = np.eye(of_class.max() + 1)[of_class]  # (N, classes)
        explained = np.square(member.T @ x / np.sqrt(member.sum(0))[:, None]).sum(0)
    else:
        explained = np.square((targets.astype(np.float64) - targets.astype(np.float64).mean()) @ x)
    most = np.argsort(-explained, kind="stable")[: _MANY_FEATURES // 2]
    return np.sort(varying[most])
