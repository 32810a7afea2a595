"""One thread for each sensor: opens it, hands its frames over, and opens it again when it fails."""

import logging
import threading
from dataclasses import replace
from typing import Final

from skelanon.sensors.errors import EndOfRecording, Interruption, RecordingError, SensorError
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.sensor import Sensor

from .mailbox import Mailbox

log = logging.getLogger(__name__)

READ_TIMEOUT_MS: Final = 100
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0


class SensorThread(threading.Thread):
    """Owns a sensor from open to close. Ends at the end of a recording or when `stop` is set.

    Whatever the sensor raises is a fault of the sensor; anything else ends the node through the mailbox.
    """

    def __init__(self, number: int, name: str, sensor: Sensor, mailbox: Mailbox, stop: threading.Event) -> None:
        super().__init__(name=f"sensor {name}", daemon=True)
        self._number = number
        self._stream = name
        self._sensor = sensor
        self._mailbox = mailbox
        self._stop_event = stop
        self._faulty = False
        self._pause_s = FIRST_PAUSE_S

    def run(self) -> None:
        """Deliver until the end."""
        try:
            while not self._stop_event.is_set():
                if self._open() and self._deliver():
                    self._close()
                    self._mailbox.put(self._number, "ended")
                    return
                self._close()
                self._stop_event.wait(self._pause_s)
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        except BaseException as error:  # noqa: BLE001 - handed to the node, which ends with it
            self._mailbox.fail(error)

    def _open(self) -> bool:
        try:
            self._sensor.open()
        except Exception as error:  # noqa: BLE001 - a driver may raise anything; the others go on
            self._report(error)
            return False
        return True

    def _deliver(self) -> bool:
        """Hand frames over until the recording ends (True) or the sensor must be opened again (False)."""
        first = True  # of this opening: whoever stands there now may be another, under an id of before
        while not self._stop_event.is_set():
            try:
                frame = self._sensor.read(READ_TIMEOUT_MS)
                if not isinstance(frame, BodyFrame | None):
                    raise TypeError("not a BodyFrame")
            except EndOfRecording:
                return True
            except (RecordingError, Interruption) as error:  # the next read goes on, with the next recording say
                self._report(error)
                continue
            except Exception as error:  # noqa: BLE001 - as above
                self._report(error)
                return False
            if frame is not None:
                self._hand_over(replace(frame, discontinuity=True) if first else frame)
                first = False
        return False

    def _hand_over(self, frame: BodyFrame) -> None:
        if self._faulty:
            log.warning("sensor %s delivers again", self._stream)
            self._faulty = False
            self._pause_s = FIRST_PAUSE_S
        self._mailbox.put(self._number, frame)

    def _report(self, error: Exception) -> None:
        """Log a fault, with its words only where they are skelanon's own: another's might hold joints or names."""
        if not self._faulty or isinstance(error, RecordingError):
            words = str(error) if isinstance(error, SensorError) else f"failed ({type(error).__name__})"
            log.error("sensor %s: %s", self._stream, words)
        self._faulty = True
        self._mailbox.put(self._number, "fault")

    def _close(self) -> None:
        try:
            self._sensor.close()
        except Exception as error:  # noqa: BLE001 - as above
            log.error("sensor %s: closing failed (%s)", self._stream, type(error).__name__)
