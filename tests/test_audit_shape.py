"""How smooth a release is, and what it withholds, frame by frame."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.audit import Published, publish, release
from skelanon.audit.results import Shape
from skelanon.audit.shape import shape
from skelanon.audit.view import view
from skelanon.sensors.population import Activity, motion, population
from skelanon.train.data.store import SkeletonDataset


@pytest.fixture
def dataset(write_dataset: Callable[..., SkeletonDataset]) -> SkeletonDataset:
    """Two people who walk for 30 and for 50 frames."""
    people = zip(population(3, 2), (30, 50), strict=True)
    walks = [motion(one, Activity.WALK, np.arange(frames) / 30)[:, None] for one, frames in people]
    return write_dataset(*((walk, {"subject": number}) for number, walk in enumerate(walks)))


def shape_of(dataset: SkeletonDataset, released: Published) -> Shape:
    raw = release("raw", dataset)
    return shape(
        "released", view(raw, 16), view(released, 16), raw, released, dataset.info.measured, dataset.labels["subject"]
    )


def test_bodies_that_stay_are_neither_withheld_less_nor_rougher(
    dataset: SkeletonDataset, scripted_runner: Callable[..., Any]
) -> None:
    found = shape_of(dataset, publish(dataset, scripted_runner(presence_frames=10)))  # no frame is added
    assert found.withheld == 0
    assert found.jerk == pytest.approx(0.9, abs=1e-3)  # the stand-in makes everybody a tenth smaller
    longer = shape_of(dataset, publish(dataset, scripted_runner(presence_frames=40)))  # 40 and 80 frames
    assert longer.withheld == 0
    assert longer.jerk == pytest.approx(0.9, abs=0.2)  # a sudden halt, and then they stand still


def test_a_body_that_a_model_loses_now_and_then_is_withheld(
    dataset: SkeletonDataset, scripted_runner: Callable[..., Any]
) -> None:
    calls: Iterator[int] = iter(range(1000))

    def every_other(joints: np.ndarray) -> np.ndarray:
        made = joints * np.float32(0.9)
        made[[next(calls) % 2 == 1 for _ in joints]] = np.nan
        return made

    assert shape_of(dataset, publish(dataset, scripted_runner(every_other))).withheld == 0.5
    assert shape_of(dataset, publish(dataset, scripted_runner(lambda joints: joints))).withheld == 1
