"""Whether every frame that a sensor delivered arrived, or was counted as dropped."""

from dataclasses import dataclass, field

from simulated_time import number_of

from skelanon.stream.received import Message
from skelanon.stream.wire import FrameMessage


@dataclass(slots=True)
class Ledger:
    """Of one membership: from joining to leaving. Frames hold their numbers in their times of capture."""

    frames: int = 0
    of_sensors: dict[str, int] = field(default_factory=dict)
    """Frames of sensors, by stream; those that the node made itself are not among them."""
    bodies: int = 0
    faults: int = 0
    dropped: int = 0
    """Frames that the node says it dropped."""
    unexplained: int = 0
    """Frames that are missing and were not said to be dropped, or the reverse."""
    uptime_s: float = 0.0
    _next: dict[str, int] = field(default_factory=dict)
    _sequence: dict[str, int] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """Enter a message. Of a stream's first one nothing is expected."""
        if not isinstance(message, FrameMessage):
            self.uptime_s = max(self.uptime_s, getattr(message, "uptime_s", 0.0))
            return
        stream = message.stream
        self.frames += 1
        self.bodies += len(message.bodies)
        self.faults += message.state == "fault"
        self.dropped += message.dropped
        self.unexplained += abs(message.sequence - self._sequence.get(stream, message.sequence))
        self._sequence[stream] = message.sequence + 1
        number = number_of(message.captured_ns)
        if number is None:
            self.unexplained += message.dropped
            return
        self.of_sensors[stream] = self.of_sensors.get(stream, 0) + 1
        self.unexplained += abs(number - message.dropped - self._next.get(stream, number - message.dropped))
        self._next[stream] = number + 1
