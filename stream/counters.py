"""What the node counts for each stream, and reports in its status."""

from dataclasses import dataclass

from .anonymous import State
from .wire import StatusState


@dataclass(slots=True)
class StreamCounters:
    """Of one stream, since the node started."""

    state: StatusState = "waiting"
    frames_in: int = 0
    frames_out: int = 0
    dropped: int = 0
    """Frames overwritten before the node took them."""
    withheld: int = 0
    """Bodies that were seen and not published."""
    faults: int = 0
    """Faults of the sensor, and frames for which the model failed."""
    last_frame_s: float = 0.0
    """When the sensor last delivered, on the node's clock."""
    _in_before: int = 0
    _out_before: int = 0

    def published(self, state: State, dropped: int, withheld: int, now_s: float) -> None:
        """Count a frame that came from the sensor and was published."""
        self.frames_in += 1 + dropped
        self.frames_out += 1
        self.dropped += dropped
        self.withheld += withheld
        self.last_frame_s = now_s
        if state == "fault":
            self.faults += 1
        self.state = "fault" if state == "fault" else "ok"

    def failed(self) -> None:
        """Count a fault of the sensor."""
        self.faults += 1
        self.state = "fault"

    def rates(self, elapsed_s: float) -> tuple[float, float]:
        """Frames in and out per second since the last call, `elapsed_s` seconds ago."""
        rates = (self.frames_in - self._in_before) / elapsed_s, (self.frames_out - self._out_before) / elapsed_s
        self._in_before, self._out_before = self.frames_in, self.frames_out
        return rates
