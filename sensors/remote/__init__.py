"""A sensor at another machine: its raw frames come over an encrypted link from one sender (docs/remote.md).

sender: Sensor -> Sender ==(DEALER, CURVE, ROUTER)== node: Remote -> Receiver -> BodyFrame

What turns raw frames into bytes lies in `frames.py`, which `sender.py` alone imports: a node does not hold it.
"""

from .source import Remote

__all__ = ["Remote"]
