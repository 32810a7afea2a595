"""Training runs: what is shipped loads and holds the papers' numbers, `extends` merges, what is wrong is named."""

import contextlib
import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import skelanon.configs
from skelanon.configs import ConfigError, load_training_run, resolved_yaml, shipped_runs
from skelanon.configs import training as schema
from skelanon.configs.schema import Settings
from skelanon.configs.training import AdversarialRun, AutoEncoderRun, ClassifierRun, EnsembleRun, TrainingRun

FOLDER = Path(skelanon.configs.__path__[0]) / "train"
FILES = sorted(FOLDER.glob("*.yaml"))
RUNS = shipped_runs()

every_run = pytest.mark.parametrize("name", RUNS)


def resolved(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(resolved_yaml(load_training_run(name)))
    return tree


CLASSIFIER, ENSEMBLE, ADVERSARIAL = map(resolved, ("synthetic-smoke-action", "etri-res-1a1p", "synthetic-smoke-adv"))


def write(file: Path, tree: object) -> Path:
    file.write_text(yaml.safe_dump(tree), "utf-8")
    return file


def error_of(file: Path, tree: object, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_training_run(write(file, tree), overrides)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    return message.removeprefix(f"{file}: ")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.yaml"


def shipped(name: str, kind: type[TrainingRun]) -> Any:
    run = load_training_run(name)
    assert isinstance(run, kind)
    return run


@every_run
def test_what_is_shipped_loads_by_its_name_from_anywhere_and_its_resolved_settings_to_the_same(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    run = load_training_run(name)
    assert load_training_run(f"{name}.yaml") == load_training_run(FOLDER / f"{name}.yaml") == run
    file.write_text(resolved_yaml(run), "utf-8")
    assert load_training_run(file) == run
    assert resolved_yaml(load_training_run(file)) == resolved_yaml(run)


def test_every_file_is_a_run_or_a_part_of_one() -> None:
    parts = {path.stem for path in FILES} - set(RUNS)
    assert {"base-ntu60", "base-ntu60-xsub", "base-ntu120-xsub", "recipe-v1"} <= parts
    assert sorted(RUNS) == RUNS
    for part in parts:
        assert part.startswith(("base-", "recipe-"))
        with pytest.raises(ConfigError, match=rf"^{part}.yaml: .*is missing"):
            load_training_run(part)


def test_no_two_runs_write_to_the_same_folder_and_each_reads_what_another_wrote() -> None:
    outs = {name: load_training_run(name).out for name in RUNS}
    assert len(set(outs.values())) == len(outs)
    made = {load_training_run(name).out: load_training_run(name) for name in RUNS}
    for run in made.values():
        if isinstance(run, AdversarialRun | EnsembleRun):
            for label, read in (("action", run.action), ("private", run.private)):
                members = [made[out] for out in read]
                assert all(isinstance(member, ClassifierRun) and member.label == label for member in members)
                assert all(member.data == run.data for member in members)
            if run.anonymizer.kind == "auto_encoder":
                first = made[run.anonymizer.weights or ""]
                assert isinstance(first, AutoEncoderRun)
                assert (first.anonymizer.form, first.data) == (run.anonymizer.form, run.data)


def leaves(tree: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from ((key, *rest) for rest in leaves(value))
        else:
            yield (key,)


def without(tree: dict[str, Any], leaf: tuple[str, ...]) -> dict[str, Any]:
    tree = branch = copy.deepcopy(tree)
    for key in leaf[:-1]:
        branch = branch[key]
    del branch[leaf[-1]]
    return tree


@every_run
def test_a_shipped_run_says_nothing_that_holds_without(name: str, file: Path) -> None:
    tree, run = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8")), load_training_run(name)
    for leaf in leaves(tree):
        with contextlib.suppress(ConfigError):
            assert load_training_run(write(file, without(tree, leaf))) != run, f"{name}: {leaf}"


SECTIONS: dict[str, type[Settings]] = {
    "data": schema.DataSettings, "split": schema.SplitSettings, "network": schema.NetworkSettings,
    "optimizer": schema.OptimizerSettings, "private_optimizer": schema.OptimizerSettings,
    "trainer": schema.TrainerSettings, "anonymizer": schema.AnonymizerSettings, "objective": schema.ObjectiveSettings,
}  # fmt: skip
OF_TOKENS: dict[str, type[Settings]] = {"tokens": schema.TokensSettings, "objective": schema.TokensObjective}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_file_says_where_it_comes_from_and_a_first_one_holds_no_default(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith("# ")
    tree = yaml.safe_load(text)
    sections = SECTIONS | (OF_TOKENS if tree.get("task") == "tokens" else {})
    for *_, section, key in (leaf for leaf in leaves(tree) if len(leaf) > 1 and "extends" not in tree):
        field = sections[section].model_fields[key]
        branch = tree["data"][section] if section == "split" else tree[section]
        assert field.get_default(call_default_factory=True) != branch[key], f"{section}.{key}"


# The papers' numbers. v1 minimises MSE - a * H + b * CE: divided by b, alpha = a / b and beta = 1 / b.

ROWS = {  # a, b, learning rates of anonymizer and of a classifier that learns, batch
    "etri-ae-1a1p": (0.0045, 0.0182, 0.00044, None, 8),
    "etri-ae-2a2p": (0.0045, 0.0182, 0.00033, None, 6),
    "etri-ae-3a3p": (0.0045, 0.0182, 0.00066, None, 12),
    "etri-res-1a1p": (0.0333, 0.0067, 0.00075, None, 10),
    "etri-res-2a2p": (0.0333, 0.0067, 0.00060, None, 8),
    "etri-res-3a3p": (0.0333, 0.0067, 0.00060, None, 12),
    "etri-ae-adv": (0.1, 0.0067, 0.0018, 0.0030, 24),
    "etri-res-adv": (0.1, 0.0067, 0.0018, 0.0030, 24),
    "ntu-res-adv": (0.1, 0.0067, 0.0018, 0.0030, 24),
    "ntu-ae-adv": (0.04, 0.1, 0.0500, 0.0100, 30),
}
ROUNDED = {
    (0.1, 0.0067): (14.9, 149), (0.0333, 0.0067): (4.97, 149), (0.0045, 0.0182): (0.247, 54.9), (0.04, 0.1): (0.4, 10),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_rows_of_table_4_are_the_papers(name: str) -> None:
    run = load_training_run(name)
    assert isinstance(run, AdversarialRun | EnsembleRun)
    a, b, rate, private_rate, batch = ROWS[name]
    data, kind, members = name.split("-")
    assert (run.objective.alpha, run.objective.beta) == ROUNDED[a, b] == (float(f"{a / b:.3g}"), float(f"{1 / b:.3g}"))
    assert run.objective.scale == b  # the table's learning rates belong to v1's loss
    assert (run.optimizer.learning_rate, run.trainer.batch_size, run.trainer.epochs) == (rate, batch, 50)
    assert (run.optimizer.milestones, run.optimizer.weight_decay, run.optimizer.gamma) == ([10, 20], 1e-5, 0.1)
    assert (run.optimizer.name, run.optimizer.momentum, run.optimizer.nesterov) == ("sgd", 0.9, True)
    assert (run.objective.reduction, run.objective.privacy, run.anonymizer.form) == ("reference", "entropy", "code")
    assert run.anonymizer.kind == {"ae": "auto_encoder", "res": "residual"}[kind]
    assert run.data.private == {"etri": "gender", "ntu": "subject"}[data]
    if isinstance(run, AdversarialRun):
        second = run.private_optimizer
        assert (second.learning_rate, second.milestones, second.weight_decay, run.k) == (private_rate, [], 1e-5, 1)
    else:
        assert private_rate is None
        networks = ["ms-g3d", "shift-gcn", "agcn"][: int(members[0])]
        assert run.action == [f"runs/etri/action-{network}" for network in networks]
        assert run.private == [f"runs/etri/private-{network}" for network in networks]


@pytest.mark.parametrize(
    ("name", "kind", "alpha", "rate"), [("ntu-res-aaai", "residual", 1, 0.01), ("ntu-unet-aaai", "unet", 3, 0.001)]
)
def test_the_rows_of_the_later_paper_are_its_own(name: str, kind: str, alpha: float, rate: float) -> None:
    run: AdversarialRun = shipped(name, AdversarialRun)
    assert (run.anonymizer.kind, run.objective.alpha, run.objective.beta) == (kind, alpha, 10)
    assert run.optimizer == run.private_optimizer
    assert (run.optimizer.learning_rate, run.optimizer.weight_decay) == (rate, 1e-4)
    assert (run.optimizer.milestones, run.trainer.epochs, run.trainer.batch_size) == ([60, 80, 100], 140, 64)
    assert (run.data.frames, run.data.bodies, run.data.choice) == (300, 2, "motion_energy")


@pytest.mark.parametrize("name", ["etri-ae", "ntu-ae", "utd-mhad-ae"])
def test_auto_encoders_are_pre_trained_as_the_paper_says(name: str) -> None:
    run: AutoEncoderRun = shipped(name, AutoEncoderRun)
    assert (run.optimizer.name, run.trainer.batch_size, run.trainer.epochs) == ("adam", 2000, 100)


RECIPES = {  # optimizer, learning rate, weight decay, batch, epochs, milestones, warm-up
    "shift-gcn": ("sgd", 0.1, 1e-4, 64, 140, [60, 80, 100], 0),
    "ms-g3d": ("sgd", 0.05, 5e-4, 32, 50, [30, 40], 0),
    "agcn": ("sgd", 0.1, 1e-4, 64, 50, [30, 40], 0),
    "st-gcn": ("sgd", 0.1, 1e-4, 64, 80, [10, 50], 0),
    "ctr-gcn": ("sgd", 0.1, 4e-4, 64, 65, [35, 55], 5),
    "sgn": ("adam", 1e-3, 1e-4, 64, 120, [60, 90, 110], 0),
}


@pytest.mark.parametrize("name", RECIPES)
def test_classifiers_are_trained_as_their_authors_do(name: str, file: Path) -> None:
    bases = ["base-ntu60", f"recipe-{name}"]
    run = load_training_run(write(file, {"extends": bases, "label": "action", "out": "runs/a"}))
    assert isinstance(run, ClassifierRun)
    assert run.network.name == name.replace("-", "_")
    optimizer, trainer = run.optimizer, run.trainer
    assert (optimizer.name, optimizer.learning_rate, optimizer.weight_decay) == RECIPES[name][:3]
    assert (trainer.batch_size, trainer.epochs, optimizer.milestones, optimizer.warm_up_epochs) == RECIPES[name][3:]
    assert optimizer.nesterov


def test_gender_is_told_without_g3d_and_actions_with_it() -> None:
    assert shipped("etri-action-ms-g3d", ClassifierRun).network.name == "ms_g3d"
    assert shipped("etri-private-ms-g3d", ClassifierRun).network.name == "ms_g3d_without_g3d"


@pytest.mark.parametrize(("base", "persons"), [("base-ntu60-xsub", 40), ("base-ntu120-xsub", 106)])
def test_subjects_of_ntu_train_or_test_each_and_the_view_protocol_is_gone(base: str, persons: int, file: Path) -> None:
    tree = {"extends": [base, "recipe-sgn"], "label": "action", "out": "runs/a"}
    split = load_training_run(write(file, tree)).data.split
    assert split.by == "subject"
    assert sorted([*split.test, *(split.train or [])]) == list(range(1, persons + 1))
    assert len(split.train or []) == persons // 2


# Extending


def test_mappings_are_merged_in_order_and_anything_else_is_replaced(file: Path) -> None:
    folder = file.parent
    write(folder / "first.yaml", {**CLASSIFIER, "optimizer": {"learning_rate": 0.1, "milestones": [1, 2, 3]}})
    write(folder / "second.yaml", {"optimizer": {"milestones": [4]}, "trainer": {"seed": 1, "epochs": 11}})
    write(folder / "third.yaml", {"extends": ["first.yaml", "second.yaml"], "trainer": {"seed": 2}})
    run = load_training_run(write(file, {"extends": "third.yaml", "network": {"name": "agcn"}}))
    assert isinstance(run, ClassifierRun)
    assert (run.optimizer.learning_rate, run.optimizer.milestones, run.network.name) == (0.1, [4], "agcn")
    assert (run.trainer.seed, run.trainer.epochs, run.trainer.batch_size) == (2, 11, 8)


def test_what_stands_beside_the_file_comes_before_what_is_shipped(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    write(tmp_path / "a" / "base-etri.yaml", {**CLASSIFIER, "out": "mine"})
    beside = write(tmp_path / "a" / "run.yaml", {"extends": "base-etri.yaml"})
    below = write(tmp_path / "a" / "b" / "run.yaml", {"extends": "../base-etri.yaml"})
    assert load_training_run(beside).out == load_training_run(below).out == "mine"
    elsewhere = write(
        tmp_path / "run.yaml", {"extends": ["recipe-sgn", "base-etri.yaml"], "out": "o", "label": "action"}
    )
    assert load_training_run(elsewhere).data.frames == 664


def test_a_file_of_ones_own_comes_before_a_shipped_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / f"{RUNS[0]}.yaml", {**CLASSIFIER, "out": "mine"})
    assert load_training_run(f"{RUNS[0]}.yaml").out == "mine"
    (tmp_path / RUNS[1]).mkdir()
    assert load_training_run(RUNS[1]) == load_training_run(FOLDER / f"{RUNS[1]}.yaml")


def test_a_base_may_be_reached_twice_but_not_from_itself(file: Path) -> None:
    folder = file.parent
    write(folder / "base.yaml", CLASSIFIER)
    for name in ("left", "right"):
        write(folder / f"{name}.yaml", {"extends": "base.yaml", name: 1})
    both = error_of(file, {"extends": ["left.yaml", "right.yaml"]})
    assert both == "`left` is not a setting; `right` is not a setting"
    assert error_of(file, {"extends": "run.yaml"}) == "`extends` goes in a circle: run.yaml -> run.yaml"
    write(folder / "base.yaml", {"extends": f"../{folder.name}/run.yaml"})
    circle = "run.yaml -> left.yaml -> base.yaml -> run.yaml"
    with pytest.raises(ConfigError, match=f"base.yaml: `extends` goes in a circle: {circle}$"):
        load_training_run(write(file, {"extends": "left.yaml"}))


@pytest.mark.parametrize("names", [None, 3, {"base-etri": 1}, ["base-etri", 3]])
def test_extends_takes_names_and_nothing_else(names: object, file: Path) -> None:
    assert error_of(file, {"extends": names}) == "`extends` must be the name of a file, or a list of names"


@pytest.mark.parametrize("name", ["base-etrj", "base-etrj.yaml", "", "\0", "x" * 5000])
def test_a_missing_base_is_named_with_those_that_are_shipped(name: str, file: Path) -> None:
    message = (
        f"`extends`: {name!r} is no file, and does not come with skelanon as these do: base-etri, base-ntu120-xsub"
    )
    assert error_of(file, {"extends": name}).startswith(message)


def test_a_base_that_cannot_be_read_is_the_one_that_is_named(file: Path) -> None:
    base = file.parent / "base.yaml"
    base.write_text("data: [")
    with pytest.raises(ConfigError, match=f"^{re.escape(str(base))}: line 1: not valid YAML"):
        load_training_run(write(file, {"extends": "base.yaml"}))


TASKS = "'classifier', 'auto_encoder', 'adversarial', 'ensemble'"


@pytest.mark.parametrize(
    ("tree", "overrides", "message"),
    [
        (CLASSIFIER, "task=clasifier", f"`task` is 'clasifier': must be one of {TASKS}"),
        (CLASSIFIER, "task=[classifier]", f"`task` is '...': must be one of {TASKS}"),
        (CLASSIFIER, "k=2", "`k` is not a setting"),
        (CLASSIFIER, "extends=base-etri", "`extends` is not a setting"),
        (CLASSIFIER, "data.extends=base-etri", "`data.extends` is not a setting"),
        (CLASSIFIER, "trainer.epoch=2", "`trainer.epoch` is not a setting"),
        (CLASSIFIER, "trainer={}", "`trainer.epochs` is missing; `trainer.batch_size` is missing"),
        (CLASSIFIER, "trainer=3", "`trainer` must hold settings, `key: value`"),
        (CLASSIFIER, "trainer.epochs=ten", "`trainer.epochs` is 'ten': input should be a valid integer"),
        (CLASSIFIER, "trainer.batch_size=4 trainer.devices=5", "`trainer`: `batch_size` is 4: must be `devices`, 5"),
        (CLASSIFIER, "trainer.accelerator=cpu trainer.precision=16-mixed", "`trainer`: `precision: 16-mixed` needs a"),
        (CLASSIFIER, "network.name=gcn", "`network.name` is 'gcn': input should be 'ms_g3d', "),
        (CLASSIFIER, "network.name=shift_gcn data.frames=30", "`data.frames` is 30: shift_gcn halves clips twice"),
        (CLASSIFIER, "out=''", "`out` is '': string should have at least 1 character"),
        (CLASSIFIER, "optimizer.learning_rate=.inf", "`optimizer.learning_rate` is inf: input should be a finite"),
        (CLASSIFIER, "optimizer.learning_rate=.nan", "`optimizer.learning_rate` is nan: input should be"),
        (CLASSIFIER, "optimizer.learning_rate=1e-3", "`optimizer.learning_rate` is '1e-3': input should be a valid "
            "number; YAML asks for point and sign: 1.0e-3"),
        (CLASSIFIER, "optimizer.milestones=[2,2]", "`optimizer`: `milestones` is [2, 2]: must ascend from 1 on"),
        (CLASSIFIER, "optimizer.milestones=[0,2]", "`optimizer`: `milestones` is [0, 2]: must ascend from 1 on"),
        (CLASSIFIER, "optimizer.milestones=[4] optimizer.warm_up_epochs=5", "`optimizer`: `milestones` starts at 4, b"),
        (ENSEMBLE, "optimizer.momentum=0", "`optimizer`: `nesterov` needs `momentum`"),
        (CLASSIFIER, "data.split.test=[]", "`data.split.test`: list should have at least 1 item"),
        (CLASSIFIER, "data.split.test=[1,1]", "`data.split.test`: [1, 1] holds a value twice"),
        (CLASSIFIER, "data.split.test=[-1]", "`data.split.test.0` is -1: input should be greater than or equal to 0"),
        (CLASSIFIER, "data.split.train=[2,1]", "`data.split`: `train` and `test` share [1]"),
        (CLASSIFIER, "data.split.modulo=3 data.split.test=[3]", "`data.split`: `train` or `test` holds 3, which no"),
        (CLASSIFIER, "data.private=action", "`data`: `action` and `private` are both 'action'"),
        (CLASSIFIER, "data.split.by=action", "`data.split.by` is 'action', the label itself"),
        (CLASSIFIER, "label=private data.split.by=subject", "`data.split.by` is 'subject', the label itself"),
        (ENSEMBLE, "anonymizer.weights=runs/ae", "`anonymizer`: `weights` is for `kind: auto_encoder`, not for"),
        (ENSEMBLE, "anonymizer.kind=unet data.frames=15", "`data.frames` is 15: the U-Net needs 16 or more"),
        (ENSEMBLE, "out=./runs/etri/action-ms-g3d", "`out` is './runs/etri/action-ms-g3d', a run that this one reads"),
        (ENSEMBLE, "out=x anonymizer.kind=auto_encoder anonymizer.weights=x/", "`out` is 'x', a run that this one"),
        (ENSEMBLE, "private_optimizer={}", "`private_optimizer` is not a setting"),
        (ENSEMBLE, "action=[]", "`action`: list should have at least 1 item"),
        (ADVERSARIAL, "private=[]", "`private`: list should have at least 1 item"),
        (ADVERSARIAL, "objective.beta=-1", "`objective.beta` is -1: input should be greater than or equal to 0"),
    ],
)  # fmt: skip
def test_an_error_names_key_value_and_what_is_allowed(
    tree: dict[str, Any], overrides: str, message: str, file: Path
) -> None:
    assert error_of(file, tree, *overrides.split()).startswith(message)


def test_a_missing_task_is_answered_with_those_there_are(file: Path) -> None:
    message = "`task` is missing: must be 'classifier', 'auto_encoder', 'adversarial' or 'ensemble'"
    assert error_of(file, without(CLASSIFIER, ("task",))) == message


def test_an_unknown_name_is_answered_with_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known = re.escape(", ".join(RUNS))
    for name in ("utd-mhad-res-avd", "utd-mhad-res-avd.yaml"):
        with pytest.raises(
            ConfigError, match=f"^'{name}' is no file, and does not come with skelanon as these do: {known}$"
        ):
            load_training_run(name)
    with pytest.raises(ConfigError, match=r"^'runs/config.yaml' is no file$"):
        load_training_run(Path("runs/config.yaml"))


def test_overrides_come_after_what_is_extended() -> None:
    run = load_training_run("etri-res-adv", ["data.frames=16", "objective.alpha=2", "objective.alpha=3", "out=x"])
    assert isinstance(run, AdversarialRun)
    assert (run.data.frames, run.objective.alpha, run.objective.beta, run.out) == (16, 3.0, 149.0, "x")
    with pytest.raises(ConfigError, match=r"^utd-mhad-res-adv.yaml: `data.frame` is not a setting$"):
        load_training_run("utd-mhad-res-adv", ["data.frame=16"])


def test_an_override_changes_no_alias_of_what_it_changes(file: Path) -> None:
    same = {"learning_rate": 0.1}
    write(file, {**ADVERSARIAL, "optimizer": same, "private_optimizer": same})
    assert "*id" in file.read_text()
    run = load_training_run(file, ["private_optimizer.learning_rate=0.5"])
    assert isinstance(run, AdversarialRun)
    assert (run.optimizer.learning_rate, run.private_optimizer.learning_rate) == (0.1, 0.5)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.floats(1e-300, 1e300))
def test_any_run_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, out: str, rate: float) -> None:
    run = ClassifierRun.model_validate({**CLASSIFIER, "out": out, "optimizer": {"learning_rate": rate}})
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(resolved_yaml(run), "utf-8")
    assert load_training_run(file) == run
