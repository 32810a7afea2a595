"""A whole audit of made-up persons, of whom it is known what gives them away."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.audit import Audit, AuditError, Auditor, Published, release, stamp
from skelanon.audit.jobs import Cache, Job
from skelanon.audit.publishing import release_key
from skelanon.configs.auditing import AuditSettings
from skelanon.export.bundle import default_bundle_path, read_bundle
from skelanon.sensors.frame import Joints
from skelanon.sensors.population import Activity, Person, motion, population
from skelanon.train.build import build_template
from skelanon.train.data.store import SkeletonDataset

Write = Callable[..., SkeletonDataset]
PERSONS, TRIALS, FRAMES = 3, 48, 12


def settings(dataset: SkeletonDataset, **changes: Any) -> AuditSettings:
    tree: dict[str, Any] = {
        "data": str(dataset.folder),
        "frames": 12,
        "inversion": False,
        "tasks": [
            {"name": "identity", "label": "subject", "split": {"by": "trial", "modulo": 2, "test": [1]}},
        ],
        "attackers": {"families": ["proportions", "tcn"], "seeds": [0], "patience": 6, "batch_size": 16},
    }
    return AuditSettings.model_validate({**tree, **changes})


def audited(dataset: SkeletonDataset, cache: Path, *releases: str, **changes: Any) -> Audit:
    return Auditor(settings(dataset, **changes), releases, cache).run(workers=1)


def score(audit: Audit, release: str) -> tuple[float, bool]:
    (found,) = (one for one in audit.findings if one.release == release)
    return found.score, found.told


def dataset_of(write: Write, people: list[Person], rng: np.random.Generator) -> SkeletonDataset:
    """Each person waves, often, each time from another moment on: clips of one person differ in phase alone."""
    rows = []
    for number, person in enumerate(people):
        for trial in range(TRIALS):
            times = rng.uniform(0, 10) + np.arange(FRAMES) / 10
            joints: Joints = motion(replace(person, phase=float(rng.uniform())), Activity.WAVE, times)
            rows.append((joints[:, None], {"subject": number, "trial": trial}))
    return write(*rows)


@pytest.fixture(scope="module")
def bodies_differ(write_dataset: Write) -> SkeletonDataset:
    """Style switched off: persons who move alike and differ in their bodies."""
    one, *others = population(1, PERSONS)
    people = [one, *(replace(one, lengths=other.lengths, stature_m=other.stature_m) for other in others)]
    return dataset_of(write_dataset, people, np.random.default_rng(0))


@pytest.fixture(scope="module")
def styles_differ(write_dataset: Write) -> SkeletonDataset:
    """Proportions switched off: persons with one and the same body, who lean and wave in their own ways."""
    one = population(1, 1)[0]
    people = [replace(one, lean=0.06 * i, cadence_hz=0.75 + 0.15 * i) for i in range(PERSONS)]
    return dataset_of(write_dataset, people, np.random.default_rng(0))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_template_hides_bodies_from_every_attacker(bodies_differ: SkeletonDataset, tmp_path: Path) -> None:
    """Standing on its feet, Template still moves its root as far as the raw body did: the channel is named."""
    centred = str(tmp_path / "centred.onnx")
    build_template(centred, "body_centred")
    found = audited(bodies_differ, tmp_path, "template", centred)
    assert not found.failed
    reached, told = score(found, "raw")
    assert told
    assert reached > 0.95
    (task,) = found.tasks
    adaptive = [one for one in found.attacks if one.release != "raw" and one.threat == "adaptive"]
    assert len(adaptive) == 4
    for attack in adaptive:
        assert attack.interval.low <= task.prior_interval.high
    assert not score(found, centred)[1]
    assert {one.name for one in found.channels if one.told and one.release == centred} == set()
    assert {one.name for one in found.channels if one.told and one.release == "template"} == {"place and stride"}
    _is_stamped(found, bodies_differ, Path(centred), tmp_path / "bundles")


def _is_stamped(found: Audit, dataset: SkeletonDataset, centred: Path, folder: Path) -> None:
    """Each bundle is written again with its verdict, is the same release, and is refused once another lies there."""
    template, other = stamp(found, dataset, folder)
    for name, file in (("template", template), (str(centred), other)):
        told = read_bundle(file).manifest.audit
        assert told is not None
        assert told["release_digest"] == found.releases[name] == release_key(str(file), dataset)
        assert told["private"][0]["told"] == (name == "template")
        assert told["channels_told"] == (["place and stride"] if name == "template" else [])
    shutil.copy(default_bundle_path(), centred)
    with pytest.raises(AuditError, match="has changed since it was audited"):
        stamp(found, dataset, folder)


class Timed(NamedTuple):
    """An audit, what it was said to take beforehand and what that took, in seconds; what is left afterwards."""

    audit: Audit
    said: float
    saying: float
    took: float
    left: float


@pytest.fixture(scope="module")
def of_styles(styles_differ: SkeletonDataset, tmp_path_factory: pytest.TempPathFactory) -> Timed:
    auditor = Auditor(settings(styles_differ), ["template"], tmp_path_factory.mktemp("styles"))
    begun = time.perf_counter()
    said = auditor.seconds()
    told = time.perf_counter()
    audit = auditor.run(workers=1)
    return Timed(audit, said, told - begun, time.perf_counter() - told, auditor.seconds())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_template_does_not_hide_style(of_styles: Timed) -> None:
    assert not of_styles.audit.failed
    reached, told = score(of_styles.audit, "template")
    assert told
    assert reached > 0.8


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_time_is_estimated_from_few_clips(of_styles: Timed) -> None:
    """It grows with what is to be done, and takes but a part of it."""
    assert of_styles.saying < of_styles.said
    assert 0.1 < of_styles.took / of_styles.said < 10
    assert of_styles.left == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_crippled_attackers_make_the_audit_fail(bodies_differ: SkeletonDataset, tmp_path: Path) -> None:
    crippled = {"families": ["proportions", "tcn"], "seeds": [0], "max_epochs": 1}
    found = audited(bodies_differ, tmp_path, "template", attackers=crippled)
    assert any("no attacker on whole clips of template" in reason for reason in found.failed)
    assert "tcn" in {one.family for one in found.weak}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_attackers_below_what_is_known_make_the_audit_fail(styles_differ: SkeletonDataset, tmp_path: Path) -> None:
    task = {"name": "identity", "label": "subject", "split": {"by": "trial", "modulo": 2, "test": [1]}}
    weak = {"families": ["proportions"], "seeds": [0]}  # of equal bodies it knows but the lean
    found = audited(styles_differ, tmp_path, tasks=[{**task, "known": 1.0}], attackers=weak)
    assert found.failed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_finished_is_not_done_again(
    bodies_differ: SkeletonDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weak = {"families": ["proportions"], "seeds": [0]}
    first = audited(bodies_differ, tmp_path, "template", attackers=weak)
    monkeypatch.setattr("skelanon.audit.jobs.create_attacker", None)
    monkeypatch.setattr("skelanon.audit.publishing.OnnxRuntimeCpu", None)
    assert not Auditor(settings(bodies_differ, attackers=weak), ["template"], tmp_path).waiting()
    assert audited(bodies_differ, tmp_path, "template", attackers=weak) == first


def test_attackers_learn_from_several_draws_of_noise_and_are_tried_on_one(
    bodies_differ: SkeletonDataset, tmp_path: Path
) -> None:
    attackers = {"families": ["proportions"], "seeds": [0], "draws": 3}
    auditor = Auditor(settings(bodies_differ, attackers=attackers), ["noise=0.05", "template"], tmp_path)
    drawn = [job for job in auditor.waiting() if isinstance(job, Job) and len(job.learn_on) > 1]
    assert {(len(job.learn_on), job.try_on) for job in drawn} == {(3, drawn[0].learn_on[:1])}
    assert len(list((tmp_path / "published").iterdir())) == 5  # raw and Template once, noise three times
    _, lesson = Cache(tmp_path).lesson(drawn[0])
    one, two, three = np.split(lesson.train.faced, 3)
    assert len(one) == len(drawn[0].exam.learn)
    assert np.abs(one - two).mean() > 0.02
    assert np.abs(two - three).mean() > 0.02
    assert lesson.draws == 3
    assert len(lesson.validation) == len(drawn[0].exam.validate)


def test_recognizers_of_template_are_tried_on_the_other_releases_as_they_are(
    bodies_differ: SkeletonDataset, tmp_path: Path
) -> None:
    task = {"label": "subject", "split": {"by": "trial", "modulo": 2, "test": [1]}}
    tasks = [task | {"name": "private"}, task | {"name": "useful", "use": "utility"}]
    weak = {"families": ["proportions"], "seeds": [0], "draws": 2}
    found = audited(bodies_differ, tmp_path, "template", "noise=0.05", tasks=tasks, attackers=weak)
    tried = {(one.task, one.release): one for one in found.attacks if one.threat == "from template"}
    assert set(tried) == {("useful", "noise=0.05")}
    learned = {(one.task, one.release, one.threat): one.scores for one in found.attacks}
    assert learned["useful", "noise=0.05", "adaptive"] > tried["useful", "noise=0.05"].scores


def test_a_damaged_result_is_named(bodies_differ: SkeletonDataset, tmp_path: Path) -> None:
    weak = {"families": ["proportions"], "seeds": [0]}
    audited(bodies_differ, tmp_path, attackers=weak)
    for file in (tmp_path / "scores").iterdir():
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(AuditError, match=r"is damaged .*: remove it, and run the audit again"):
        audited(bodies_differ, tmp_path, attackers=weak)


def test_an_audit_of_nothing_private_is_refused(bodies_differ: SkeletonDataset, tmp_path: Path) -> None:
    task = {"name": "it", "label": "subject", "use": "utility", "split": {"by": "trial", "test": [1]}}
    with pytest.raises(AuditError, match="nothing that is private"):
        Auditor(settings(bodies_differ, tasks=[task]), [], tmp_path)


def with_a_message(released: Published, channel: str, subjects: NDArray[np.int64]) -> Published:
    """A release that says who is who, but not by the pose."""
    who = np.repeat(subjects, np.diff(released.start))  # of each row
    if channel == "last bits":
        bits = released.joints.view(np.uint32) & np.uint32(0xFFFFFFFC) | who[:, None, None].astype(np.uint32)
        return replace(released, joints=bits.view(np.float32))
    if channel == "tracking states":
        tracking = released.tracking.copy()
        tracking[np.arange(len(who)), who] = 1
        return replace(released, tracking=tracking)
    if channel == "timestamps":
        frames = np.repeat(subjects, np.diff(released.frame_start))
        return replace(released, captured_ns=released.captured_ns // 10 * 10 + frames)
    if channel == "order":
        return with_a_bystander(released, who)
    return replace(released, id=(released.id // 4 * 4 + who).astype(np.uint32))


def with_a_bystander(released: Published, who: NDArray[np.int64]) -> Published:
    """In all frames but the first of each sequence a second body; which of the two comes first says who is who."""
    begins = np.isin(np.arange(len(who)), released.start[:-1])
    first = (who >> released.frame % 2 & 1) == 0  # even frames say one bit, odd ones another
    place = np.arange(len(who)) + np.cumsum(~begins) - (first & ~begins)  # of the body, among twice as many rows
    others = np.arange(len(who))[~begins]
    rows = np.empty(len(who) + len(others), np.int64)
    rows[place] = np.arange(len(who))
    beside = np.setdiff1d(np.arange(len(rows)), place)
    rows[beside] = others
    joints, ids = released.joints[rows], released.id[rows]
    joints[beside, :, 0] += 1.5
    ids[beside] += 1
    start = np.searchsorted(np.sort(place[begins]), np.arange(len(rows)), "right")  # sequence of each row, from 1 on
    return replace(
        released,
        joints=joints,
        id=ids,
        frame=released.frame[rows],
        tracking=released.tracking[rows],
        start=np.array([0, *np.cumsum(np.bincount(start - 1))]),
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hidden_messages_are_caught_by_the_name_of_their_channel(
    bodies_differ: SkeletonDataset, tmp_path: Path
) -> None:
    clean = release("template", bodies_differ)
    channels = ("last bits", "tracking states", "timestamps", "ids", "order")
    for channel in channels:
        with_a_message(clean, channel, bodies_differ.labels["subject"]).save(tmp_path / f"{channel}.npz")
    files = {str(tmp_path / f"{channel}.npz"): channel for channel in channels}
    weak = {"families": ["proportions"], "seeds": [0]}
    found = audited(bodies_differ, tmp_path / "cache", "template", *files, attackers=weak)
    for file, channel in files.items():
        caught = {one.name for one in found.channels if one.release == file and one.told}
        usual = {one.name for one in found.channels if one.release == "template" and one.told}
        assert caught - usual == {channel}
        (loud,) = (one for one in found.channels if one.release == file and one.name == channel)
        assert loud.score > 0.9


_SLEEPERS = """
import sys, time
from pathlib import Path
from skelanon.audit.jobs import Cache, run_jobs

class Sleeper:
    def __init__(self, name):
        self.name = name

    def finished(self, cache):
        return (cache.folder / self.name).exists()

    def run(self, cache):
        if self.name != "finished":
            (cache.folder / f"{self.name} begun").touch()
            time.sleep(600)
        (cache.folder / self.name).touch()

if __name__ == "__main__":
    run_jobs([Sleeper(name) for name in ("finished", "long", "longer", "longest")], Cache(Path(sys.argv[1])), 2)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C as a terminal of Unix sends it")
def test_ctrl_c_does_not_wait_for_attackers_that_learn_for_hours(tmp_path: Path) -> None:
    script, folder = tmp_path / "sleepers.py", tmp_path / "cache"
    script.write_text(_SLEEPERS)
    process = subprocess.Popen([sys.executable, str(script), str(folder)], start_new_session=True, stderr=-1, text=True)
    try:
        deadline = time.monotonic() + 60
        while not ((folder / "long begun").exists() and (folder / "longer begun").exists()):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode in (1, -signal.SIGINT)
    assert "KeyboardInterrupt" in errors
    assert (folder / "finished").exists()
    assert not (folder / "longest begun").exists()
