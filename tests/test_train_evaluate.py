"""Frozen evaluation: each release is what it says it is, and no number claims more than was measured."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import msgspec
import yaml
from typer.testing import CliRunner

from skelanon.cli.main import app
from skelanon.configs.training import TrainingRun
from skelanon.sensors.joints import INDEX
from skelanon.train.errors import CheckpointError, TrainingError
from skelanon.train.evaluate import CAUTION, Evaluation, Row, evaluate
from skelanon.train.trainer import train

MakeRun = Callable[..., TrainingRun]

CHANCE = 1 / 3


@pytest.fixture(scope="module")
def ensemble(make_run: MakeRun, classifiers: dict[str, str]) -> str:
    """The folder of an anonymizer against `action` and `private`."""
    run = make_run(
        "ensemble",
        action=[classifiers["action"]],
        private=[classifiers["private"]],
        trainer={"epochs": 2, "test_every": 2},
        objective={"alpha": 3.0, "beta": 1.0},
    )
    train(run)
    return run.out


@pytest.fixture(scope="module")
def table(ensemble: str, classifiers: dict[str, str]) -> Evaluation:
    """All releases by all classifiers."""
    attack = f"attack={classifiers['private']}"
    releases = ("raw", "noise=0", "noise=0.1", "noise=0.5", "template", ensemble, attack)
    return evaluate(releases, list(classifiers.values()), batch_size=4)


def row(table: Evaluation, release: str) -> Row:
    (found,) = (row for row in table.rows if row.release == release)
    return found


def told(table: Evaluation, release: str, classifier: str) -> float:
    (found,) = (one.top1 for one in row(table, release).accuracies if one.run == classifier)
    return found


def test_raw_is_told_and_untouched(table: Evaluation, classifiers: dict[str, str]) -> None:
    raw = row(table, "raw")
    assert (raw.rmse_m, raw.mpjpe_m) == (0, 0)
    assert [(one.label, one.network) for one in raw.accuracies] == [
        ("action", "sgn"),
        ("private", "sgn"),
        ("action", "sgn"),
        ("private", "sgn"),
    ]
    assert min(told(table, "raw", classifiers[label]) for label in ("action", "private")) > CHANCE + 0.2
    for label in ("action", "private"):  # the run's own last test
        last = json.loads((Path(classifiers[label]) / "metrics.jsonl").read_text().splitlines()[-1])
        assert told(table, "raw", classifiers[label]) == pytest.approx(last[f"{label}_top1"])


def test_no_noise_is_raw_and_noise_has_its_size(table: Evaluation) -> None:
    assert row(table, "noise=0").accuracies == row(table, "raw").accuracies
    assert row(table, "noise=0").rmse_m == 0
    assert row(table, "noise=0.1").rmse_m == pytest.approx(0.1, rel=0.03)
    assert row(table, "noise=0.1").mpjpe_m == pytest.approx(0.1 * (8 / 3.14159) ** 0.5, rel=0.03)  # of Maxwell


def test_much_noise_destroys_both(table: Evaluation, classifiers: dict[str, str]) -> None:
    for label in ("action", "private"):
        assert told(table, "noise=0.5", classifiers[label]) <= told(table, "raw", classifiers[label]) - 0.2


def test_the_template_moves_joints_by_what_bodies_differ(table: Evaluation) -> None:
    assert 0.005 < row(table, "template").rmse_m < 0.2


def test_an_anonymizers_row_is_what_its_run_measured(table: Evaluation, ensemble: str) -> None:
    last = json.loads((Path(ensemble) / "metrics.jsonl").read_text().splitlines()[-1])
    found = row(table, ensemble)
    assert found.rmse_m**2 == pytest.approx(last["distance_m2"], rel=1e-4)
    assert [one.top1 for one in found.accuracies[:2]] == pytest.approx([last["action1_top1"], last["private1_top1"]])


def test_the_attack_blinds_its_classifier_at_little_cost(table: Evaluation, classifiers: dict[str, str]) -> None:
    attack = f"attack={classifiers['private']}"
    assert told(table, attack, classifiers["private"]) <= 0.12
    assert 0 < row(table, attack).rmse_m < 0.05


def test_held_out_is_what_a_release_was_made_without(
    table: Evaluation, ensemble: str, classifiers: dict[str, str]
) -> None:
    def against(release: str) -> set[str]:
        return {one.run for one in row(table, release).accuracies if not one.held_out}

    assert against("raw") == against("template") == against("noise=0.5") == set()
    assert against(ensemble) == {classifiers["action"], classifiers["private"]}
    assert against(f"attack={classifiers['private']}") == {classifiers["private"]}


def test_priors_and_counts(table: Evaluation) -> None:
    assert table.test_sequences == 9
    assert table.prior == pytest.approx({"action": CHANCE, "private": CHANCE})
    assert table.caution == CAUTION


def test_a_run_that_moved_away_from_its_classifiers_is_not_evaluated(
    make_run: MakeRun, classifiers: dict[str, str], tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(classifiers["private2"], moved)
    run = make_run("ensemble", action=[classifiers["action2"]], private=[str(moved)], trainer={"epochs": 0})
    train(run)
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(TrainingError, match=r"was trained against .*moved.*, not there: run this where it was trained"):
        evaluate([run.out], [str(tmp_path / "elsewhere")])


def test_joints_that_were_filled_in_do_not_count(classifiers: dict[str, str], tmp_path: Path) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(classifiers["private2"], run)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    shutil.copytree(settings["data"]["folder"], data)
    settings["data"]["folder"] = str(data)
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    info = json.loads((data / "dataset.json").read_bytes())

    def moved(*measured: str) -> float:
        only = [joint in {INDEX[name] for name in measured} for joint in range(25)]
        (data / "dataset.json").write_text(json.dumps(info | {"measured": only}))
        return evaluate(["template"], [str(run)]).rows[0].mpjpe_m

    assert moved("SpineMid") == pytest.approx(0, abs=1e-6)  # the centre of normalised axes
    hand, foot, both = moved("HandLeft"), moved("FootLeft"), moved("HandLeft", "FootLeft")
    assert hand != pytest.approx(foot)
    assert both == pytest.approx((hand + foot) / 2)


def test_what_cannot_be_compared_is_refused(make_run: MakeRun, classifiers: dict[str, str], tmp_path: Path) -> None:
    action, private = classifiers["action"], classifiers["private"]
    with pytest.raises(TrainingError, match="an evaluation needs classifiers: name their runs"):
        evaluate(["raw"], [])
    with pytest.raises(TrainingError, match="noise=much: the standard deviation must be a number of metres"):
        evaluate(["noise=much"], [action])
    with pytest.raises(TrainingError, match=r"`std_m` is -1\.0"):
        evaluate(["noise=-1"], [action])
    with pytest.raises(TrainingError, match="name one of the privacy classifiers of this evaluation"):
        evaluate([f"attack={action}"], [action, private])
    with pytest.raises(TrainingError, match="name one of the privacy classifiers of this evaluation"):
        evaluate([f"attack={private}"], [action])
    with pytest.raises(CheckpointError, match="nothing is no training run"):
        evaluate([str(tmp_path / "nothing")], [action])
    with pytest.raises(CheckpointError, match="is a run of `task: classifier`, not of an anonymizer"):
        evaluate([private], [action])
    with pytest.raises(TrainingError, match="the device is 'abacus', which torch cannot use here: take cpu or cuda"):
        evaluate(["raw"], [action], device="abacus")
    other = make_run(data={"frames": 20}, trainer={"epochs": 0})
    train(other)
    with pytest.raises(TrainingError, match="were trained on different data, splits or clips"):
        evaluate(["raw"], [action, other.out])
    both = make_run("ensemble", data={"bodies": 2}, trainer={"epochs": 0}, **two_bodies(make_run))
    train(both)
    with pytest.raises(TrainingError, match="anonymizes 2 bodies together, the classifiers take 1"):
        evaluate([both.out], [action])


def two_bodies(make_run: MakeRun) -> dict[str, list[str]]:
    """Classifiers of clips of two bodies."""
    runs = {label: make_run(label=label, data={"bodies": 2}, trainer={"epochs": 0}) for label in ("action", "private")}
    for run in runs.values():
        train(run)
    return {label: [run.out] for label, run in runs.items()}


def test_the_command_shows_the_caution_first_and_writes_what_it_shows(
    ensemble: str, classifiers: dict[str, str], tmp_path: Path
) -> None:
    names = [argument for path in classifiers.values() for argument in ("--classifier", path)]
    done = CliRunner().invoke(app, ["evaluate", "raw", ensemble, *names, "--out", str(tmp_path / "new" / "table.json")])
    assert done.exit_code == 0, done.output
    caution, counts, star, empty, heads, rule, raw, anonymous, *rest = done.stdout.splitlines()
    assert (caution, empty, rest) == (CAUTION, "", [])
    assert "9 test sequences; guessing the most frequent class: action 0.333, private 0.333." in counts
    assert star.startswith("* trained against")
    assert heads == "| release | RMSE | MPJPE | action sgn | private sgn | action sgn | private sgn |"
    assert rule.count("|") == heads.count("|")
    table = msgspec.json.decode((tmp_path / "new" / "table.json").read_bytes(), type=Evaluation)
    assert table == evaluate(["raw", ensemble], list(classifiers.values()))
    cells = [cell.strip() for cell in anonymous.strip("|").split("|")]
    assert cells[3:] == [
        f"{one.top1:.3f}{star}" for one, star in zip(table.rows[1].accuracies, ("*", "*", "", ""), strict=True)
    ]
    assert raw.startswith("| raw | 0.0000 | 0.0000 |")
    assert "*" not in raw
