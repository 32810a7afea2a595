"""From settings to the sensor they describe. A source is imported only where it is asked for."""

from skelanon.configs.schema import AzureKinectSettings, ReplaySettings, SensorSettings, SyntheticSettings

from .sensor import Sensor


def create_sensor(settings: SensorSettings) -> Sensor:
    """The sensor that `settings` describe, not yet open."""
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
