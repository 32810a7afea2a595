"""`skelanon capture`: a sensor's raw frames, encrypted, to the one node that anonymizes them."""

import logging
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .exits import Exit
from .record import asked_to_end, shown
from .run import check_recordings

if TYPE_CHECKING:
    from skelanon.configs import CaptureSettings
    from skelanon.sensors.remote.sender import Sender

log = logging.getLogger(__name__)

TICK_S = 0.1
"""Longest wait before it is looked whether somebody asks for the end."""
FLUSH_TICKS = 20
"""At the end of a recording: so many ticks for the last frames to arrive."""


def capture(
    config: Annotated[Path, typer.Argument(help="YAML file; `capture.yaml` comes with skelanon, to begin with.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value, over the file's.")] = None,
) -> None:
    """Send a sensor's raw frames to a node's `remote` sensor, on another machine only encrypted. Ends with Ctrl-C.

    Needs no model and no runner: the base install and the sensor's own software. A node that is away is waited for.
    Exit code 3 where a recording was played to its end and no frame of it was sent.
    """
    from skelanon.configs import load_capture
    from skelanon.sensors.keys import load_client_keys
    from skelanon.sensors.remote.sender import Sender

    settings = load_capture(config, overrides or [])
    check_recordings({"sensor": settings.sensor})
    keys = load_client_keys(settings.curve.secret_key, settings.curve.node) if settings.curve is not None else None
    with (
        asked_to_end() as asked,
        Sender(settings.endpoint, keys, settings.sensor.kind) as sender,
        _Capturing(settings) as capturing,
        shown() as show,
    ):
        log.info("capturing from a sensor of kind %s for the node at %s", settings.sensor.kind, settings.endpoint)
        while not asked() and not capturing.ended:
            sender.serve(TICK_S, capturing.wake)
            capturing.hand_over(sender)
            show(lambda: _line(sender))
        for _ in range(FLUSH_TICKS):
            if asked() or sender.idle:
                break
            sender.serve(TICK_S)
        asked_or_sent = asked() or sender.sent > 0
        line = _line(sender)
    log.info("ended; %s", line)
    if not asked_or_sent:
        raise typer.Exit(Exit.NO)


def _line(sender: "Sender") -> str:
    return f"{sender.state}; {sender.sent} frames sent, {sender.dropped} dropped for newer ones"


class _Capturing:
    """The sensor in a thread of its own, as a node would have it; frames and faults wait here, newest first."""

    def __init__(self, settings: "CaptureSettings") -> None:
        from skelanon.sensors import create_sensor
        from skelanon.stream.mailbox import Mailbox
        from skelanon.stream.sensor_thread import SensorThread

        self.wake, self._bell = socket.socketpair()
        self.wake.setblocking(False)
        self._bell.setblocking(False)
        self.ended = False
        """A recording has been played to its end."""
        self._stop = threading.Event()
        self._mailbox = Mailbox([False], on_put=self._ring)
        self._thread = SensorThread(0, settings.sensor.kind, create_sensor(settings.sensor), self._mailbox, self._stop)

    def hand_over(self, sender: "Sender") -> None:
        """What has come from the sensor. Raises RuntimeError when its thread has failed."""
        with suppress(BlockingIOError):
            self.wake.recv(4096)
        for delivery in self._mailbox.take(0):
            sender.dropped += delivery.dropped
            if delivery.content == "fault":
                sender.fault()
            elif delivery.content == "ended":
                self.ended = True
            else:
                sender.offer(delivery.content)

    def __enter__(self) -> "_Capturing":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._mailbox.close()
        self._thread.join(TICK_S * 5)
        if not self._thread.is_alive():
            self.wake.close()
            self._bell.close()

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # it has been rung and not been heard yet
            self._bell.send(b"\0")
