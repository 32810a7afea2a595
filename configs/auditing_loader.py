"""From YAML to the settings of an audit: what is told of a data set, and how hard attackers try."""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from .auditing import AuditSettings
from .errors import ConfigError
from .tree import checked, merged, override, read

_AUDIT: Final = TypeAdapter(AuditSettings)
_SHIPPED: Final = Path(str(resources.files("skelanon.configs"))) / "audit"
_PROFILE: Final = "profile-"


def load_audit_settings(
    data: str, kind: str, profile: str, file: str | Path | None = None, overrides: Iterable[str] = ()
) -> AuditSettings:
    """Settings of an audit of the data set in the folder `data`.

    kind: of the data set; its tasks come with skelanon, unless `file` holds others, or names some that do.
    profile: how hard attackers try, by name. overrides: `key.to.setting=value` with YAML values. Raises ConfigError.
    """
    effort = _SHIPPED / f"{_PROFILE}{profile}.yaml"
    if profile not in profiles():
        raise ConfigError(f"the profile is {profile!r}: must be one of {', '.join(profiles())}")
    named = kind if file is None else str(file)
    tasks = _SHIPPED / f"{named}.yaml" if named in kinds() else Path(named)
    if file is None and kind not in kinds():
        raise ConfigError(
            f"no tasks come with skelanon for data of the kind {kind!r}, as they do for {', '.join(kinds())}: "
            "write them to a YAML file, and name it"
        )
    tree = merged(read(effort, effort.name), read(tasks, tasks.name))
    tree["data"] = data
    override(tree, overrides)
    return checked(_AUDIT, None, tree, tasks.name)


def profiles() -> list[str]:
    """Names of the profiles, sorted."""
    return sorted(file.stem.removeprefix(_PROFILE) for file in _SHIPPED.glob(f"{_PROFILE}*.yaml"))


def kinds() -> list[str]:
    """Kinds of data sets whose tasks come with skelanon, and names of further tasks, sorted."""
    return sorted(file.stem for file in _SHIPPED.glob("*.yaml") if not file.stem.startswith(_PROFILE))
