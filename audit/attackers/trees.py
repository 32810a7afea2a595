"""Attackers that grow trees on a few numbers of each sequence."""

from abc import abstractmethod
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from skelanon.audit.view import Floats, View

from .attacker import Attacker, Course, Lesson, Scores

_MANY: Final = 40
"""Classes; boosting grows a tree for each in each round."""


class TreesAttacker(Attacker):
    """Learns from all its sequences, those for validation too: trees need no epochs. Gradient boosting by default."""

    at_once: ClassVar[bool] = True

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._classes = 0
        self._columns: NDArray[np.int64]
        self._model: Any  # of scikit-learn

    @abstractmethod
    def features(self, view: View) -> Floats:
        """(N, F) numbers of each sequence."""

    def columns(self, features: Floats, targets: NDArray[np.generic]) -> NDArray[np.int64]:
        """Which of them to look at: all."""
        return np.arange(features.shape[1])

    def model(self, classes: int) -> Any:
        """A model of scikit-learn that has learned nothing; it estimates numbers where there are no classes."""
        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        rounds = 200 if classes <= _MANY else 40
        return kind(max_iter=rounds, min_samples_leaf=5, max_leaf_nodes=15, random_state=self._seed)

    def learn(self, lesson: Lesson) -> Course:
        self._classes = lesson.classes
        features = np.concatenate([self.features(lesson.train), self.features(lesson.validation)])
        targets = np.concatenate([lesson.train_targets, lesson.validation_targets])
        self._columns = self.columns(features, targets)
        self._model = self.model(lesson.classes).fit(features[:, self._columns], targets)
        rounds = self._model.n_iter_ if hasattr(self._model, "n_iter_") else len(self._model)
        return Course(converged=True, epochs=int(rounds))

    def tell(self, view: View) -> Scores:
        features = self.features(view)[:, self._columns]
        if not self._classes:
            return self._model.predict(features)[:, None].astype(np.float32)  # type: ignore[no-any-return]
        scores = np.full((len(view), self._classes), -30.0, np.float32)
        scores[:, self._model.classes_] = np.log(self._model.predict_proba(features) + 1e-9)
        return scores
