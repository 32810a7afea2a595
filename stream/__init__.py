"""The node, which anonymizes and publishes, and the subscriber, which receives. Importing it loads no model runtime."""

from skelanon.sensors.keys import ClientKeys, create_keys, load_client_keys

from .anonymous import AnonymousFrame
from .errors import PublishError
from .node import Node, create_node
from .received import Follower
from .recording import Player, Recorder, RecordError, Recording
from .subscriber import Event, Gap, ReceivedFrame, Restart, Resume, Stall, StreamStats, Subscriber
from .window import Window
from .wire import FrameMessage, SchemaMessage, StatusMessage, WireError

__all__ = [
    "AnonymousFrame",
    "ClientKeys",
    "Event",
    "Follower",
    "FrameMessage",
    "Gap",
    "Node",
    "Player",
    "PublishError",
    "ReceivedFrame",
    "RecordError",
    "Recorder",
    "Recording",
    "Restart",
    "Resume",
    "SchemaMessage",
    "Stall",
    "StatusMessage",
    "StreamStats",
    "Subscriber",
    "Window",
    "WireError",
    "create_keys",
    "create_node",
    "load_client_keys",
]
