"""From YAML to checked settings. Each error names the file, the key, the value and what is allowed."""

import re
from collections.abc import Hashable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .errors import ConfigError
from .schema import NodeSettings

_SILENT_KEYS: Final = {"path"}
"""Keys whose values no message shows: the name of a recording may name a person."""
_PLAIN: Final = re.compile(r"[A-Za-z_ ]{0,20}|[a-z0-9_-]{1,64}|[-+.0-9]{1,16}")
"""What stands in the wrong place and is yet no path and no name of a recording."""
_NOT_SETTINGS: Final = {"dict_type", "model_type", "model_attributes_type"}
_MERGE_TAG: Final = "tag:yaml.org,2002:merge"

UNNAMED: Final = "the configuration"


def load_settings(path: str | Path, overrides: Iterable[str] = ()) -> NodeSettings:
    """Read a node's settings from a YAML file, or from one that comes with skelanon, named without a folder.

    overrides: `key.to.setting=value` with YAML values, applied in order.
    Raises ConfigError.
    """
    file = Path(path)
    source = str(path) if file.suffix in (".yaml", ".yml") else UNNAMED  # it might be a recording
    if not file.exists() and file.name == str(path):
        shipped = Path(str(resources.files("skelanon.configs") / file.name))
        file = shipped if shipped.exists() else file
    tree = _read(file, source)
    for number, override in enumerate(overrides, 1):
        _apply(tree, number, override)
    return check(tree, source)


def check(tree: object, source: str) -> NodeSettings:
    """Turn a tree of plain values into settings. Raises ConfigError, all faults in one message."""
    try:
        return NodeSettings.model_validate(tree)
    except ValidationError as error:
        faults = "; ".join(_describe(fault) for fault in error.errors(include_url=False))
        raise ConfigError(f"{source}: {faults}") from None  # pydantic's own text shows whole inputs


def _read(file: Path, source: str) -> dict[str, Any]:
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        name = "" if source == UNNAMED else f" {source}"
        raise ConfigError(f"cannot read the configuration{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{source}: not UTF-8 text") from None
    tree = _parse(text, source)
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: must hold settings, `key: value`")
    return tree


def _parse(text: str, source: str) -> object:
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        problem = re.sub("'(.*?)'", lambda quoted: f"'{_shown(quoted[1])}'", error.problem or "")
        raise ConfigError(f"{source}: line {line}: not valid YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError):  # the last two: an impossible date, a thousand brackets
        raise ConfigError(f"{source}: not valid YAML") from None


def _apply(tree: dict[str, Any], number: int, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {number} must have the form key=value")
    shown = _key(key.split("."))
    value = _parse(text, f"override of `{shown}`")
    *parents, last = key.split(".")
    branch = tree
    for parent in parents:
        branch = branch.setdefault(parent, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"override of `{shown}`: `{_shown(parent)}` holds a value, not settings")
    branch[last] = value


def _describe(fault: ErrorDetails) -> str:
    location = [str(part) for part in fault["loc"]]
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    in_sensor = location[:1] == ["sensors"]
    if in_sensor and len(location) > 2:
        del location[2]  # pydantic puts the sensor's kind there
    key = _key(part for part in location if part != "[key]")
    if kind == "extra_forbidden":
        return f"`{key}` is not a setting"
    if kind == "missing":
        return f"`{key}` is missing"
    if kind == "union_tag_not_found":
        return f"`{key}.kind` is missing: must be 'synthetic' or 'replay'"
    if kind == "union_tag_invalid":
        return f"`{key}.kind` is {_shown(str(context['tag']))!r}: must be one of {context['expected_tags']}"
    if kind in _NOT_SETTINGS:
        return f"{f'`{key}` ' if key else ''}must hold settings, `key: value`"
    message = fault["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if location[-1] in _SILENT_KEYS or not isinstance(value, str | int | float | None):
        return f"`{key}`: {message}"
    if in_sensor and isinstance(value, str):
        value = _shown(value)
    return f"`{key}` is {value!r}: {message}"


def _key(parts: Iterable[str]) -> str:
    return ".".join(_shown(part) for part in parts)


def _shown(text: str) -> str:
    """Text of the user's as a message may repeat it: not if it might be the name of a recording."""
    return text if _PLAIN.fullmatch(text) else "..."


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which plain YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE_TAG:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key '{key}' stands twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)
