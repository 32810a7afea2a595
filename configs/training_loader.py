"""From YAML to the settings of a training run, and back."""

import os
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Final

import yaml
from pydantic import TypeAdapter

from .errors import ConfigError
from .training import TrainingRun
from .tree import Choice, Tree, checked, merged, override, read

_RUN: Final[TypeAdapter[TrainingRun]] = TypeAdapter(TrainingRun)
_TASK: Final = Choice("task", ("classifier", "auto_encoder", "adversarial", "ensemble"))
_SHIPPED: Final = Path(str(resources.files("skelanon.configs"))) / "train"
_PARTS: Final = ("base-", "recipe-")
"""How the names of files begin that only others extend."""


def load_training_run(path_or_name: str | Path, overrides: Iterable[str] = ()) -> TrainingRun:
    """Read a training run from a YAML file, or from one that comes with skelanon, by its name without a folder.

    A file may begin with `extends`: another, or a list of them, beside it or shipped. They are merged in order and the
    file itself last: mappings key by key, anything else replaced.

    overrides: `key.to.setting=value` with YAML values, applied in order.
    Raises ConfigError.
    """
    file = _find(str(path_or_name), Path(), shipped_runs())
    tree = _extended(file, ())
    override(tree, overrides)
    return checked(_RUN, _TASK, tree, _source(file))


def shipped_runs() -> list[str]:
    """Names of the training runs that come with skelanon, sorted."""
    return [name for name in _shipped() if not name.startswith(_PARTS)]


def resolved_yaml(run: TrainingRun) -> str:
    """All settings of a run, defaults included, as YAML that loads to an equal run."""
    return yaml.safe_dump(run.model_dump(), sort_keys=False)  # ASCII: PyYAML loses a lone U+0085 else


def _extended(file: Path, above: tuple[Path, ...]) -> Tree:
    """The tree of a file, merged over what it extends; `above`: the files that led here."""
    source = _source(file)
    tree = read(file, source)
    names = tree.pop("extends", [])
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{source}: `extends` must be the name of a file, or a list of names")
    way = (*above, file.resolve())
    tree_below: Tree = {}
    for name in names:
        try:
            base = _find(name, file.parent, _shipped())
        except ConfigError as error:
            raise ConfigError(f"{source}: `extends`: {error}") from None
        if base.resolve() in way:
            circle = " -> ".join(step.name for step in (*way[way.index(base.resolve()) :], base))
            raise ConfigError(f"{source}: `extends` goes in a circle: {circle}")
        tree_below = merged(tree_below, _extended(base, way))
    return merged(tree_below, tree)


def _find(name: str, folder: Path, known: list[str]) -> Path:
    """The file that a name stands for: one below `folder`, else a shipped one, with or without `.yaml`.

    known: the shipped ones that the message names where there is neither.
    """
    file, shipped = folder / name, _SHIPPED / f"{name.removesuffix('.yaml')}.yaml"
    if os.path.isfile(file):  # Path's own raises for names that no file can have
        return file
    if Path(name).name != name:
        raise ConfigError(f"{name!r} is no file")
    if not os.path.isfile(shipped):
        raise ConfigError(f"{name!r} is no file, and does not come with skelanon as these do: {', '.join(known)}")
    return shipped


def _shipped() -> list[str]:
    return sorted(file.stem for file in _SHIPPED.glob("*.yaml"))


def _source(file: Path) -> str:
    return file.name if file.parent == _SHIPPED else str(file)
