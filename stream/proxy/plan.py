"""From a proxy's settings to what it needs to open: addresses, keys and names, all looked up and checked."""

from dataclasses import dataclass

from skelanon.configs.proxy import DoorSettings, ProxySettings, UpstreamSettings
from skelanon.sensors.curve import load_clients
from skelanon.sensors.endpoint import is_local
from skelanon.sensors.errors import LinkError
from skelanon.sensors.keys import ClientKeys, KeyPair, load_key_pair, load_public_key
from skelanon.stream.errors import PublishError
from skelanon.stream.outlet import Admission


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node that is listened to. keys: None for one on this machine that does not encrypt."""

    endpoint: str
    streams: tuple[str, ...]
    keys: ClientKeys | None


@dataclass(frozen=True, slots=True)
class DoorPlan:
    """An address, who is let in there, and what they may see."""

    endpoint: str
    streams: tuple[str, ...]
    admission: Admission


@dataclass(frozen=True, slots=True)
class Plan:
    """All nodes and doors by their names."""

    nodes: dict[str, NodePlan]
    doors: dict[str, DoorPlan]


def make_plan(settings: ProxySettings) -> Plan:
    """Look up all keys, and check what is open to whom. Raises PublishError."""
    try:
        keys = load_key_pair(settings.secret_key)
        nodes = {name: _node(name, node, keys) for name, node in settings.nodes.items()}
        doors = {name: _door(name, door, keys, settings.streams) for name, door in settings.doors.items()}
    except LinkError as error:
        raise PublishError(str(error)) from error
    return Plan(nodes, doors)


def _node(name: str, node: UpstreamSettings, own: KeyPair) -> NodePlan:
    if node.key is None:
        if not is_local(node.endpoint, f"nodes.{name}.endpoint"):
            raise PublishError(
                f"`nodes.{name}.endpoint` {node.endpoint} is at another machine: anybody could answer there. "
                f"`nodes.{name}.key` must name the node's public `.key` file"
            )
        return NodePlan(node.endpoint, tuple(node.streams), None)
    is_local(node.endpoint, f"nodes.{name}.endpoint")  # refuses what is no address
    return NodePlan(node.endpoint, tuple(node.streams), ClientKeys(own.public, own.secret, load_public_key(node.key)))


def _door(name: str, door: DoorSettings, own: KeyPair, known: list[str]) -> DoorPlan:
    is_local(door.endpoint, f"doors.{name}.endpoint")
    streams = known if door.streams == "all" else door.streams
    return DoorPlan(door.endpoint, tuple(streams), Admission(own, load_clients(door.clients, f"doors.{name}.clients")))
