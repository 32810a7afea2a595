"""Whether a node lives, and whether it is of use. Read from another thread than the node's: no lock is taken."""

from typing import Final

from msgspec import Struct

from skelanon.stream.node import Node
from skelanon.stream.wire import StatusState

HUNG_S: Final = 5.0
"""The node's loop turns 20 times a second and more; after so long without a turn it hangs."""


class SensorHealth(Struct, frozen=True):
    """One sensor. last_frame_age_s: seconds since its last frame; None before the first one."""

    state: StatusState
    last_frame_age_s: float | None


class Health(Struct, frozen=True):
    """Of the process: `healthy` as long as the node's loop turns, whatever its sensors do."""

    healthy: bool
    loop_age_s: float
    """Seconds since the loop last turned."""


class Readiness(Struct, frozen=True):
    """Of the service: `ready` when the node is healthy, has started its sensors, and at least one of them delivers."""

    ready: bool
    reason: str
    sensors: dict[str, SensorHealth]


def health(node: Node) -> Health:
    """Whether a restart would help."""
    age_s = max(0.0, node.clock() - node.turned_s)
    return Health(age_s < HUNG_S, round(age_s, 3))


def readiness(node: Node) -> Readiness:
    """Whether subscribers get anything."""
    sensors = {name: _sensor(node, number) for number, name in enumerate(node.streams)}
    reason = _why_not(node, sensors)
    return Readiness(not reason, reason or "at least one sensor delivers", sensors)


def _sensor(node: Node, number: int) -> SensorHealth:
    counters = node.counters[number]
    age_s = round(max(0.0, node.clock() - counters.last_frame_s), 3)
    return SensorHealth(counters.state, age_s if counters.frames_in else None)


def _why_not(node: Node, sensors: dict[str, SensorHealth]) -> str:
    if not health(node).healthy:
        return "the node's loop hangs"
    if not node.started:
        return "waiting for subscribers"
    states = {sensor.state for sensor in sensors.values()}
    if "ok" in states:
        return ""
    if "waiting" in states:
        return "no sensor has delivered yet"
    return "every sensor, or the model, is at fault" if "fault" in states else "stopped"
