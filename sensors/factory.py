"""From settings to the sensor they describe. A source is imported only where it is asked for."""

from skelanon.configs.schema import (
    AzureKinectSettings,
    KinectV2Settings,
    RemoteSettings,
    ReplaySettings,
    SensorSettings,
    SyntheticSettings,
)

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
