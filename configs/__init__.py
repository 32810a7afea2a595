"""Settings: their schema, their loader, and the YAML files that come with skelanon."""

from .capture import CaptureSettings
from .errors import ConfigError
from .loader import check, load_capture, load_settings
from .schema import (
    NodeSettings,
    PublishSettings,
    RemoteSettings,
    ReplaySettings,
    SensorSettings,
    SyntheticSettings,
)
from .training import AdversarialRun, AutoEncoderRun, ClassifierRun, EnsembleRun, TrainingRun
from .training_loader import load_training_run, resolved_yaml, shipped_runs

__all__ = [
    "AdversarialRun",
    "AutoEncoderRun",
    "CaptureSettings",
    "ClassifierRun",
    "ConfigError",
    "EnsembleRun",
    "NodeSettings",
    "PublishSettings",
    "RemoteSettings",
    "ReplaySettings",
    "SensorSettings",
    "SyntheticSettings",
    "TrainingRun",
    "check",
    "load_capture",
    "load_settings",
    "load_training_run",
    "resolved_yaml",
    "shipped_runs",
]
