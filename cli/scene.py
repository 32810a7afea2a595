"""What `skelanon view` shows of streams, as entities of the viewer Rerun: docs/view.md lists them."""

import colorsys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import rerun as rr
    import rerun.blueprint as rrb
    from numpy.typing import NDArray

    from skelanon.export.manifest import Axes
    from skelanon.stream.received import Event, ReceivedFrame, StreamStats

MAX_VIEWS: Final = 36
"""Streams that get a view of their own; the others are there, and can be added by hand."""
_JOINT_M: Final = 0.02
_BONE_M: Final = 0.008
_UNTRACKED: Final = 60
"""Opacity, of 255, of a joint that the sensor did not see; one that it inferred is twice as clear."""
_EYE: Final = ((0.0, 0.4, -1.0), (0.0, -0.1, 2.5))
"""Place and target of the first look at a stream in camera axes, metres: from behind the sensor."""


@dataclass(slots=True)
class _Stream:
    """What is on show of one stream."""

    places: dict[int, int] = field(default_factory=dict)
    """Body id -> number of its entity; numbers are used again, so that not everyone who passes makes a new one."""
    newest: "ReceivedFrame | None" = None
    axes: "Axes | None" = None
    counted: int = 0
    """Frames, at the last tick."""


class Scene:
    """Writes streams to a recording of Rerun. One thread uses it."""

    def __init__(self, recording: "rr.RecordingStream", *, clock: "Clock | None" = None) -> None:
        self.frames = 0
        self._recording = recording
        self._clock = clock or Clock()
        self._streams: dict[str, _Stream] = {}
        self._ticked_s = self._clock.now_s()

    def show(self, frame: "ReceivedFrame") -> None:
        """Show one frame; bodies that it does not have leave."""
        stream = self._stream(frame.stream)
        before, stream.newest = stream.newest, frame
        self.frames += 1
        self._set_time(frame.captured_ns, frame.sequence)
        self._log_scalar(f"latency_ms/{frame.stream}", (frame.received_ns - frame.captured_ns) / 1e6)
        if (frame.state == "fault") != (before is not None and before.state == "fault"):
            self._log_text(frame.stream, *(("fault", "ERROR") if frame.state == "fault" else ("no more fault", "INFO")))
        self._place(frame.stream, stream, frame.ids)
        for number, body in enumerate(frame.ids):
            states = frame.tracking[number] if frame.tracking is not None else None
            self._log_body(f"bodies/{frame.stream}/{stream.places[body]}", body, frame.joints[number], states)

    def tell(self, event: "Event") -> None:
        """Write down a gap, a stall, a restart. A stall clears the stage: a standing picture would look alive."""
        from skelanon.stream.received import Gap, Restart, Stall

        stream = self._stream(event.stream)
        self._set_time_of(stream)
        match event:
            case Gap(lost=lost):
                self._log_text(event.stream, f"{lost} frames lost", "WARN")
            case Stall(seconds=seconds):
                self._log_text(event.stream, f"stalled: no frame for {seconds:.1f} s", "ERROR")
                self._place(event.stream, stream, ())
            case Restart():
                self._log_text(event.stream, "the node was started anew", "WARN")
            case _:
                self._log_text(event.stream, "frames again", "INFO")

    def tick(self, known: "Mapping[str, StreamStats]") -> None:
        """Write down rates and counts; called every second or so. Lays the views out anew when streams have come."""
        now_s = self._clock.now_s()
        elapsed_s, self._ticked_s = max(now_s - self._ticked_s, 1e-3), now_s
        new = False
        for name, stats in known.items():
            stream = self._stream(name)
            new |= self._follow_axes(name, stream, stats)
            self._set_time_of(stream)
            self._log_scalar(f"rate_hz/{name}", (stats.frames - stream.counted) / elapsed_s)
            stream.counted = stats.frames
            self._log_scalar(f"counts/{name}/lost", stats.lost)
            if stats.status is not None:
                self._log_scalar(f"counts/{name}/dropped", stats.status.dropped)
                self._log_scalar(f"counts/{name}/withheld", stats.status.withheld)
        if new:
            self._recording.send_blueprint(_layout({name: stream.axes for name, stream in self._streams.items()}))

    def _stream(self, name: str) -> _Stream:
        return self._streams.setdefault(name, _Stream())

    def _follow_axes(self, name: str, stream: _Stream, stats: "StreamStats") -> bool:
        """Tell the viewer which axis points up; whether the stream's axes are news."""
        import rerun as rr

        if stats.schema is None or stats.schema.axes == stream.axes:
            return False
        stream.axes = stats.schema.axes
        up = rr.ViewCoordinates.RIGHT_HAND_Y_UP if stream.axes == "camera" else rr.ViewCoordinates.RIGHT_HAND_Z_UP
        self._recording.log(f"bodies/{name}", up, static=True)
        return True

    def _place(self, name: str, stream: _Stream, ids: tuple[int, ...]) -> None:
        """Give each body an entity; those of bodies that are gone become empty, or the newcomers'."""
        import rerun as rr

        kept = {body: stream.places[body] for body in ids if body in stream.places}
        left = set(stream.places.values()) - set(kept.values())
        free = (place for place in range(len(ids)) if place not in kept.values())
        stream.places = {body: kept[body] if body in kept else next(free) for body in ids}
        for place in left - set(stream.places.values()):
            self._recording.log(f"bodies/{name}/{place}", rr.Clear(recursive=True))

    def _log_body(
        self, path: str, body: int, joints: "NDArray[np.float32]", states: "NDArray[np.uint8] | None"
    ) -> None:
        """joints: (25, 3), metres; states: (25) tracking states."""
        import numpy as np
        import rerun as rr

        from skelanon.sensors.joints import BONES, INDEX, PARENTS

        colour = np.array([[*_colour(body), 255]], np.uint8)
        points = colour
        if states is not None:
            points = np.repeat(colour, len(joints), axis=0)
            points[:, 3] = np.array([_UNTRACKED, 2 * _UNTRACKED, 255], np.uint8)[np.minimum(states, 2)]
        bones = np.stack([joints[[PARENTS[joint] for joint in BONES]], joints[list(BONES)]], axis=1)  # (24, 2, 3)
        head, neck = joints[INDEX["Head"]], joints[INDEX["Neck"]]
        log = self._recording.log
        # Both in one row: the viewer takes what comes as it comes, and would tear joints from bones.
        log(
            path,
            rr.Points3D(joints, radii=_JOINT_M, colors=points),
            rr.LineStrips3D(bones, radii=_BONE_M, colors=colour),
        )
        # Above the head, whichever way is up.
        log(f"{path}/id", rr.Points3D([2.5 * head - 1.5 * neck], radii=0.0, colors=colour, labels=[str(body)]))

    def _log_scalar(self, path: str, value: float) -> None:
        import rerun as rr

        self._recording.log(path, rr.Scalars(value))

    def _log_text(self, name: str, text: str, level: str) -> None:
        import rerun as rr

        self._recording.log(f"events/{name}", rr.TextLog(text, level=level))

    def _set_time_of(self, stream: _Stream) -> None:
        """The present on a stream's clock: as long after its newest frame as it is here."""
        if stream.newest is None:
            self._recording.reset_time()
            return
        since_ns = max(self._clock.now_ns() - stream.newest.received_ns, 0)
        self._set_time(stream.newest.captured_ns + since_ns, stream.newest.sequence)

    def _set_time(self, captured_ns: int, sequence: int) -> None:
        import numpy as np

        self._recording.set_time("captured", timestamp=np.datetime64(captured_ns, "ns"))
        self._recording.set_time("sequence", sequence=sequence)


class Clock:
    """The clocks of this machine: one that runs evenly, seconds, and the time since 1970, nanoseconds."""

    def now_s(self) -> float:
        """Seconds since any time."""
        return time.monotonic()

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return time.time_ns()


def _colour(body: int) -> tuple[int, int, int]:
    """A light colour for each id, its hue by the golden ratio."""
    red, green, blue = colorsys.hsv_to_rgb(body * 0.618033988749895 % 1, 0.55, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _layout(streams: "Mapping[str, Axes | None]") -> "rrb.Blueprint":
    """A view in 3D for each stream; below them rates, latencies, counts and events of all."""
    import rerun.blueprint as rrb

    names = sorted(streams)[:MAX_VIEWS]
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Grid(*(_stage(name, streams[name]) for name in names)),
            rrb.Horizontal(
                rrb.TimeSeriesView(origin="/rate_hz", name="frames a second"),
                rrb.TimeSeriesView(origin="/latency_ms", name="capture to here, ms"),
                rrb.TimeSeriesView(origin="/counts", name="lost, dropped, withheld"),
                rrb.TextLogView(origin="/events", name="events"),
            ),
            row_shares=[3, 1],
        ),
        rrb.TimePanel(timeline="captured", state="collapsed"),
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
    )


def _stage(name: str, axes: "Axes | None") -> "rrb.Spatial3DView":
    import rerun.blueprint as rrb

    eye = rrb.EyeControls3D(position=_EYE[0], look_target=_EYE[1]) if axes == "camera" else None
    return rrb.Spatial3DView(origin=f"/bodies/{name}", name=name, eye_controls=eye)
