"""How long the rest will take, whatever the rest is."""

from pathlib import Path
from typing import cast

import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.audit import estimate
from skelanon.audit.estimate import estimate_s
from skelanon.audit.jobs import Cache, Job, Work


class Other:
    """Links or inverts."""

    def finished(self, cache: Cache) -> bool:
        return False

    def run(self, cache: Cache) -> None: ...


def job(family: str) -> Job:
    """Of which no more is asked than its family and its task's name."""
    made = object.__new__(Job)
    task = type("Task", (), {"name": "identity"})
    for name, value in {"family": family, "exam": type("Exam", (), {"task": task})}.items():
        object.__setattr__(made, name, value)
    return made


def test_linking_takes_as_long_as_networks_even_where_only_a_forest_waits_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(estimate, "_seconds", lambda job, cache: {"tcn": 100.0, "statistics": 2.0}[job.family])
    forest, network, cache = job("statistics"), job("tcn"), Cache(tmp_path)
    everything = cast(list[Work], [network, forest, Other(), Other()])
    assert estimate_s([forest, *everything[2:]], everything, cache) == 2 + 2 * 200
    assert estimate_s([forest], everything, cache) == 2
    assert estimate_s(everything, everything, cache) == 102 + 2 * 200
    assert estimate_s([], everything, cache) == 0
