"""From YAML to a node's settings."""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from .capture import CaptureSettings
from .proxy import ProxySettings
from .schema import NodeSettings
from .tree import UNNAMED, Choice, Tree, checked, override, read

_NODE: Final = TypeAdapter(NodeSettings)
_SENSOR: Final = Choice("kind", ("synthetic", "replay"), place=("sensors", None))
_CAPTURE: Final = TypeAdapter(CaptureSettings)
_CAPTURED: Final = Choice("kind", ("synthetic", "replay"), place=("sensor",))
_PROXY: Final = TypeAdapter(ProxySettings)


def load_settings(path: str | Path, overrides: Iterable[str] = ()) -> NodeSettings:
    """Read a node's settings from a YAML file, or from one that comes with skelanon, named without a folder.

    overrides: `key.to.setting=value` with YAML values, applied in order.
    Raises ConfigError.
    """
    return check(*_read(path, overrides))


def load_capture(path: str | Path, overrides: Iterable[str] = ()) -> CaptureSettings:
    """Read the settings of `skelanon capture`, as `load_settings` reads a node's. Raises ConfigError."""
    return checked(_CAPTURE, _CAPTURED, *_read(path, overrides))


def load_proxy(path: str | Path, overrides: Iterable[str] = ()) -> ProxySettings:
    """Read the settings of `skelanon proxy`, as `load_settings` reads a node's. Raises ConfigError."""
    return checked(_PROXY, _SENSOR, *_read(path, overrides))


def check(tree: object, source: str) -> NodeSettings:
    """Turn a tree of plain values into settings. Raises ConfigError, all faults in one message."""
    return checked(_NODE, _SENSOR, tree, source)


def _read(path: str | Path, overrides: Iterable[str]) -> tuple[Tree, str]:
    """The tree of a file, and what messages call the file."""
    file = Path(path)
    source = str(path) if file.suffix in (".yaml", ".yml") else UNNAMED  # it might be a recording
    if not file.exists() and file.name == str(path):
        shipped = Path(str(resources.files("skelanon.configs") / file.name))
        file = shipped if shipped.exists() else file
    tree = read(file, source)
    override(tree, overrides)
    return tree, source
