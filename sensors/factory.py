"""From settings to the sensor they describe. A source is imported only where it is asked for."""

from skelanon.configs.schema import (
    AzureKinectSettings,
    KinectV2Settings,
    RemoteSettings,
    ReplaySettings,
    SensorSettings,
    SyntheticSettings,
)

from .errors import SensorError
from .sensor import Sensor


def create_sensor(settings: SensorSettings) -> Sensor:
    """The sensor that `settings` describe, not yet open. Raises LinkError for a `remote` one that must not be."""
    match settings:
        case SyntheticSettings():
            from .synthetic import Synthetic

            return Synthetic(settings)
        case ReplaySettings():
            from .replay import Replay

            return Replay(settings)
        case AzureKinectSettings():
            from .azure_kinect import AzureKinect

            return AzureKinect(settings)
        case RemoteSettings():
            from .remote import Remote

            return Remote(settings)
        case KinectV2Settings():
            from .kinect_v2 import KinectV2

            return KinectV2(settings)


def check_recording(settings: SensorSettings) -> None:
    """Raise SensorError where `settings` name a recording and there is none to play; cameras are not touched."""
    match settings:
        case ReplaySettings():
            with create_sensor(settings):
                pass
        case AzureKinectSettings(file=str(file)):
            if (reason := _why_unreadable(file)) is not None:
                raise SensorError(f"`file` cannot be read: {reason}; name a recording (.mkv)")


def _why_unreadable(path: str) -> str | None:
    """In words that do not name it."""
    try:
        with open(path, "rb"):
            return None
    except OSError as error:
        return error.strerror
    except ValueError:  # a NUL in the path
        return "not a path"
