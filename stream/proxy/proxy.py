"""The proxy's loop: from each node to the doors whose clients may see its streams."""

import logging
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self

import zmq

from skelanon.stream.outlet import Outlet
from skelanon.stream.wire import Kind, topic

from .plan import DoorPlan, Plan
from .upstream import Upstream

log = logging.getLogger(__name__)

TICK_MS: Final = 50
BURST: Final = 64
"""Messages of one node in one go, so that none holds up the others."""
GREETING_PERIOD_S: Final = 0.1
"""A node is asked for its schemas at most once in so long, for all newcomers together."""
_KINDS: Final[tuple[Kind, ...]] = ("frame", "schema", "status")


class Door:
    """An address, and the streams that are sent there. Nothing else ever reaches its socket.

    One socket for each set of permissions, and not one for all: what a client may see then follows from where it was
    let in, and not from whose subscription a message is taken for (docs/security.md says what is wrong with that).
    """

    def __init__(self, name: str, plan: DoorPlan) -> None:
        self.name = name
        self.plan = plan
        self.streams = frozenset(plan.streams)
        self.sent = 0
        self.schemas = {topic(stream, "schema"): stream for stream in plan.streams}
        topics = [topic(stream, kind) for stream in plan.streams for kind in _KINDS]
        self.outlet = Outlet(plan.endpoint, topics, plan.admission)

    def send(self, name: bytes, message: bytes) -> None:
        """Send to all who have subscribed; a client that is behind loses it."""
        self.sent += 1
        self.outlet.send(name, message)

    def newcomers(self) -> Iterator[str]:
        """Streams that somebody new has subscribed to."""
        found, self.outlet.subscriptions.newcomers = self.outlet.subscriptions.newcomers, set()
        return (self.schemas[name] for name in found if name in self.schemas)


class Proxy:
    """Forwards messages, unread. Made, run and closed by one thread.

    Raises PublishError where an address cannot be had; nothing stays open then.
    """

    def __init__(self, plan: Plan, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.turned_s = self.started_s = clock()
        """`turned_s`: when the loop last turned."""
        self.upstreams: tuple[Upstream, ...] = ()
        self.doors: tuple[Door, ...] = ()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._greeted_s = -GREETING_PERIOD_S
        self._wanted: set[str] = set()
        """Streams whose schema somebody waits for."""
        self._asked = False
        try:
            self.take_up(plan)
        except BaseException:
            self.close()
            raise

    def take_up(self, plan: Plan) -> None:
        """Open what is new, close what is gone, and leave alone what stays. By the thread that made the proxy.

        Where a client of a door, or the proxy's key, is gone, the door's connections are cut; those who may come back
        do by themselves. Raises PublishError where an address cannot be had.
        """
        kept = {node.name: node for node in self.upstreams if plan.nodes.get(node.name) == node.plan}
        for node in self.upstreams:
            if node.name not in kept:
                node.close()
        self.upstreams = tuple(kept.values())
        for name, wanted in plan.nodes.items():
            if name not in kept:
                self.upstreams += (Upstream(self._context, name, wanted, self.clock()),)
        doors = {door.name: door for door in self.doors if _stays(door.plan, plan.doors.get(door.name))}
        for door in self.doors:
            if door.name not in doors:
                door.outlet.close()
        self.doors = tuple(doors.values())
        for name, door in doors.items():
            door.plan = plan.doors[name]
            door.outlet.admit(door.plan.admission)
        for name, opened in plan.doors.items():
            if name not in doors:
                self.doors += (Door(name, opened),)
                log.info("door %s at %s: %d streams", name, self.doors[-1].outlet.endpoint, len(opened.streams))

    def run(self, attend: Callable[[], None] = lambda: None) -> None:
        """Forward until `stop` is called. attend: called in this thread, 20 times a second and more.

        Raises AddressError where an address is lost while the connections to it are cut.
        """
        while not self._asked:
            self._wait()
            self.forward()
            attend()

    def forward(self) -> None:
        """One turn: all that has come, and what is due."""
        now_s = self.turned_s = self.clock()
        for node in self.upstreams:
            for _ in range(BURST):
                message = node.receive(now_s)
                if message is None:
                    break
                self._hand_out(*message)
            node.tend(now_s)
        for door in self.doors:
            door.outlet.serve()
            self._wanted.update(door.newcomers())
        if self._wanted and now_s - self._greeted_s >= GREETING_PERIOD_S:
            self._greeted_s = now_s
            for node in self.upstreams:
                for stream in self._wanted.intersection(node.plan.streams):
                    node.ask_for_schema(stream)
            self._wanted.clear()

    def stop(self) -> None:
        """Make `run` return soon. From any thread or signal handler, any number of times."""
        self._asked = True

    def close(self) -> None:
        """Leave all nodes and free all addresses. May be called twice."""
        for node in self.upstreams:
            node.close()
        for door in self.doors:
            door.outlet.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hand_out(self, stream: str, name: bytes, message: bytes) -> None:
        for door in self.doors:
            if stream in door.streams:
                door.send(name, message)

    def _wait(self) -> None:
        poller = zmq.Poller()
        for node in self.upstreams:
            poller.register(node.socket, zmq.POLLIN)
        for door in self.doors:
            poller.register(door.outlet.socket, zmq.POLLIN)
        poller.poll(TICK_MS)


def _stays(old: DoorPlan, new: DoorPlan | None) -> bool:
    return new is not None and (old.endpoint, old.streams) == (new.endpoint, new.streams)
