"""Words and places in the audit's report: labels that can be read, names and numbers that do not mislead."""

from itertools import combinations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")
pytest.importorskip("jinja2", reason="needs skelanon[train]")

from skelanon.audit.report.charts import Box, place_labels
from skelanon.audit.report.words import percent, short_names


@pytest.mark.parametrize("seed", range(5))
def test_labels_do_not_overlap_where_points_lie_close(seed: int) -> None:
    random = np.random.default_rng(seed)
    places = [(float(x), float(y)) for x, y in random.uniform((330, 40), (408, 110), (8, 2))]
    names = ["raw", "template", "noise=0.05", "noise=0.1", "noise=1", "runs/a/model.onnx", "model.onnx", "released.npz"]
    ends = [(x - 20, min(408.0, x + 20)) for x, _ in places]
    boxes = place_labels(names, places, ends, [(y + 15, y - 15) for _, y in places], Box(48, 250, 110, 265))
    assert all(one.shared(other) == 0 for one, other in combinations(boxes, 2))
    assert all(box.x0 >= 48 and box.x1 <= 420 and box.y0 >= 0 and box.y1 <= 306 for box in boxes)


def test_short_names_tell_paths_apart() -> None:
    assert short_names(["runs/a/model.onnx", "runs/b/model.onnx", "template"]) == {
        "runs/a/model.onnx": "a/model.onnx", "runs/b/model.onnx": "b/model.onnx", "template": "template",
    }  # fmt: skip
    long = short_names(["x" * 90])["x" * 90]
    assert len(long) == 24
    assert "…" in long


def test_percentages_do_not_round_to_all_or_nothing() -> None:
    shares = (0, 0.0001, 0.004, 0.125, 0.905, 0.995, 0.9999, 1, -0.1)
    assert " ".join(map(percent, shares)).replace("\u00a0%", "") == "0 <0.1 0.4 13 91 99.5 >99.9 100 −10"
