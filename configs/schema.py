"""Every setting of a node, checked when it is loaded. A docstring line per field; nothing is changed silently."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

StreamName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Settings(BaseModel):
    """Base of all settings: an unknown key is an error, and a loaded value does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, strict=True)


class SyntheticSettings(Settings):
    """A made-up population that walks, waves, sits and falls: for demos, tests and benchmarks."""

    kind: Literal["synthetic"]
    """Which kind of sensor it is."""
    persons: int = Field(default=2, ge=0, le=6)
    """Bodies in view at the same time."""
    rate_hz: float = Field(default=30.0, gt=0, le=1000)
    """Frames per second."""
    seed: int = Field(default=0, ge=0)
    """Chooses who is in view (body proportions, gait style) and what they do; the same seed gives the same frames."""
    frames: int | None = Field(default=None, ge=1)
    """End after so many frames; never where absent."""
    fast: bool = False
    """As fast as the node takes them, and losing none, instead of at `rate_hz`."""


class ReplaySettings(Settings):
    """A recorded `.skeleton` file, or a folder of them, played as if it were live."""

    kind: Literal["replay"]
    """Which kind of sensor it is."""
    path: str = Field(min_length=1, repr=False)  # a name may name a person
    """File or folder; a folder is played in the order of its names."""
    rate_hz: float = Field(default=30.0, gt=0, le=1000)
    """Frames per second; NTU recordings were made at 30."""
    loop: bool = False
    """Start again at the end."""
    fast: bool = False
    """As fast as the node takes them, and losing none, instead of at `rate_hz`."""
    timestamps: Literal["now", "original"] = "now"
    """`now`: the time of handing over; `original`: the frame's place in the recording at `rate_hz`, from 1970 on."""


SensorSettings = Annotated[SyntheticSettings | ReplaySettings, Field(discriminator="kind")]


class ModelSettings(Settings):
    """Which bundle anonymizes, and how it is run."""

    bundle: str = "default"
    """Path of a bundle, or `default` for the one that comes with skelanon (Template)."""
    sha256: Sha256 | None = None
    """Refuse any other bundle than the one with this digest (`skelanon inspect` prints it)."""
    threads: int = Field(default=1, ge=1, le=64)
    """Threads of one model call; one is fastest for small models."""


class CurveSettings(Settings):
    """CURVE encryption: the node's own key pair and the public keys of the clients that may subscribe."""

    secret_key: str
    """The node's `.key_secret` file, made by `skelanon keys new`."""
    clients: str
    """Folder with one public `.key` file for each allowed client."""


class PublishSettings(Settings):
    """Where and what the node publishes."""

    endpoint: str = "tcp://127.0.0.1:7400"
    """ZeroMQ address to bind: tcp:// or ipc://. Any but loopback needs `curve`."""
    curve: CurveSettings | None = None
    """Encryption and allow-list; required when other machines can reach `endpoint`."""
    tracking: bool = True
    """Publish the tracking state (0, 1, 2) of each joint."""
    wait_for_subscribers: int = Field(default=0, ge=0, le=1000)
    """Start the sensors once so many subscriptions have arrived (for lossless replay)."""


class NodeSettings(Settings):
    """A whole node: sensors in, anonymous skeletons out."""

    sensors: dict[StreamName, SensorSettings] = Field(min_length=1, max_length=1024)
    """One entry for each stream: its public name, then its sensor."""
    model: ModelSettings = ModelSettings()
    """The anonymizer."""
    publish: PublishSettings = PublishSettings()
    """The way out."""

    track_timeout_s: float = Field(default=1.0, gt=0, le=3600)
    """A body unseen for so long is forgotten: it gets a new id and a fresh model state when it comes back."""

    @field_validator("sensors")
    @classmethod
    def _live_or_fast(cls, sensors: dict[str, SensorSettings]) -> dict[str, SensorSettings]:
        if len({sensor.fast for sensor in sensors.values()}) > 1:
            raise ValueError("`fast` sensors wait for slow subscribers, live ones cannot: give each kind its own node")
        return sensors
