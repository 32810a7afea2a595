"""What action and duration tell together, without a skeleton."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.audit.floor import floors
from skelanon.audit.plan import plan
from skelanon.audit.view import Floats
from skelanon.configs.auditing import AuditSettings
from skelanon.train.data.store import SkeletonDataset

Write = Callable[..., SkeletonDataset]
IDENTITY = {"name": "identity", "label": "subject", "split": {"by": "trial", "modulo": 2, "test": [1]}}
ACTION = {**IDENTITY, "name": "action", "label": "action", "use": "utility"}


def dataset_of(write: Write, duration: Callable[[int, int], int]) -> SkeletonDataset:
    """Everybody stands still, each person and action for some time; no two sequences are equal."""
    bodies = np.random.default_rng(0)

    def still(frames: int) -> Floats:
        return np.repeat(bodies.standard_normal((1, 1, 25, 3)).astype(np.float32), frames, 0)

    return write(
        *(
            (still(duration(person, action)), {"subject": person, "action": action, "trial": trial})
            for person in range(2)
            for action in range(2)
            for trial in range(20)
        )
    )


def found(dataset: SkeletonDataset, *tasks: dict[str, Any]) -> list[tuple[str, str, float]]:
    attackers = {"families": ["tcn"], "seeds": [0]}
    settings = AuditSettings.model_validate({"data": str(dataset.folder), "tasks": [*tasks], "attackers": attackers})
    return [(one.task, one.label, one.score) for one in floors(plan(settings, dataset, {"raw": ("key",)}))]


def test_neither_tells_alone_what_both_do(write_dataset: Write) -> None:
    crosswise = dataset_of(write_dataset, lambda person, action: 40 if person == action else 20)
    assert found(crosswise, IDENTITY, ACTION) == [("identity", "action", 1.0)]


def test_equal_durations_tell_nothing(write_dataset: Write) -> None:
    ((_, _, score),) = found(dataset_of(write_dataset, lambda person, action: 20), IDENTITY, ACTION)
    assert score == pytest.approx(0.5, abs=0.2)


def test_without_a_useful_label_nothing_is_said(write_dataset: Write) -> None:
    assert not found(dataset_of(write_dataset, lambda person, action: 20), IDENTITY)
