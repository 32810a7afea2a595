"""Trees of plain values, as all settings begin: read from YAML, changed by overrides, checked against a schema.

Each error names the file, the key, the value and what is allowed.
"""

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from .errors import ConfigError

Tree = dict[str, Any]
T = TypeVar("T")

UNNAMED: Final = "the configuration"
"""The source of settings whose file no message names."""

_SILENT_KEYS: Final = {"path", "file", "serial"}
"""Keys whose values no message shows: the name of a recording may name a person, a serial number a place."""
_PLAIN: Final = re.compile(r"[A-Za-z_ ]{0,20}|[a-z0-9_-]{1,64}|[-+.0-9]{1,16}")
"""What stands in the wrong place and is yet no path and no name of a recording."""
_EXPONENT: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
"""Numbers that YAML 1.1 takes for text."""
_NOT_SETTINGS: Final = {"dict_type", "model_type", "model_attributes_type"}
_MERGE_TAG: Final = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Choice:
    """The place in a schema where one key decides which settings stand beside it (a discriminated union)."""

    key: str
    """The key that decides."""
    names: tuple[str, ...]
    """Its values."""
    place: tuple[str | None, ...] = ()
    """The keys that lead there, None for any; the top where empty."""

    def leads_to(self, location: list[str]) -> bool:
        """Whether a location lies there, or below."""
        return len(location) >= len(self.place) and all(
            key in (None, part) for key, part in zip(self.place, location, strict=False)
        )


def read(file: Path, source: str) -> Tree:
    """The tree of a YAML file that messages call `source`. Raises ConfigError."""
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


def override(tree: Tree, overrides: Iterable[str]) -> None:
    """Change a tree in place by `key.to.setting=value` with YAML values, applied in order. Raises ConfigError."""
    for number, text in enumerate(overrides, 1):
        _apply(tree, number, text)


def merged(below: Tree, above: Tree) -> Tree:
    """One tree over another: mappings key by key, anything else replaced."""
    result = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            result[key] = merged(below[key], above[key])
    return result


def checked(schema: TypeAdapter[T], choice: Choice | None, tree: object, source: str) -> T:
    """Turn a tree into the settings of a schema; `choice` is the one in it, if any. Raises ConfigError."""
    try:
        return schema.validate_python(tree)
    except ValidationError as error:
        faults = "; ".join(_describe(fault, choice) for fault in error.errors(include_url=False))
        raise ConfigError(f"{source}: {faults}") from None  # pydantic's own text shows whole inputs


def _parse(text: str, source: str) -> object:
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        problem = re.sub("'(.*?)'", lambda quoted: f"'{_shown(quoted[1])}'", error.problem or "")
        raise ConfigError(f"{source}: line {line}: not valid YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError):  # the last two: an impossible date, a thousand brackets
        raise ConfigError(f"{source}: not valid YAML") from None


def _apply(tree: Tree, number: int, text: str) -> None:
    key, separator, value_text = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {number} must have the form key=value")
    shown = _key(key.split("."))
    value = _parse(value_text, f"override of `{shown}`")
    *parents, last = key.split(".")
    branch = tree
    for parent in parents:
        below = branch.setdefault(parent, {})
        if not isinstance(below, dict):
            raise ConfigError(f"override of `{shown}`: `{_shown(parent)}` holds a value, not settings")
        branch[parent] = below.copy()  # a YAML alias of it elsewhere stays as it is
        branch = branch[parent]
    branch[last] = value


def _describe(fault: ErrorDetails, choice: Choice | None) -> str:
    location = [str(part) for part in fault["loc"]]
    kind, context = fault["type"], fault.get("ctx", {})
    chosen = choice is not None and choice.leads_to(location)
    if choice is not None and chosen:
        tag = len(choice.place)
        del location[tag : tag + 1]  # pydantic puts the name of what was chosen there
    key = _key(part for part in location if part != "[key]")
    if kind == "extra_forbidden":
        return f"`{key}` is not a setting"
    if kind == "missing":
        return f"`{key}` is missing"
    if choice is not None and kind == "union_tag_not_found":
        *names, last = (repr(name) for name in choice.names)
        return f"`{_key([*location, choice.key])}` is missing: must be {', '.join(names)} or {last}"
    if choice is not None and kind == "union_tag_invalid":
        tag_shown = repr(_shown(str(context["tag"])))
        return f"`{_key([*location, choice.key])}` is {tag_shown}: must be one of {context['expected_tags']}"
    if kind in _NOT_SETTINGS:
        return f"{f'`{key}` ' if key else ''}must hold settings, `key: value`"
    return _describe_value(fault, location, key, chosen)


def _describe_value(fault: ErrorDetails, location: list[str], key: str, chosen: bool) -> str:
    value, message = fault["input"], fault["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not key:
        return message
    if location[-1] in _SILENT_KEYS or not isinstance(value, str | int | float | None):
        return f"`{key}`: {message}"
    if fault["type"] == "float_type" and isinstance(value, str) and _EXPONENT.fullmatch(value):
        message += "; YAML asks for point and sign: 1.0e-3"
    if chosen and isinstance(value, str):
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
