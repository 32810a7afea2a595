"""What action and duration tell together, without a skeleton."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.audit.floor import floors
from skelanon.audit.plan import plan
from skelanon.audit.published import Published
from skelanon.audit.publishing import publish, release
from skelanon.audit.view import Floats
from skelanon.configs.auditing import AuditSettings
from skelanon.export.runner import Runner
from skelanon.train.data.store import SkeletonDataset

Write = Callable[..., SkeletonDataset]
IDENTITY = {"name": "identity", "label": "subject", "split": {"by": "trial", "modulo": 2, "test": [1]}}
ACTION = {**IDENTITY, "name": "action", "label": "action", "use": "utility"}


def dataset_of(write: Write, duration: Callable[[int, int], int]) -> SkeletonDataset:
    """Everybody stands still, each person and action for some time; no two sequences are equal."""
    bodies = np.random.default_rng(0)

    def still(frames: int) -> Floats:
        body = 0.1 * bodies.standard_normal((1, 1, 25, 3)) + (0, 0, 3)
        return np.repeat(body.astype(np.float32), frames, 0)

    return write(
        *(
            (still(duration(person, action)), {"subject": person, "action": action, "trial": trial})
            for person in range(2)
            for action in range(2)
            for trial in range(20)
        )
    )


def found(dataset: SkeletonDataset, *tasks: dict[str, Any], **releases: Published) -> list[tuple[str, str, str, float]]:
    """Of raw skeletons, and of releases."""
    attackers = {"families": ["tcn"], "seeds": [0]}
    settings = AuditSettings.model_validate({"data": str(dataset.folder), "tasks": [*tasks], "attackers": attackers})
    published = {"raw": release("raw", dataset)} | releases
    work = plan(settings, dataset, {name: (name,) for name in published})
    return [(one.release, one.task, one.label, one.score) for one in floors(work, published)]


def test_neither_tells_alone_what_both_do(write_dataset: Write) -> None:
    crosswise = dataset_of(write_dataset, lambda person, action: 40 if person == action else 20)
    assert found(crosswise, IDENTITY, ACTION) == [("raw", "identity", "action", 1.0)]


def test_equal_durations_tell_nothing(write_dataset: Write) -> None:
    ((_, _, _, score),) = found(dataset_of(write_dataset, lambda person, action: 20), IDENTITY, ACTION)
    assert score == pytest.approx(0.5, abs=0.2)


def test_without_a_useful_label_nothing_is_said(write_dataset: Write) -> None:
    assert not found(dataset_of(write_dataset, lambda person, action: 20), IDENTITY)


def test_of_bodies_that_are_published_for_whole_slots_less_is_told(
    write_dataset: Write, scripted_runner: Callable[..., Runner]
) -> None:
    crosswise = dataset_of(write_dataset, lambda person, action: 40 if person == action else 20)
    raw, slots = found(crosswise, IDENTITY, ACTION, slots=publish(crosswise, scripted_runner(presence_frames=48)))
    assert raw == ("raw", "identity", "action", 1.0)
    assert slots[:3] == ("slots", "identity", "action")
    assert slots[3] == pytest.approx(0.5, abs=0.2)
