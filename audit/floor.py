"""What is told of a person without any skeleton: by what was done, and for how long.

A release in which actions are recognised tells at least this much, by how long it is, whatever it does with poses.
Where bodies are published for whole slots of frames, their number tells less.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from .exam import Exam
from .plan import Plan
from .published import Published
from .results import RAW, Floor
from .statistics import bootstrap_maximum

_TREES: Final = 400
_SEEDS: Final = range(3)

Doubles = NDArray[np.float64]


def floors(plan: Plan, published: Mapping[str, Published]) -> Iterator[Floor]:
    """One for each release and private task with classes, where the settings also have a useful label with classes."""
    labels = [exam.task.label for exam in plan.exams if exam.task.use == "utility" and exam.classes]
    private = [exam for exam in plan.exams if labels and exam.task.use == "private" and exam.classes]
    for exam in private:
        known: dict[bytes, Floor] = {}  # of releases that are as long
        for name, shown in published.items():
            frames = np.diff(shown.frame_start)
            if frames.tobytes() not in known:
                known[frames.tobytes()] = _floor(exam, labels[0], _features(plan, labels[0], frames))
            yield replace(known[frames.tobytes()], release=name)


def _features(plan: Plan, label: str, frames: NDArray[np.int64]) -> Doubles:
    """(N, classes + 1): what is done, as it is known to whoever recognises it without an error, and how many frames."""
    values = np.unique(plan.dataset.labels[label], return_inverse=True)[1]
    return np.column_stack([np.eye(values.max() + 1)[values], frames])


def _floor(exam: Exam, label: str, features: Doubles) -> Floor:
    """By a forest and by boosting, whichever tells more."""
    learn = np.concatenate([exam.learn, exam.validate])
    marks = []
    for kind, settings in (
        (ExtraTreesClassifier, {"n_estimators": _TREES, "min_samples_leaf": 2}),
        (HistGradientBoostingClassifier, {"max_iter": 100, "min_samples_leaf": 5}),
    ):
        told = [
            kind(**settings, random_state=seed).fit(features[learn], exam.targets[learn]).predict(features[exam.test])
            for seed in _SEEDS
        ]
        marks.append(np.mean([one == exam.targets[exam.test] for one in told], 0))
    interval = bootstrap_maximum(np.stack(marks), exam.persons[exam.test])
    return Floor(
        release=RAW, task=exam.task.name, label=label, score=float(np.max(np.mean(marks, 1))), interval=interval
    )
