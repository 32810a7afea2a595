"""From YAML to checked settings. Each error names the file, the key, the value and what is allowed."""

from collections.abc import Hashable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .errors import ConfigError
from .schema import NodeSettings

_SILENT_KEYS = {"path"}
"""Keys whose values no message shows: the name of a recording may name a person."""


def load_settings(path: str | Path, overrides: Iterable[str] = ()) -> NodeSettings:
    """Read a node's settings from a YAML file, or from one that comes with skelanon, named without a folder.

    overrides: `key.to.setting=value` with YAML values, applied in order.
    Raises ConfigError.
    """
    file = Path(path)
    if not file.exists() and file.name == str(path):
        shipped = Path(str(resources.files("skelanon.configs") / file.name))
        file = shipped if shipped.exists() else file
    tree = _read(file)
    for override in overrides:
        _apply(tree, override)
    return check(tree, str(path))


def check(tree: object, source: str) -> NodeSettings:
    """Turn a tree of plain values into settings. Raises ConfigError, all faults in one message."""
    try:
        return NodeSettings.model_validate(tree)
    except ValidationError as error:
        faults = "; ".join(_describe(fault) for fault in error.errors(include_url=False))
        raise ConfigError(f"{source}: {faults}") from None  # pydantic's own text shows whole inputs


def _read(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(file.read_text("utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(f"{file}: line {line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise ConfigError(f"{file}: not valid YAML") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: must hold settings, `key: value`")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {key!r} must have the form key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"override of `{key}`: the value is not valid YAML") from None
    *parents, last = key.split(".")
    branch = tree
    for parent in parents:
        branch = branch.setdefault(parent, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"override of `{key}`: `{parent}` holds a value, not settings")
    branch[last] = value


def _describe(fault: ErrorDetails) -> str:
    location = [str(part) for part in fault["loc"]]
    kind = fault["type"]
    if location[:1] == ["sensors"] and len(location) > 2:
        del location[2]  # pydantic puts the sensor's kind there
    key = ".".join(part for part in location if part != "[key]")
    if kind == "extra_forbidden":
        return f"`{key}` is not a setting"
    message = fault["msg"][0].lower() + fault["msg"][1:]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        context = fault.get("ctx", {})
        allowed = context.get("expected_tags", "'synthetic', 'replay'")
        return f"`{key}.kind` is {context.get('tag')!r}: must be one of {allowed}"
    value = fault["input"]
    if kind == "missing":
        return f"`{key}` is missing"
    if location[-1] in _SILENT_KEYS or not isinstance(value, str | int | float | None):
        return f"`{key}`: {message}"
    return f"`{key}` is {value!r}: {message}"


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which plain YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} stands twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)
