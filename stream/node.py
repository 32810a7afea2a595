"""The node: sensors in, anonymous skeletons out."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

from skelanon.configs.schema import NodeSettings, PublishSettings, SyntheticSettings
from skelanon.export.bundle import Bundle, default_bundle_path, read_bundle
from skelanon.export.create import create_runner
from skelanon.export.runner import Runner
from skelanon.export.timing import Load
from skelanon.sensors.factory import create_sensor
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.sensor import Sensor

from .anonymizer import Anonymizer
from .anonymous import without_bodies
from .counters import StreamCounters
from .latency import Latencies, Percentiles, Stopwatch
from .mailbox import Delivery, Mailbox
from .publisher import Publisher
from .sensor_thread import SensorThread
from .wire import StatusMessage

log = logging.getLogger(__name__)

TICK_S: Final = 0.05
STATUS_PERIOD_S: Final = 1.0
SILENCE_S: Final = 2.0
"""A sensor that delivers nothing for so long, not even an empty frame, is at fault; a slow one has three periods."""
JOIN_S: Final = 0.4
PATIENCE_S: Final = 5.0
MANY: Final = 8
GATHER_S: Final = 0.002
"""A node of more than `MANY` sensors waits so long for the frames of the others, to anonymize them together."""


class Node:
    """Anonymizes the bodies of all sensors in one loop and publishes them. Made, run and closed by one thread.

    Each sensor has a thread that hands its frames over; this thread alone touches the model and the socket.
    Raises PublishError where it may not, or cannot, publish at the endpoint.
    """

    def __init__(
        self,
        sensors: Mapping[str, Sensor],
        runner: Runner,
        publish: PublishSettings,
        *,
        track_timeout_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.streams = tuple(sensors)
        self.clock = clock
        self._asked = False
        """Somebody called `stop`. No Event: a signal handler may interrupt whoever holds an Event's lock."""
        self._stop = threading.Event()
        lossless = [sensor.lossless for sensor in sensors.values()]
        self._mailbox = Mailbox(lossless, gather_s=GATHER_S if len(sensors) > MANY else 0.0)
        self._runner = runner
        self._anonymizer = Anonymizer(
            runner, sensors=len(sensors), track_timeout_s=track_timeout_s, tracking=publish.tracking
        )
        self._silence_s = [max(SILENCE_S, 3 * sensor.period_s) for sensor in sensors.values()]
        self.latencies = Latencies()
        self.counters = [StreamCounters() for _ in self.streams]
        self._threads = [
            SensorThread(number, name, sensor, self._mailbox, self._stop)
            for number, (name, sensor) in enumerate(sensors.items())
        ]
        self._running = set(range(len(sensors)))
        self._wait_for = publish.wait_for_subscribers
        self.started = False
        """Whether the sensors run: not while it waits for subscribers."""
        self._patience_s = float("inf")
        """Until when, on the node's clock, lossless sending waits for subscribers that are behind."""
        self.started_s = self._status_s = self.turned_s = clock()
        """`turned_s`: when the loop last turned, on the node's clock."""
        self._attend: Callable[[], None] | None = None
        self.publisher = Publisher(
            list(self.streams), runner.bundle, publish, lossless=any(lossless), give_up=self._give_up
        )

    def run(self, attend: Callable[[], None] | None = None) -> None:
        """Publish until `stop` is called or every recording has ended.

        attend: called in this thread whenever the loop turns, 20 times a second and more; it must not take long.
        A failure of a sensor or of the model does not end it. Raises RuntimeError, from the cause, when a thread of
        the node itself fails.
        """
        self._attend = attend
        while self._running and not self._asked:
            if not self.started and self.publisher.subscribers >= self._wait_for:
                self.started = True
                self._start_sensors()
            self._process(self._mailbox.take(TICK_S))
            self.publisher.serve_subscriptions()
            self._turn()
            if self.turned_s - self._status_s >= STATUS_PERIOD_S:
                self._report()

    @property
    def stopped(self) -> bool:
        """Whether somebody called `stop`."""
        return self._asked

    def stop(self) -> None:
        """Make `run` return soon. From any thread or signal handler, any number of times."""
        self._asked = True

    def close(self) -> None:
        """Stop the sensors, tell the subscribers, free the model and the address. May be called twice."""
        if self._running:  # not at the end of all recordings: wait for no subscriber
            self._asked = True
        self._patience_s = self.clock() + PATIENCE_S
        if not self.publisher.closed:
            for counters in self.counters:
                counters.state = "stopped"
            self._report()
        self._stop.set()
        self._mailbox.close()
        deadline = time.monotonic() + JOIN_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        self.publisher.close(lambda: not self._asked)
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def bundle(self) -> Bundle:
        """What anonymizes."""
        return self._runner.bundle

    @property
    def runs_on(self) -> str:
        """What the model runs on, for people."""
        return self._runner.runs_on

    def _turn(self) -> None:
        """Note that the loop goes on."""
        self.turned_s = self.clock()
        if self._attend is not None:
            self._attend()

    def _give_up(self) -> bool:
        self._turn()  # waiting for subscribers that are behind is no hanging
        return self._asked or self.turned_s > self._patience_s

    def _start_sensors(self) -> None:
        for counters, thread in zip(self.counters, self._threads, strict=True):
            counters.last_frame_s = self.clock()
            thread.start()

    def _process(self, deliveries: list[Delivery]) -> None:
        """Publish what the sensors handed over, each one's in order."""
        frames: list[tuple[Delivery, BodyFrame]] = []
        for delivery in deliveries:
            if isinstance(delivery.content, BodyFrame):
                frames.append((delivery, delivery.content))
                continue
            self._publish(frames)
            frames = []
            if delivery.content == "fault":
                self.counters[delivery.sensor].failed()
                self._publish_fault(delivery.sensor)
            else:
                self.counters[delivery.sensor].state = "stopped"
                self._running.discard(delivery.sensor)
        self._publish(frames)

    def _publish(self, frames: list[tuple[Delivery, BodyFrame]]) -> None:
        if not frames:
            return
        now_s, latencies = self.clock(), self.latencies
        watch = Stopwatch(latencies)
        for delivery, _ in frames:
            latencies.add("wait", watch.started_ns - delivery.put_ns)
        outcomes = self._anonymizer.anonymize([(delivery.sensor, frame) for delivery, frame in frames], watch)
        for (delivery, _), outcome in zip(frames, outcomes, strict=True):
            self.publisher.send(delivery.sensor, outcome.frame, delivery.dropped)
            latencies.add("total", watch.lap("send") - delivery.put_ns)
            self.counters[delivery.sensor].published(outcome.frame.state, delivery.dropped, outcome.withheld, now_s)

    def _report(self) -> None:
        """Every second: schema and status of each stream, and a `fault` frame where something is wrong."""
        now_s = self.clock()
        elapsed_s = max(now_s - self._status_s, 1e-3)
        self._status_s = now_s
        latency_us = self.latencies.percentiles()
        for stream, counters in enumerate(self.counters):
            silent = now_s - counters.last_frame_s > self._silence_s[stream]
            if self.started and silent and counters.state in ("ok", "waiting"):
                log.error("sensor %s has delivered nothing for %.0f s", self.streams[stream], self._silence_s[stream])
                counters.failed()
            if counters.state == "fault":
                self._publish_fault(stream)
            self.publisher.send_schema(stream)
            self.publisher.send_status(stream, self._status(stream, now_s, elapsed_s, latency_us))

    def _publish_fault(self, stream: int) -> None:
        self.publisher.send(stream, without_bodies(time.time_ns(), "fault"))

    def _status(self, stream: int, now_s: float, elapsed_s: float, latency_us: dict[str, Percentiles]) -> StatusMessage:
        counters = self.counters[stream]
        rate_in_hz, rate_out_hz = counters.rates(elapsed_s)
        return StatusMessage(
            stream=self.streams[stream],
            epoch=self.publisher.epoch,
            state=counters.state,
            uptime_s=round(now_s - self.started_s, 3),
            rate_in_hz=round(rate_in_hz, 2),
            rate_out_hz=round(rate_out_hz, 2),
            frames_in=counters.frames_in,
            frames_out=counters.frames_out,
            dropped=counters.dropped,
            withheld=counters.withheld,
            faults=counters.faults,
            latency_us=latency_us,
        )


def create_node(settings: NodeSettings) -> Node:
    """The node that settings describe: sensors, bundle, runner, socket.

    Raises BundleError, RunnerError, SensorError or PublishError; nothing stays open then.
    """
    path = default_bundle_path() if settings.model.bundle == "default" else settings.model.bundle
    bundle = read_bundle(path, sha256=settings.model.sha256)
    sensors = {name: create_sensor(sensor) for name, sensor in settings.sensors.items()}
    runner = create_runner(bundle, settings.model, _expected_load(settings, bundle.manifest.bodies_per_sample))
    node = Node(sensors, runner, settings.publish, track_timeout_s=settings.track_timeout_s)
    log.info("model %s %s, publishing at %s", bundle.manifest.name, bundle.sha256[:12], node.publisher.endpoint)
    return node


def _expected_load(settings: NodeSettings, bodies_per_sample: int) -> Load:
    """What the runner will be asked for: many sensors in one call, few each in its own; two bodies where unknown."""
    sensors = settings.sensors.values()
    bodies = max(sensor.persons if isinstance(sensor, SyntheticSettings) else 2 for sensor in sensors)
    samples = max(1, -(-bodies // bodies_per_sample))
    rate_hz = float("inf") if any(sensor.fast for sensor in sensors) else max(sensor.rate_hz for sensor in sensors)
    if len(sensors) > MANY:
        return Load(rate_hz, samples * len(sensors))
    return Load(rate_hz * len(sensors), samples)
