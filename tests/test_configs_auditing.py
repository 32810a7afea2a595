"""Settings of audits: what comes with skelanon loads, and what is wrong is named."""

from typing import Any

import pytest
import yaml

from skelanon.configs import ConfigError
from skelanon.configs.auditing_loader import kinds, load_audit_settings, profiles


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("profile", profiles())
def test_all_that_is_shipped_loads(kind: str, profile: str) -> None:
    settings = load_audit_settings("datasets/x", kind, profile)
    assert settings.data == "datasets/x"
    assert any(task.use == "private" and task.label == "subject" for task in settings.tasks)


def test_the_full_profile_tries_harder() -> None:
    quick, full = (load_audit_settings("x", "utd-mhad", profile) for profile in ("quick", "full"))
    assert len(full.attackers.seeds) >= 3
    assert set(quick.attackers.families) < set(full.attackers.families)
    assert len(set(full.attackers.families) - {"proportions", "statistics", "frame", "window"}) >= 4
    assert full.attackers.patience > quick.attackers.patience


def test_settings_can_be_changed() -> None:
    settings = load_audit_settings("x", "kgbd", "quick", overrides=["attackers.max_epochs=1", "frames=16"])
    assert (settings.attackers.max_epochs, settings.frames) == (1, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 6}, "`frames` is 6"),
        ({"tasks": []}, "`tasks`"),
        ({"linkage": {"split": {"by": "trial", "test": [1]}}}, "`split.by` is 'trial'"),
        ({"speed": 1}, "`speed` is not a setting"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Any, change: dict[str, Any], message: str) -> None:
    task = {"name": "it", "label": "subject", "split": {"by": "trial", "test": [1]}}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"tasks": [task], **change}))
    with pytest.raises(ConfigError) as error:
        load_audit_settings("x", "mine", "quick", file)
    assert message in str(error.value)


def test_names_stand_once(tmp_path: Any) -> None:
    task = {"name": "it", "label": "subject", "split": {"by": "trial", "test": [1]}}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"tasks": [task, task]}))
    with pytest.raises(ConfigError, match="each once"):
        load_audit_settings("x", "mine", "quick", file)


def test_unknown_profiles_and_kinds_are_named() -> None:
    with pytest.raises(ConfigError, match="'slow': must be one of full, quick"):
        load_audit_settings("x", "utd-mhad", "slow")
    with pytest.raises(ConfigError, match="no tasks come with skelanon for data of the kind 'mine'"):
        load_audit_settings("x", "mine", "quick")


def test_further_tasks_are_taken_by_name() -> None:
    settings = load_audit_settings("x", "utd-mhad", "quick", "utd-mhad-unseen")
    assert [task.split.where for task in settings.tasks] == [{"subject": [5, 6, 7, 8]}, {}, {"subject": [5, 6, 7, 8]}]
