"""Who learns on what: nothing tried is learned, classes and persons are divided as they must be."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.audit.errors import AuditError
from skelanon.audit.exam import Exam, prepare
from skelanon.configs.auditing import AttackerSettings, TaskSettings
from skelanon.train.data.store import SkeletonDataset

Write = Callable[..., SkeletonDataset]
ATTACKERS = AttackerSettings(families=["tcn"], seeds=[0], validation=0.25)


def task(label: str = "subject", **by: Any) -> TaskSettings:
    return TaskSettings.model_validate({"name": "it", "label": label, "split": {"by": "trial", "test": [3], **by}})


@pytest.fixture(scope="module")
def dataset(write_dataset: Write) -> SkeletonDataset:
    """Four persons, two actions, four trials; gender of person 3 unknown."""
    rng = np.random.default_rng(0)
    rows = [
        {"subject": s, "action": a, "trial": t, "gender": -1 if s == 3 else s % 2}
        for s in range(4) for a in range(2) for t in range(4)
    ]  # fmt: skip
    return write_dataset(*((rng.normal(size=(3, 1, 25, 3)).astype(np.float32), row) for row in rows))


def prepared(dataset: SkeletonDataset, settings: TaskSettings) -> Exam:
    return prepare(dataset, settings, "subject", ATTACKERS)


def test_learning_validation_and_trying_share_nothing(dataset: SkeletonDataset) -> None:
    exam = prepared(dataset, task())
    assert set(dataset.labels["trial"][exam.test]) == {3}
    assert len(exam.test) == 8
    assert len(exam.learn) + len(exam.validate) == 24
    assert not set(exam.learn) & set(exam.validate)
    assert 3 not in dataset.labels["trial"][np.concatenate([exam.learn, exam.validate])]


def test_a_share_of_each_class_is_kept_for_validation(dataset: SkeletonDataset) -> None:
    exam = prepared(dataset, task())
    assert np.bincount(exam.targets[exam.validate].astype(int)).tolist() == [2, 2, 2, 2]  # a quarter of six, rounded


def test_where_persons_are_unseen_those_of_the_validation_are_too(dataset: SkeletonDataset) -> None:
    exam = prepared(dataset, task("action", by="subject", test=[0]))
    learned, kept = (set(exam.persons[part].tolist()) for part in (exam.learn, exam.validate))
    assert learned | kept == {1, 2, 3}
    assert not learned & kept
    assert kept


def test_unknown_labels_are_neither_learned_nor_tried(dataset: SkeletonDataset) -> None:
    exam = prepared(dataset, task("gender"))
    everyone = np.concatenate([exam.learn, exam.validate, exam.test])
    assert set(exam.persons[everyone].tolist()) == {0, 1, 2}
    assert exam.classes == (0, 1)


def test_guessing_gets_the_most_frequent_class_tried(dataset: SkeletonDataset) -> None:
    assert prepared(dataset, task("gender")).prior == pytest.approx(2 / 3)


def test_classes_that_nobody_learned_are_counted_and_not_tried(write_dataset: Write) -> None:
    rng = np.random.default_rng(0)
    labels = [(0, 0), (0, 0), (1, 0), (1, 0), (0, 1), (1, 1), (2, 1), (2, 1)]  # nobody has learned subject 2
    rows = [(rng.normal(size=(3, 1, 25, 3)).astype(np.float32), {"subject": s, "trial": t}) for s, t in labels]
    exam = prepared(write_dataset(*rows), task(test=[1]))
    assert exam.unseen == 2
    assert exam.test.tolist() == [4, 5]
    assert exam.classes == (0, 1)


def test_copies_across_the_split_are_not_learned(write_dataset: Write) -> None:
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(2, 8, 3, 1, 25, 3)).astype(np.float32)
    joints[0, 0] = joints[1, 3]
    rows = [(joints[t, i], {"subject": i % 2, "trial": t}) for t in range(2) for i in range(8)]
    exam = prepared(write_dataset(*rows), task(test=[1]))
    assert exam.duplicates == 1
    assert 0 not in np.concatenate([exam.learn, exam.validate])


def test_wrong_tasks_are_refused_by_name(dataset: SkeletonDataset) -> None:
    for settings, message in (
        (task("age"), "no label `age`"),
        (task(by="view"), "'view'"),
        (task(test=[9]), "no sequence"),
        (task("subject", by="subject", test=[0, 1], train=[2]), "nothing to tell apart"),
    ):
        with pytest.raises(AuditError, match=message):
            prepared(dataset, settings)
