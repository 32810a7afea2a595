"""Settings of `skelanon capture`, which sends a sensor's raw frames to a node's `remote` sensor."""

from typing import Annotated

from pydantic import Field, field_validator

from .schema import LocalSensorSettings, ReplaySettings, Settings


class CaptureCurveSettings(Settings):
    """CURVE encryption: the sender's own key pair, and the one node that it sends to."""

    secret_key: str = Field(min_length=1)
    """The sender's `.key_secret` file, made by `skelanon keys new`."""
    node: str = Field(min_length=1)
    """The node's public `.key` file."""


class CaptureSettings(Settings):
    """A sensor, and the node that gets its raw frames."""

    sensor: Annotated[LocalSensorSettings, Field(discriminator="kind")]
    """The sensor, as in a node's `sensors`: of any kind but `remote`."""
    endpoint: str = "tcp://127.0.0.1:7401"
    """ZeroMQ address of the node's `remote` sensor: tcp:// or ipc://. Any but loopback needs `curve`."""
    curve: CaptureCurveSettings | None = None
    """Encryption, and who gets the frames; required when `endpoint` is at another machine."""

    @field_validator("sensor")
    @classmethod
    def _live(cls, sensor: LocalSensorSettings) -> LocalSensorSettings:
        if sensor.fast:
            raise ValueError("`fast` sensors wait for slow readers; a link to a node carries live ones only")
        if isinstance(sensor, ReplaySettings) and sensor.timestamps != "now":
            raise ValueError("`timestamps` must be `now`: the node drops frames that are as old as recordings are")
        return sensor
