"""The tutorial, from made-up recordings to actions recognised live: every command of it, with less to learn from."""

from __future__ import annotations

import importlib.util
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

from typer.testing import CliRunner

from skelanon.cli.main import app
from skelanon.configs import check
from skelanon.export.recognizer import Recognizer
from skelanon.sensors.population import Activity, motion, population
from skelanon.stream import Node, ReceivedFrame, Subscriber, create_node
from skelanon.train.data.clips import clip
from skelanon.train.data.store import SkeletonDataset
from skelanon.train.errors import CheckpointError, DataError
from skelanon.train.recognizer import build_recognizer
from skelanon.train.trained import load_classifier

if TYPE_CHECKING:
    from tests.conftest import RawNode

RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "recognize"
PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
REAL = "## The same with real recordings"

SHORTER = {"--subjects 20": "--subjects 4", "--trials 4": "--trials 2"}
"""In the tests there are fewer people,"""
LESS = ["data.split.test=[4]", "trainer.epochs=2", "optimizer.milestones=[1]", "trainer.batch_size=8"]
"""and less training."""
LIVE = {"run", "replay"}
"""Commands that go on until they are stopped: they have tests of their own."""


def lines(text: str) -> list[str]:
    """The lines of a text's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line for line in re.sub(r"\\\n\s*", "", "".join(blocks)).splitlines() if line]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which chapters 2 and 3 were followed."""
    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in lines(PAGE.partition(REAL)[0]):
            if not line.startswith("skelanon ") or line.split()[1] in LIVE:
                continue
            for longer, shorter in SHORTER.items():
                line = line.replace(longer, shorter)
            less = [word for setting in LESS for word in ("--set", setting)] if " train " in line else []
            done = CliRunner().invoke(app, [*shlex.split(line)[1:], *less])
            assert done.exit_code == 0, (line, done.output, done.exception)
    return folder


def test_the_tutorial_is_the_one_that_is_tested() -> None:
    main, real = (lines(part) for part in PAGE.split(REAL))
    assert [line for line in main if not line.startswith("skelanon ")] == [
        "make demo",
        "python3 -m venv venv",
        ". venv/bin/activate",
        'pip install -c constraints.txt ".[cpu,train]"',
        "python examples/recognize/recognize.py recognizer.onnx",
        'python examples/recognize/accuracy.py recognizer.onnx recordings --only "P0(17|18|19|20)"',
    ]
    assert [shlex.split(line)[1] for line in main if line.startswith("skelanon ")] == [
        "dataset", "dataset", "dataset", "train", "export", "run", "replay",
    ]  # fmt: skip
    assert [line.split()[1] for line in real[:5]] == ["dataset", "dataset", "train", "export", "replay"]
    assert all(" ".join(words) in PAGE for words in (("--subjects", "20"), ("--trials", "4")))


def test_the_recognizer_is_one_of_what_was_published(tutorial: Path) -> None:
    about = Recognizer(tutorial / "recognizer.onnx").manifest
    info = SkeletonDataset(tutorial / "datasets" / "published").info
    assert info.published is not None
    assert about.model_sha256 == info.published.sha256
    assert about.names == ("wave", "walk", "sit", "fall", "stand")
    assert (about.classes, about.rate_hz, about.seconds) == ((1, 2, 3, 4, 5), 30, 2)
    assert about.provenance["data"]["fingerprint"] == info.fingerprint
    assert str(tutorial) not in str(about)
    assert "datasets" not in str(about)


def test_a_recognizer_is_exported_of_the_data_that_it_was_trained_on(
    tutorial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = str(tutorial / "runs" / "tutorial" / "recognizer"), str(tmp_path / "out.onnx")
    done = CliRunner().invoke(app, ["export", run, "--out", out, "--axes", "camera"])
    assert done.exit_code == 2
    assert "is a classifier: --axes" in re.sub(r"[^\w:-]+", " ", done.output)  # the frame around it is wrapped
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="datasets/published is no data set: "):
        build_recognizer(run, out)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "published").symlink_to(tutorial / "datasets" / "recorded")
    with pytest.raises(CheckpointError, match="was trained on another data set than datasets/published now is"):
        build_recognizer(run, out)
    assert not Path(out).exists()


def node_of(**sensor: Any) -> Callable[[], Node]:
    publish = {"endpoint": "tcp://127.0.0.1:*", "wait_for_subscribers": 1}
    return lambda: create_node(check({"sensors": {"replay": sensor}, "publish": publish}, "test"))


def test_it_is_right_as_often_through_sockets_as_offline(
    tutorial: Path, run_node: RunNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = Recognizer(tutorial / "recognizer.onnx")
    settings = load_classifier(tutorial / "runs" / "tutorial" / "recognizer").run.data
    dataset = SkeletonDataset(tutorial / "datasets" / "published")
    clips = np.stack([clip(dataset[index].joints, settings) for index in range(len(dataset))])
    labels = np.array(recognizer.manifest.classes)[recognizer.confidences(clips).argmax(axis=1)]
    right = (labels == dataset.labels["action"])[np.isin(dataset.labels["subject"], (2, 4))]
    assert 0 < right.sum() < len(right) == 20  # it has learnt something, and not all

    load("recognize")
    with run_node(node_of(kind="replay", path=str(tutorial / "recordings"), fast=True)) as node:
        paths = [str(tutorial / "recognizer.onnx"), str(tutorial / "recordings")]
        monkeypatch.setattr(sys, "argv", ["accuracy.py", *paths, node.publisher.endpoint, "--only", "P00[24]"])
        load("accuracy").main()
    assert capsys.readouterr().out == f"{right.sum()} of 20 right: {right.mean():.4f}\n"


def test_the_program_tells_what_bodies_do_until_ctrl_c_and_needs_no_torch(tutorial: Path, run_node: RunNode) -> None:
    script = (
        f"import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path({str(EXAMPLE / 'recognize.py')!r}, "
        "run_name='__main__'); sys.exit(7 if 'torch' in sys.modules else 0)"
    )
    with run_node(node_of(kind="synthetic", persons=1, rate_hz=30)) as node:
        arguments = [str(tutorial / "recognizer.onnx"), node.publisher.endpoint, "--frames", "12", "--sure", "0"]
        command = [sys.executable, "-c", script, "recognize.py", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            errors = process.communicate(timeout=20)[1]
    assert re.fullmatch(r"replay  [0-9a-f]{8}  (wave|walk|sit|fall|stand)  [01]\.\d\d\n", line)
    assert process.returncode == 0, errors
    assert "5 actions, by the last 12 frames" in errors
    assert "Traceback" not in errors
    assert "another model" not in errors


def frame(sequence: int, *ids: int) -> ReceivedFrame:
    person = motion(population(1, 1)[0], Activity.WAVE, np.array([0.0, sequence / 30]))[-1]
    joints = np.repeat(person[None], len(ids), axis=0)
    return ReceivedFrame("hall", 1, sequence, 0, 0, 0, "ok", ids, joints, None, 0, 0)


def test_a_body_is_recognised_once_it_has_been_there_for_half_the_window(tutorial: Path) -> None:
    live = load("recognize").Live(Recognizer(tutorial / "recognizer.onnx"), 8)
    told = []
    for number, ids in enumerate([(1,), (1,), (1,), (1,), (1, 2), (1, 2), (1, 2), (1, 2), (2,), (1, 2)]):
        live.push(newest := frame(number, *ids))
        told.append([action.bodies for action in live.actions(newest)])
    both = [(1,), (2,)]
    assert told == [[], [], [], [(1,)], [(1,)], [(1,)], [(1,)], both, [(2,)], both]


def test_what_it_is_told_is_the_clip_of_the_frames_in_which_a_body_was_there(tutorial: Path) -> None:
    recognizer = Recognizer(tutorial / "recognizer.onnx")
    live = load("recognize").Live(recognizer, 10)
    frames = [frame(number, *([5] if number > 2 else [])) for number in range(10)]
    for one in frames:
        live.push(one)
    (action,) = live.actions(frames[-1])
    joints = np.stack([one.joints for one in frames[3:]])  # (7, 1, 25, 3)
    expected = recognizer.confidences(recognizer.clip(joints)[None])[0]
    assert action.confidence == pytest.approx(expected.max())
    assert action.label == recognizer.manifest.classes[expected.argmax()]


def test_a_slow_recognizer_does_not_lag(tutorial: Path, raw_node: RawNode, subscriber: Subscriber) -> None:
    module = load("recognize")
    live = module.Live(Recognizer(tutorial / "recognizer.onnx"), 6)
    for number in range(9):
        raw_node.frame(number, "door" if number % 3 == 2 else "hall")
    raw_node.frame(9, "end")
    first = subscriber.read(5000)
    newest: dict[str, ReceivedFrame] = {}
    while "end" not in newest:  # what is sent may take a moment
        newest |= module.drain(subscriber, live, first)
        first = subscriber.read(5000) if "end" not in newest else None
    assert {stream: frame.sequence for stream, frame in newest.items()} == {"hall": 7, "door": 8, "end": 9}
    assert [len(live.actions(newest[stream])) for stream in ("hall", "door", "end")] == [0, 0, 0]  # bodies of zeros


def test_two_bodies_together_are_one_sample() -> None:
    class Pairs:
        manifest = SimpleNamespace(bodies_per_sample=2, classes=(7,), names=("hug",))

        def clip(self, joints: Any) -> Any:
            assert joints.shape == (6, 2, 25, 3)
            assert not joints[:2, 1].any()  # who came later was not there at first
            return joints

        def confidences(self, clips: Any) -> Any:
            return np.ones((len(clips), 1))

    tracks = {3: np.ones((6, 25, 3), np.float32), 9: np.ones((4, 25, 3), np.float32)}
    (action,) = load("recognize").recognise(Pairs(), "hall", tracks)
    assert (action.bodies, action.label, action.name) == ((3, 9), 7, "hug")


def test_only_news_is_written() -> None:
    module = load("recognize")
    teller = module.Teller(every_s=1.0, sure=0.5)

    def news(now_s: float, name: str, confidence: float = 0.9) -> list[str]:
        return list(teller.news([module.Action("hall", (26,), 1, name, confidence)], now_s))

    assert news(0.0, "wave") == ["hall  0000001a  wave  0.90"]
    assert news(0.5, "wave") == []
    assert news(0.6, "walk", 0.4) == []
    assert news(0.7, "walk") == ["hall  0000001a  walk  0.90"]
    assert news(1.6, "walk") == []
    assert news(1.8, "walk") == ["hall  0000001a  walk  0.90"]
