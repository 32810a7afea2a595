"""Sensors and models that fail on schedule: something else every simulated minute."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from simulated_time import RATE_HZ, SimulatedTime, stamp

from skelanon.configs import SyntheticSettings
from skelanon.export.runner import Floats, Runner
from skelanon.sensors.errors import EndOfRecording, RecordingError, SensorError
from skelanon.sensors.frame import MAX_BODIES, BodyFrame
from skelanon.sensors.sensor import Sensor
from skelanon.sensors.synthetic import Synthetic

MINUTE: Final = 60 * RATE_HZ
SERIAL: Final = "000123456712"
"""In the words of foreign errors: it must not leave the node."""
SENSOR_FAULTS: Final = (
    "lost", "foreign error", "damaged recording", "no frame", "does not open", "silent", "broken joints", "clock set",
    "crowd",
)  # fmt: skip
MODEL_FAULTS: Final = (
    "raises",
    "returns the input",
    "returns the input before",
    "shape",
    "type",
    "not a number",
    "near",
)


class FaultySensor(Sensor):
    """A synthetic sensor in simulated time. In every minute one of all sensors fails, in one of many ways."""

    def __init__(self, number: int, settings: SyntheticSettings, simulated: SimulatedTime, *, lossless: bool) -> None:
        self.lossless = lossless
        self.period_s = 1 / RATE_HZ
        self._sensor, self._simulated = number, simulated
        self._source = Synthetic(settings, now_ns=self._stamp)
        self._random = random.Random(number)
        self._offset_s = 0
        self._kind, self._left = "", 0
        self._refusals = 0
        self._seen: list[BodyFrame] = []
        self.delivered = 0
        """Frames handed to the node."""
        self.faults: dict[str, int] = {}
        """How often each fault was injected."""

    def open(self) -> None:
        if self._refusals:
            self._refusals -= 1
            raise SensorError("the cable is out; plug it in")
        self._source.open()

    def read(self, timeout_ms: int) -> BodyFrame | None:
        if not self._simulated.due(self._sensor, timeout_ms):
            return None
        if self._simulated.over(self._sensor):
            raise EndOfRecording("all simulated hours are over")
        self._simulated.ticks[self._sensor] += 1
        self._begin_fault()
        self._fail_at_once()
        if self._kind == "no frame":
            return SERIAL  # type: ignore[return-value]
        if self._left:
            self._left -= 1
            if self._kind == "silent":
                return None
        frame = self._source.read(timeout_ms)
        if frame is None:
            return None
        if self._left:
            frame = {"broken joints": self._broken, "crowd": self._crowd}[self._kind](frame)
        elif len(self._seen) < MAX_BODIES and frame.track_ids:
            self._seen.append(frame)
        self.delivered += 1
        return frame

    def close(self) -> None:
        self._source.close()

    def _stamp(self) -> int:
        return stamp(self._simulated.ticks[self._sensor], self.delivered, self._offset_s)

    def _begin_fault(self) -> None:
        """Half a minute after each full one, at one of the sensors."""
        minute, tick = divmod(self._simulated.ticks[self._sensor] + MINUTE // 2, MINUTE)
        self._kind = self._kind if self._left else ""
        if tick == 0 and minute * 7 % len(self._simulated.ticks) == self._sensor:
            self._kind = SENSOR_FAULTS[minute % len(SENSOR_FAULTS)]
            self.faults[self._kind] = self.faults.get(self._kind, 0) + 1
            self._left = {"silent": 3 * RATE_HZ, "broken joints": RATE_HZ, "crowd": 10}.get(self._kind, 0)

    def _fail_at_once(self) -> None:
        if self._kind == "clock set":
            self._offset_s += self._random.choice((-3600, -10, 10, 3600))
        if self._kind in ("lost", "does not open"):
            self._refusals = 2 * (self._kind == "does not open")
            raise SensorError("the camera was lost")
        if self._kind == "foreign error":
            raise OSError(f"device {SERIAL} gave {self._seen[-1].joints[0, 3] if self._seen else 0}")
        if self._kind == "damaged recording":
            raise RecordingError("recording 1 of 2, line 3: not a number")

    def _broken(self, frame: BodyFrame) -> BodyFrame:
        joints = frame.joints.copy()
        if len(joints):
            joints[0, self._left % 25, 1] = (np.nan, np.inf, 1e30)[self._left % 3]
            joints[0, 7] = 0.0 if self._left % 4 == 0 else joints[0, 7]
        return BodyFrame(frame.captured_ns, joints, frame.tracking, frame.track_ids)

    def _crowd(self, frame: BodyFrame) -> BodyFrame:
        """As many bodies as a frame can have, none of which was there before."""
        joints = np.concatenate([seen.joints[:1] for seen in self._seen])
        tracking = np.concatenate([seen.tracking[:1] for seen in self._seen])
        ids = tuple(range(first := self._random.getrandbits(60), first + len(joints)))
        return BodyFrame(frame.captured_ns, joints, tracking, ids)


class FaultyRunner(Runner):
    """The real model; but in every simulated minute it fails once, each time in another way."""

    def __init__(self, inner: Runner, simulated: SimulatedTime) -> None:
        super().__init__(inner.bundle)
        self._inner, self._simulated = inner, simulated
        self._minute = 0
        self._before: Floats | None = None
        self.faults: dict[str, int] = {}

    def step(self, rows: Sequence[int], fresh: Sequence[bool], joints: Floats, present: Floats) -> Floats:
        before, self._before = self._before, joints.copy()
        minute = int(self._simulated.seconds() / 60)
        if minute == self._minute:
            return self._inner.step(rows, fresh, joints, present)
        self._minute = minute
        kind = MODEL_FAULTS[minute % len(MODEL_FAULTS)]
        self.faults[kind] = self.faults.get(kind, 0) + 1
        fail: dict[str, Callable[[], Any]] = {
            "returns the input": lambda: joints,
            "returns the input before": lambda: before if before is not None and len(before) == len(joints) else joints,
            "shape": lambda: joints[:, :, :24],
            "type": lambda: joints.astype(np.float64),
            "not a number": lambda: np.full_like(joints, np.nan),
            "near": lambda: joints + np.float32(1e-3),
        }
        if kind == "raises":
            raise RuntimeError(f"bad joint {joints[0, 0, 3].tolist()} of {SERIAL}")
        failed: Floats = fail[kind]()
        return failed

    def close(self) -> None:
        self._inner.close()

    def _call(self, joints: Floats, present: Floats, state: Floats, persona: Floats) -> tuple[Floats, Floats]:
        raise NotImplementedError
