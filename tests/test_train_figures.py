"""The paper's figures: which numbers are drawn, that pictures are not empty, and what is refused."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")
pytest.importorskip("matplotlib", reason="needs skelanon[train]")

import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from pydantic import TypeAdapter

from skelanon.configs.training import AnonymizerSettings, Label, TrainingRun
from skelanon.sensors.body import ancestor_matrix, bone_lengths, rest_directions
from skelanon.sensors.joints import INDEX, JOINTS
from skelanon.train.anonymizers.create import create_anonymizer
from skelanon.train.checkpoint import Checkpoint, DataRecord, RunFolder
from skelanon.train.data.store import DatasetInfo
from skelanon.train.errors import CheckpointError, TrainingError
from skelanon.train.evaluate import CAUTION, Accuracy, Evaluation, Row
from skelanon.train.figures import draw_before_and_after, draw_curves, draw_ensemble_size, draw_trade_off
from skelanon.train.figures.curves import Curves
from skelanon.train.figures.ensemble_size import EnsembleSizes
from skelanon.train.figures.page import SMALL_PRINT, spread
from skelanon.train.figures.skeletons import BeforeAndAfter
from skelanon.train.figures.trade_off import TradeOff
from skelanon.train.networks import create_network

Metrics = dict[str, float]
OUT = Path("figure.png")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are named as they are given: below the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    original = Figure.savefig

    def savefig(self: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(self)
        original(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


def settings(out: str, *, ensemble: int = 0, **changes: Any) -> dict[str, Any]:
    """Of an adversarial run, or of one against an ensemble."""
    objective = {key: changes.pop(key, value) for key, value in (("alpha", 1.0), ("beta", 10.0))}
    data, optimizer = {"folder": "set", "split": {"by": "trial", "test": [2]}, "frames": 8}, {"learning_rate": 0.01}
    tree = {
        "out": out, "task": "ensemble" if ensemble else "adversarial", "data": data, "optimizer": optimizer,
        "trainer": {"epochs": 1, "batch_size": 2}, "anonymizer": {"kind": changes.pop("kind", "residual")},
        "objective": objective, "action": ["a0"], "private": [f"p{number}" for number in range(ensemble or 1)],
        **({} if ensemble else {"private_optimizer": optimizer}),
    }  # fmt: skip
    return tree | changes


def begin(tree: dict[str, Any], modules: Mapping[str, Any] | None = None, history: Sequence[Metrics] = ()) -> RunFolder:
    """A run, with a checkpoint where it has a history."""
    folder = RunFolder(tree["out"])
    classes: dict[Label, tuple[int, ...]] = {"action": (0, 1), "private": (0, 1)}
    record = DataRecord(fingerprint="0", licence="-", train=1, test=1, classes=classes)
    folder.begin(TypeAdapter[TrainingRun](TrainingRun).validate_python(tree), record)
    if history:
        state = {name: module.state_dict() for name, module in (modules or {}).items()}
        folder.save(Checkpoint(epoch=len(history), modules=state, optimizers={}, history=list(history)))
    return folder


def row(release: str, action: Sequence[float], private: Sequence[float], against: Sequence[str] = ()) -> Row:
    """Told by classifiers a0, a1, ... and p0, p1, ...; those of `against` are not held out."""
    told: list[tuple[str, Label, float]] = [(f"a{number}", "action", top1) for number, top1 in enumerate(action)]
    told += [(f"p{number}", "private", top1) for number, top1 in enumerate(private)]
    return Row(
        release=release,
        rmse_m=0.02,
        mpjpe_m=0.03,
        accuracies=tuple(
            Accuracy(run=name, network="agcn", label=label, held_out=name not in against, top1=top1)
            for name, label, top1 in told
        ),
    )


def write(name: str, *rows: Row, **changes: Any) -> Path:
    """An evaluation file."""
    fields: dict[str, Any] = {"data": "f", "test_sequences": 50, "prior": {"action": 0.1, "private": 0.25}} | changes
    Path(name).write_bytes(msgspec.json.encode(Evaluation(rows=rows, **fields)))
    return Path(name)


def check_picture(path: Path = OUT) -> None:
    """A PNG of a sensible size, with something on it and not too much."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert all(500 < pixels < 3000 for pixels in image.size)
        assert 0.01 < (np.asarray(image.convert("L")) < 230).mean() < 0.2


SIZES = (
    row("raw", [0.9, 0.8, 0.7], [0.9, 0.8, 0.7]),
    row("two", [0.1, 0.6, 0.8], [0.1, 0.1, 0.3], ["a0", "p0", "p1"]),
    row("one", [0.1, 0.5, 0.7], [0.1, 0.6, 0.4], ["a0", "p0"]),
)


@pytest.fixture
def sizes() -> Path:
    begin(settings("one", ensemble=1))
    begin(settings("two", ensemble=2))
    return write("evaluation.json", *SIZES, row("noise=0.1", [0] * 3, [0] * 3))


def test_accuracies_by_size_are_those_of_classifiers_that_no_run_was_trained_against(
    sizes: Path, drawn: list[Figure]
) -> None:
    numbers = draw_ensemble_size(sizes, OUT)
    check_picture()
    assert msgspec.json.decode(Path("figure.json").read_bytes(), type=EnsembleSizes) == numbers
    assert numbers.caution == CAUTION
    assert [(run.release, run.size) for run in numbers.runs] == [("one", 1), ("two", 2)]
    assert numbers.raw is not None
    for told, action, private in (
        (numbers.raw, {"a1": 0.8, "a2": 0.7}, {"p2": 0.7}),
        (numbers.runs[0].told, {"a1": 0.5, "a2": 0.7}, {"p2": 0.4}),
        (numbers.runs[1].told, {"a1": 0.6, "a2": 0.8}, {"p2": 0.3}),
    ):
        assert (told["action"].each, told["private"].each) == (action, private)
        assert told["action"].mean == pytest.approx(sum(action.values()) / 2)
    assert SMALL_PRINT in words(drawn[0])
    assert {"action, raw", "private, prior"} <= set(words(drawn[0]))


def test_all_classifiers_count_when_asked_for_and_raw_may_be_missing(drawn: list[Figure], sizes: Path) -> None:
    numbers = draw_ensemble_size(write("other.json", *SIZES[1:]), OUT, all_classifiers=True)
    assert (numbers.all_classifiers, numbers.raw) == (True, None)
    assert numbers.runs[0].told["private"].each == {"p0": 0.1, "p1": 0.6, "p2": 0.4}
    assert "action, raw" not in words(drawn[0])


def test_classifiers_that_are_all_trained_against_are_refused(sizes: Path) -> None:
    against = row("two", [0.6], [0.1], ["a0", "p0"])
    with pytest.raises(TrainingError, match="no action classifier of the evaluation is held out from all of two"):
        draw_ensemble_size(write("other.json", against), OUT)
    with pytest.raises(TrainingError, match="has no classifier of the label `private`"):
        draw_ensemble_size(write("other.json", row("two", [0.6], [])), OUT)


def test_a_row_that_is_no_run_is_refused(sizes: Path) -> None:
    with pytest.raises(TrainingError, match=r"has no row of an anonymizer's run"):
        draw_ensemble_size(write("other.json", SIZES[0]), OUT)
    with pytest.raises(CheckpointError, match=r"gone is no training run.*draw it in the folder it was made in"):
        draw_ensemble_size(write("other.json", row("gone", [0.5], [0.5])), OUT)
    begin(classifier("p0"))
    with pytest.raises(TrainingError, match="p0 is a run of `task: classifier`, not of an anonymizer"):
        draw_ensemble_size(write("other.json", row("p0", [0.5], [0.5])), OUT)


def test_a_file_that_is_no_evaluation_is_refused() -> None:
    for content in (b"{}", b"\x89PNG", b'{"data": 1}', b""):
        Path("strange.json").write_bytes(content)
        with pytest.raises(TrainingError, match=r"strange\.json is no evaluation .*`skelanon evaluate --out`"):
            draw_ensemble_size(Path("strange.json"), OUT)
    with pytest.raises(TrainingError, match=r"absent\.json cannot be read: No such file"):
        draw_trade_off([Path("absent.json")], OUT)
    with pytest.raises(TrainingError, match="without rows"):
        draw_trade_off([write("empty.json")], OUT)
    with pytest.raises(TrainingError, match="its rows are told by different classifiers"):
        draw_trade_off([write("mixed.json", row("raw", [1], [1]), row("template", [1], [1, 1]))], OUT)


def test_what_a_figure_is_made_from_is_not_overwritten(sizes: Path) -> None:
    before = sizes.read_bytes()
    with pytest.raises(TrainingError, match=r"evaluation\.json, where .* rename .*evaluation\.png"):
        draw_ensemble_size(sizes, sizes.with_suffix(".png").resolve())
    assert sizes.read_bytes() == before
    assert not sizes.with_suffix(".png").exists()
    with pytest.raises(TrainingError, match=r"figure\.pdf is no \.png"):
        draw_ensemble_size(sizes, Path("figure.pdf"))


def test_the_trade_off_has_a_point_for_each_release_of_all_files(drawn: list[Figure]) -> None:
    begin(settings("weak", alpha=0.1))
    begin(settings("strong", alpha=3.0, k=2, kind="unet", data=settings("-")["data"] | {"frames": 16}))
    begin(settings("ensemble", ensemble=1, alpha=4.97))
    raw = row("raw", [0.9, 0.8], [0.8, 0.7])
    first = write(
        "first.json", raw, row("noise=0.1", [0.1] * 2, [0.2] * 2), row("noise=0.01", [0.5] * 2, [0.5] * 2),
        row("attack=p0", [0.9, 0.8], [0.0, 0.3], ["p0"]),
    )  # fmt: skip
    weak = row("weak", [0.9, 0.7], [0.6, 0.5], ["a0", "p0"])
    second = write("second.json", raw, weak, row("strong", [0.7, 0.6], [0.1, 0.2]))
    third = write("third.json", row("ensemble", [0.8, 0.8], [0.3, 0.3]))
    numbers = draw_trade_off([first, second, third], OUT)
    check_picture()
    assert msgspec.json.decode(Path("figure.json").read_bytes(), type=TradeOff) == numbers
    points = {point.release: point for point in numbers.points}
    assert list(points) == ["raw", "noise=0.1", "noise=0.01", "attack=p0", "weak", "strong", "ensemble"]
    assert points["attack=p0"].private.each == {"p1": 0.3}
    assert points["raw"].action.each == {"a1": 0.8}
    strong = points["strong"]
    assert (strong.task, strong.anonymizer, strong.alpha, strong.beta, strong.k) == (
        "adversarial",
        "unet",
        3.0,
        10.0,
        2,
    )
    assert (points["ensemble"].k, points["raw"].alpha, points["noise=0.01"].noise_std_m) == (None, None, 0.01)
    shown = words(drawn[0])
    assert {"α 0.1 k 1", "α 3 k 2", "α 4.97", "noise 0.01 m", "0.1 m", "raw", "attack", SMALL_PRINT} <= set(shown)
    assert {"residual (adversarial)", "U-Net (adversarial)", "residual (ensemble)"} <= set(shown)
    assert shown.count("prior") == 2


def test_evaluations_that_cannot_be_compared_are_refused() -> None:
    raw = row("raw", [0.9], [0.8])
    first = write("first.json", raw)
    for other in (
        write("data.json", raw, data="another"),
        write("classifiers.json", row("raw", [0.9], [0.8, 0.7])),
        write("split.json", raw, prior={"action": 0.5, "private": 0.25}),
    ):
        with pytest.raises(TrainingError, match=rf"first\.json and {other} are of different data or classifiers"):
            draw_trade_off([first, other], OUT)
    with pytest.raises(TrainingError, match=r"again\.json has another result for raw"):
        draw_trade_off([first, write("again.json", row("raw", [0.9], [0.7]))], OUT)


def after(epoch: int, **accuracies: float) -> Metrics:
    return {"epoch": epoch, "loss": 1.0, "distance_m2": 0.0004 * epoch**2, **accuracies}


def test_curves_have_the_epochs_that_were_tested(drawn: list[Figure]) -> None:
    one = [
        {"epoch": 1, "loss": 1.0, "distance_m2": 99.0},  # a loss of training
        after(2, action1_top1=0.9, action1_top5=1.0, private1_top1=0.5, adversary1_top1=0.6),
        {"epoch": 3, "loss": 1.0, "distance_m2": 99.0},
        after(4, action1_top1=0.8, action1_top5=1.0, private1_top1=0.1, adversary1_top1=0.3),
    ]
    begin(settings("one") | {"trainer": {"epochs": 9, "batch_size": 2}}, history=one)
    ensemble = after(1, action1_top1=0.9, action2_top1=0.8, private1_top1=0.5, private2_top1=0.4)
    begin(settings("two", ensemble=2), history=[ensemble])
    numbers = draw_curves(["one", "two"], OUT)
    check_picture()
    assert msgspec.json.decode(Path("figure.json").read_bytes(), type=Curves) == numbers
    assert numbers.runs[0].epochs == (2, 4)
    assert numbers.runs[0].rmse_m == pytest.approx((0.04, 0.08))
    expected = {"action1_top1": (0.9, 0.8), "private1_top1": (0.5, 0.1), "adversary1_top1": (0.6, 0.3)}
    assert numbers.runs[0].accuracies == expected
    assert list(numbers.runs[1].accuracies) == ["action1_top1", "action2_top1", "private1_top1", "private2_top1"]
    assert {"one", "two", "action", "private, frozen", "private, adversary", SMALL_PRINT} <= set(words(drawn[0]))


def test_runs_without_curves_are_refused() -> None:
    begin(settings("new"))
    with pytest.raises(TrainingError, match="new has no history"):
        draw_curves(["new"], OUT)
    begin(classifier("p0"), history=[{"epoch": 1, "private_top1": 0.5}])
    with pytest.raises(TrainingError, match="p0 is a run of `task: classifier`"):
        draw_curves(["p0"], OUT)
    with pytest.raises(CheckpointError, match="absent is no training run"):
        draw_curves(["absent"], OUT)
    with pytest.raises(TrainingError, match="5 runs are too many"):
        draw_curves(["new"] * 5, OUT)


def classifier(out: str) -> dict[str, Any]:
    kept = {key: value for key, value in settings(out).items() if key in ("out", "data", "trainer", "optimizer")}
    return kept | {"task": "classifier", "label": "private", "network": {"name": "st_gcn"}}


@pytest.fixture
def dataset() -> np.ndarray[Any, Any]:
    """Three sequences of one person who faces the sensor and walks aside; 0 trains, 1 and 2 test; nobody is in 2."""
    pose = ancestor_matrix() @ (rest_directions() * bone_lengths()[:, None]) + (0, 0.1, 3)
    walk = np.stack([pose + np.array([step / 10, 0, 0]) for step in range(6)]).astype(np.float32)
    joints = np.concatenate([walk, walk, 0 * walk])
    folder = Path("set")
    folder.mkdir()
    np.save(folder / "joints.npy", joints)
    np.save(folder / "tracking.npy", np.full(joints.shape[:2], 2, np.uint8))
    columns = {"start": [0, 6, 12], "frames": [6] * 3, "bodies": [1] * 3, "trial": [1, 2, 2], "subject": [0, 1, 1]}
    np.savez(folder / "index.npz", **{name: np.array(values) for name, values in columns.items()})  # type: ignore[arg-type]
    measured = tuple(joint != INDEX["Neck"] for joint in range(JOINTS))
    info = DatasetInfo(kind="made-up", licence="free", rate_hz=10, measured=measured, kept=3, fingerprint="0")
    (folder / "dataset.json").write_bytes(msgspec.json.encode(info))
    return walk


@pytest.fixture
def anonymizer(dataset: object) -> Callable[[float], str]:
    """Makes a run whose anonymizer, a residual one, moves all coordinates by some metres."""

    def make(shift: float) -> str:
        network = create_anonymizer(AnonymizerSettings(kind="residual"), 1)
        last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)][-1]
        with torch.no_grad():
            last.bias.add_(shift)
            last.bias[3 * INDEX["Neck"]] += 1.0  # which is not measured
        begin(settings("anonymizer"), {"anonymizer": network}, [{"epoch": 1}])
        for run in ("a0", "p0"):
            Path(run).mkdir()
        return "anonymizer"

    return make


def test_a_sequence_is_shown_before_and_after(anonymizer: Callable[[float], str], drawn: list[Figure]) -> None:
    numbers = draw_before_and_after(anonymizer(0.05), 1, OUT, frames=3)
    check_picture()
    assert msgspec.json.decode(Path("figure.json").read_bytes(), type=BeforeAndAfter) == numbers
    raw, released = np.array(numbers.raw), np.array(numbers.released)
    assert raw.shape == released.shape == (3, 1, JOINTS, 3)
    released[:, :, INDEX["Neck"], 0] -= 1.0
    np.testing.assert_allclose(released - raw, 0.05, atol=2e-4)
    assert numbers.rmse_m == pytest.approx(0.05, abs=1e-5)
    assert not raw[:, 0, INDEX["SpineMid"]].any()
    assert (raw[:, 0, INDEX["Head"], 2] > 0.4).all()
    assert (numbers.licence, numbers.sequence, numbers.seconds) == (
        "free",
        1,
        (0.0, 0.2, 0.5),
    )  # 6 frames, of clips of 8
    panels = drawn[0].get_axes()
    assert len(panels) == 9
    (dots,) = (dot for dot in panels[0].collections if isinstance(dot, PathCollection))
    places = np.asarray(dots.get_offsets())
    assert len(places) == JOINTS  # SpineMid too, at the origin
    assert places[INDEX["ShoulderLeft"], 0] > places[INDEX["ShoulderRight"], 0]  # seen from in front
    assert places[INDEX["Head"], 1] > places[INDEX["FootLeft"], 1] + 1
    assert len(panels[-1].collections) == 4  # both


def test_other_releases_take_the_data_of_a_run(anonymizer: Callable[[float], str]) -> None:
    run = anonymizer(0.0)
    assert draw_before_and_after(run, 1, OUT).rmse_m == 0.0
    noisy = draw_before_and_after("noise=0.05", 1, OUT, classifier=run)
    assert noisy.rmse_m == pytest.approx(0.05, rel=0.1)
    assert draw_before_and_after("template", 1, OUT, classifier=run).rmse_m < 0.01  # it has the average lengths already
    with pytest.raises(TrainingError, match=r"template is no run: .*`--classifier`"):
        draw_before_and_after("template", 1, OUT)


def test_an_attack_takes_the_data_of_what_it_attacks(dataset: object) -> None:
    network = create_network("st_gcn", 2, 1).requires_grad_(False)
    for weight in network.parameters():
        weight.zero_()
    bias = [weight for weight in network.parameters() if weight.shape == (2,)][-1]
    bias[0] = 1.0  # always class 0, and so already mistaken
    begin(classifier("p0"), {"classifier": network}, [{"epoch": 1}])
    numbers = draw_before_and_after("attack=p0", 1, OUT)
    assert (numbers.rmse_m, len(numbers.seconds)) == (0.0, 6)


def test_sequences_that_cannot_be_shown_are_refused(anonymizer: Callable[[float], str]) -> None:
    run = anonymizer(0.0)
    for index in (0, 3, -1):
        with pytest.raises(TrainingError, match=rf"sequence {index} is none of the 2 .* test: take one of 1, 2$"):
            draw_before_and_after(run, index, OUT)
    with pytest.raises(TrainingError, match="nobody is wholly there in sequence 2"):
        draw_before_and_after(run, 2, OUT)
    with pytest.raises(TrainingError, match="`frames` is 0"):
        draw_before_and_after(run, 1, OUT, frames=0)


@given(st.lists(st.floats(0, 300), min_size=1, max_size=8))
def test_labels_are_moved_apart_and_no_further(places: list[float]) -> None:
    places.sort()
    moved = spread(places, 10.0)
    assert len(moved) == len(places)
    assert all(later - earlier >= 10 - 1e-6 for earlier, later in pairwise(moved))
    assert sum(moved) == pytest.approx(sum(places), abs=1e-6)
    if all(later - earlier > 10 for earlier, later in pairwise(places)):
        assert moved == pytest.approx(places, abs=1e-6)
