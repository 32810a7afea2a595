"""The node, which anonymizes and publishes, and the subscriber, which receives. Importing it loads no model runtime."""

from .anonymous import AnonymousFrame
from .curve import create_keys, load_client_keys
from .errors import PublishError
from .node import Node, create_node
from .recording import Player, Recorder, RecordError, Recording
from .subscriber import ClientKeys, Event, Gap, ReceivedFrame, Restart, Resume, Stall, StreamStats, Subscriber
from .window import Window
from .wire import FrameMessage, SchemaMessage, StatusMessage, WireError

__all__ = [
    "AnonymousFrame",
    "ClientKeys",
    "Event",
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
