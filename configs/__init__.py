"""Settings: their schema, their loader, and the YAML files that come with skelanon."""

from .errors import ConfigError
from .loader import check, load_settings
from .schema import NodeSettings, PublishSettings, ReplaySettings, SensorSettings, SyntheticSettings

__all__ = [
    "ConfigError",
    "NodeSettings",
    "PublishSettings",
    "ReplaySettings",
    "SensorSettings",
    "SyntheticSettings",
    "check",
    "load_settings",
]
