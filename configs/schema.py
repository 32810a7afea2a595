"""Every setting of a node, checked when it is loaded. A docstring line per field; nothing is changed silently."""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

StreamName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
RunnerName = Literal["cpu", "cuda", "ort_tensorrt", "tensorrt"]


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
    """A recording of any kind that is known (docs/sensors.md lists them), or a folder of them, played as if live."""

    kind: Literal["replay"]
    """Which kind of sensor it is."""
    path: str = Field(min_length=1, repr=False)  # a name may name a person
    """File or folder; kinds are told apart by content, and a folder is played in the order of its names."""
    rate_hz: float = Field(default=30.0, gt=0, le=1000)
    """Frames per second; NTU recordings were made at 30."""
    loop: bool = False
    """Start again at the end."""
    fast: bool = False
    """As fast as the node takes them, and losing none, instead of at `rate_hz`."""
    timestamps: Literal["now", "original"] = "now"
    """`now`: the time of handing over; `original`: the recording's own clock (or `rate_hz`), from 1970 on."""


class CameraSettings(Settings):
    """What all cameras have in common whose software runs in a process of its own."""

    start_timeout_s: float = Field(default=60.0, gt=0, le=3600)
    """The camera must be ready within this time."""
    frame_timeout_s: float = Field(default=5.0, gt=0, le=3600)
    """So long without a frame of bodies, be it an empty one, is a fault."""
    hang_timeout_s: float = Field(default=5.0, ge=1, le=3600)
    """The camera's process is killed when it has given no sign of life for so long."""
    memory_limit_mb: int = Field(default=4096, ge=1)
    """The camera's process is replaced when it holds more memory than this, since body tracking leaks."""


class AzureKinectSettings(CameraSettings):
    """An Azure Kinect, or an Orbbec Femto through its K4A wrapper; or a recording of one (`.mkv`)."""

    kind: Literal["azure_kinect"]
    """Which kind of sensor it is."""
    device: int = Field(default=0, ge=0, le=255)
    """Which of the connected cameras, from 0 on; their order may change when one is plugged in again."""
    serial: str | None = Field(default=None, min_length=1, max_length=64, repr=False)
    """Serial number of the camera, in place of `device`: stays right whatever else is plugged in."""
    file: str | None = Field(default=None, min_length=1, repr=False)  # a name may name a person
    """A recording (`.mkv`, made by k4arecorder) to play instead of a camera, as if it were live."""
    fast: bool = False
    """For `file`: as fast as the tracker and the node take the frames, and losing none."""
    depth_mode: Literal["nfov_binned", "nfov_unbinned", "wfov_binned", "wfov_unbinned"] = "nfov_unbinned"
    """Narrow or wide field of view; binned halves the resolution and reaches farther. A `file` has its own."""
    rate_hz: Literal[5, 15, 30] = Field(default=30, validate_default=True)
    """Frames per second; `wfov_unbinned` allows 15 at most. A `file` has its own."""
    processing: Literal["gpu", "cuda", "tensorrt", "directml", "cpu"] = "gpu"
    """What the body tracker runs on; `gpu` is its own choice for the platform, `cpu` manages a few frames a second."""
    gpu: int = Field(default=0, ge=0, le=255)
    """Which GPU the body tracker runs on."""
    tracker_model: str | None = Field(default=None, min_length=1)
    """Path of the tracker's network (`dnn_model_2_0_lite_op11.onnx`, say); its default one where absent."""
    smoothing: float | None = Field(default=None, ge=0, le=1)
    """Temporal smoothing by the tracker, 0 none, 1 full; its own default where absent."""
    libraries: str | None = Field(default=None, min_length=1)
    """Folder whose libk4a, libk4arecord and libk4abt, where it has them, are used instead of the system's."""
    start_timeout_s: float = Field(default=60.0, gt=0, le=3600)
    """Camera and tracker must be ready within this time; `tensorrt` needs minutes when it starts for the first time."""

    @field_validator("rate_hz")
    @classmethod
    def _slow_when_wide(cls, rate_hz: int, info: ValidationInfo) -> int:
        if rate_hz == 30 and info.data.get("depth_mode") == "wfov_unbinned" and info.data.get("file") is None:
            raise ValueError("the camera delivers `wfov_unbinned` at 5 or 15 only")
        return rate_hz

    @field_validator("fast")
    @classmethod
    def _cameras_have_their_own_pace(cls, fast: bool, info: ValidationInfo) -> bool:
        if fast and info.data.get("file") is None:
            raise ValueError("only a `file` can be played faster than it was recorded")
        return fast


class KinectV2Settings(CameraSettings):
    """A Kinect v2, which is Kinect for Xbox One, on Windows; its software knows but one for each machine."""

    kind: Literal["kinect_v2"]
    """Which kind of sensor it is."""

    @property
    def rate_hz(self) -> float:
        """Frames per second, the only rate it has."""
        return 30.0

    @property
    def fast(self) -> bool:
        """A camera has its own pace: the newest wins."""
        return False


class RemoteCurveSettings(Settings):
    """CURVE encryption of a remote sensor: the node's own key pair, and the one sender that may connect."""

    secret_key: str = Field(min_length=1)
    """The node's `.key_secret` file, made by `skelanon keys new`."""
    sender: str = Field(min_length=1)
    """The sender's public `.key` file."""


class RemoteSettings(Settings):
    """A sensor elsewhere, whose frames `skelanon capture` sends, or another program that docs/remote.md describes."""

    kind: Literal["remote"]
    """Which kind of sensor it is."""
    endpoint: str = "tcp://127.0.0.1:7401"
    """ZeroMQ address to bind, one for each sender: tcp:// or ipc://. Any but loopback needs `curve`."""
    curve: RemoteCurveSettings | None = None
    """Encryption, and who may send; required when other machines can reach `endpoint`."""
    rate_hz: float = Field(default=30.0, gt=0, le=1000)
    """Frames per second that the sender's sensor usually makes."""
    max_delay_s: float = Field(default=2.0, gt=0, le=3600)
    """A frame that arrives so long after it was captured is dropped."""

    @property
    def fast(self) -> bool:
        """What comes from a sender is live: the newest wins."""
        return False


LocalSensorSettings = SyntheticSettings | ReplaySettings | AzureKinectSettings | KinectV2Settings
SensorSettings = Annotated[LocalSensorSettings | RemoteSettings, Field(discriminator="kind")]


class ModelSettings(Settings):
    """Which bundle anonymizes, and how it is run."""

    bundle: str = "default"
    """Path of a bundle, or `default` for the one that comes with skelanon (Template)."""
    sha256: Sha256 | None = None
    """Refuse any other bundle than the one with this digest (`skelanon inspect` prints it)."""
    threads: int = Field(default=1, ge=1, le=64)
    """Threads of one model call on the CPU; one is fastest for small models."""
    runner: Literal["cpu", "cuda", "ort_tensorrt", "tensorrt", "auto"] = "cpu"
    """What runs the bundle; `auto` measures all that are at hand and takes the one with the best p99."""
    fallback: RunnerName | None = None
    """What takes over, from fresh states, when `runner` cannot be started or started again; otherwise nothing does."""
    precision: Literal["exact", "tf32"] = "exact"
    """On GPUs: `exact` multiplies in the bundle's own types; `tf32` lets float32 lose 13 of 23 bits, for speed."""
    buckets: list[Annotated[int, Field(ge=1, le=65536)]] = Field(
        default_factory=lambda: [1, 4, 16, 64, 256, 1024, 4096], min_length=1, max_length=16
    )
    """Batch sizes that a GPU is prepared for, ascending; a batch is filled up to the next one, or cut up."""
    cache: str | None = Field(default=None, min_length=1)
    """Folder for built engines and what `auto` has measured; otherwise `skelanon` in the user's cache folder."""

    @field_validator("buckets")
    @classmethod
    def _ascending(cls, buckets: list[int]) -> list[int]:
        if sorted(set(buckets)) != buckets:
            raise ValueError("batch sizes must ascend, each named once")
        return buckets

    @field_validator("fallback")
    @classmethod
    def _another(cls, fallback: str | None, info: ValidationInfo) -> str | None:
        if fallback is not None and fallback == info.data.get("runner"):
            raise ValueError("it must be another runner than `model.runner`")
        return fallback


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


class MetricsSettings(Settings):
    """The HTTP address that monitors ask: `/metrics` for Prometheus, `/health`, `/ready`."""

    endpoint: str
    """ADDRESS:PORT, the address a number or `localhost`. It is not encrypted, and shows when people are there."""

    @field_validator("endpoint")
    @classmethod
    def _an_address(cls, endpoint: str) -> str:
        host, _, port = endpoint.rpartition(":")
        host = "127.0.0.1" if host == "localhost" else host
        try:
            IPv6Address(host[1:-1]) if host[:1] + host[-1:] == "[]" else IPv4Address(host)
            if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
                raise ValueError("no port")
        except ValueError:
            raise ValueError("it must be ADDRESS:PORT, such as 127.0.0.1:9464 or [::1]:9464") from None
        return f"{host}:{port}"


class LogSettings(Settings):
    """What the node writes to standard error."""

    format: Literal["human", "json"] = "human"
    """Lines for people, or one JSON object to a line."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least of what is written."""


class NodeSettings(Settings):
    """A whole node: sensors in, anonymous skeletons out."""

    sensors: dict[StreamName, SensorSettings] = Field(min_length=1, max_length=1024)
    """One entry for each stream: its public name, then its sensor."""
    model: ModelSettings = ModelSettings()
    """The anonymizer."""
    publish: PublishSettings = PublishSettings()
    """The way out."""
    metrics: MetricsSettings | None = None
    """Where monitors ask how the node is doing; nowhere where absent."""
    log: LogSettings = LogSettings()
    """What is logged, and how."""

    track_timeout_s: float = Field(default=1.0, gt=0, le=3600)
    """A body unseen for so long is forgotten: it gets a new id and a fresh model state when it comes back."""

    @field_validator("sensors")
    @classmethod
    def _live_or_fast(cls, sensors: dict[str, SensorSettings]) -> dict[str, SensorSettings]:
        if len({sensor.fast for sensor in sensors.values()}) > 1:
            raise ValueError("`fast` sensors wait for slow subscribers, live ones cannot: give each kind its own node")
        return sensors
