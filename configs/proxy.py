"""Settings of `skelanon proxy`, which gathers the streams of many nodes and hands each client those it may see."""

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .schema import LogSettings, MetricsSettings, Settings, StreamName

Streams = Annotated[list[StreamName], Field(min_length=1, max_length=1024)]


class UpstreamSettings(Settings):
    """A node, and the streams that are taken from it; whatever else it publishes is dropped."""

    endpoint: str
    """ZeroMQ address of the node: tcp:// or ipc://. Any but loopback needs `key`."""
    key: str | None = Field(default=None, min_length=1)
    """The node's public `.key` file; required when `endpoint` is at another machine."""
    streams: Streams
    """Names of the node's streams. No two nodes have one of the same name."""


class DoorSettings(Settings):
    """An address for clients that may all see the same streams."""

    endpoint: str
    """ZeroMQ address to bind: tcp:// or ipc://. It is always encrypted."""
    clients: str
    """Folder with one public `.key` file for each client that is let in here."""
    streams: Streams | Literal["all"]
    """What they may see: names of streams, or `all`."""


class ProxySettings(Settings):
    """A whole proxy: nodes in, one door out for each set of permissions."""

    secret_key: str = Field(min_length=1)
    """The proxy's own `.key_secret` file: nodes know it as a client, clients as their node."""
    nodes: dict[StreamName, UpstreamSettings] = Field(min_length=1, max_length=256)
    """One entry for each node: a name for logs and metrics, then where it is."""
    doors: dict[StreamName, DoorSettings] = Field(min_length=1, max_length=64)
    """One entry for each set of permissions: a name for logs and metrics, then who may see what, and where."""
    metrics: MetricsSettings | None = None
    """Where monitors ask how the proxy is doing; nowhere where absent."""
    log: LogSettings = LogSettings()
    """What is logged, and how."""

    @property
    def streams(self) -> list[str]:
        """Names of all streams, in the order of the nodes."""
        return [stream for node in self.nodes.values() for stream in node.streams]

    @model_validator(mode="after")
    def _every_stream_once(self) -> "ProxySettings":
        twice = sorted(stream for stream, times in Counter(self.streams).items() if times > 1)
        if twice:
            raise ValueError(f"`nodes`: the stream {twice[0]!r} is taken twice; streams have one name each, once")
        for name, door in self.doors.items():
            unknown = [] if door.streams == "all" else sorted(set(door.streams) - set(self.streams))
            if unknown:
                raise ValueError(f"`doors.{name}.streams`: no node has {unknown[0]!r}; `nodes` names the streams")
        return self

    @model_validator(mode="after")
    def _every_address_once(self) -> "ProxySettings":
        addresses = Counter(door.endpoint for door in self.doors.values() if not door.endpoint.endswith(":*"))
        twice = [address for address, times in addresses.items() if times > 1]
        if twice:
            raise ValueError(f"`doors`: two at {twice[0]}; clients that may see different streams need different ports")
        return self
