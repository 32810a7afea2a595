"""What the Body Tracking SDK's sample `k4abt_offline_processor` makes of an Azure Kinect's `.mkv`: one JSON object.

`frames` is a list of frames with `timestamp_usec` (the device's clock) and `bodies`; a body has a `body_id` (-1: none)
and `joint_positions`, 32 times x, y, z in millimetres. There is no confidence: all joints count as tracked. Captures
without a depth image are not in it. Source: Azure-Kinect-Samples, `body-tracking-samples/offline_processor`.
"""

import re
from collections.abc import Callable
from itertools import chain
from typing import Annotated, Final, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Raw
from numpy.typing import NDArray

from skelanon.sensors.azure_joints import AZURE_JOINT_NAMES, AZURE_JOINTS, to_kinect25
from skelanon.sensors.errors import RecordingError
from skelanon.sensors.frame import TRACKED, Joints, Tracking
from skelanon.sensors.joints import JOINTS
from skelanon.sensors.recording import Recording

from .gathering import BYTE_ORDER_MARK, Gathering, MalformedError, check

T = TypeVar("T")

MAX_BYTES: Final = 256 << 20
"""About twelve minutes of one body: the sample writes each number on a line of its own."""
_MOST_OBJECTS: Final = 1 << 20
_MOST_BYTES: Final = 1 << 16
"""Of one body's joints, or of the names of joints. What is longer is not taken apart: it would need far more memory."""
_LOOKS: Final = re.compile(rb'\s*\{\s*"(?:bone_list|frames|joint_names|k4abt_sdk_version|source_file)"\s*:')


class _File(msgspec.Struct):
    frames: "list[_Frame]"
    joint_names: Raw = Raw()


class _Frame(msgspec.Struct):
    timestamp_usec: Raw = Raw()
    bodies: Raw = Raw()


class _Body(msgspec.Struct):
    body_id: Raw = Raw()
    joint_positions: Raw = Raw()


_read_file = msgspec.json.Decoder(_File).decode
_read_names = msgspec.json.Decoder(list[str]).decode
_read_time = msgspec.json.Decoder(Annotated[int, Meta(ge=0, lt=1 << 53)]).decode
_read_bodies = msgspec.json.Decoder(list[_Body]).decode
_read_id = msgspec.json.Decoder(Annotated[int, Meta(ge=0, lt=0xFFFFFFFF)]).decode
_read_positions = msgspec.json.Decoder(
    Annotated[list[tuple[float, float, float]], Meta(min_length=AZURE_JOINTS, max_length=AZURE_JOINTS)]
).decode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is such a JSON object."""
    return _LOOKS.match(head.removeprefix(BYTE_ORDER_MARK)) is not None


def parse(data: bytes) -> Recording:
    """Parse the content of a file. Frames and bodies that cannot be read are left out and counted.

    Raises RecordingError where the whole is not such an object, or has other joints.
    """
    file = _file(data.removeprefix(BYTE_ORDER_MARK))
    if file.joint_names and not _same_joints(file.joint_names):
        raise RecordingError(f"`joint_names` are not the {AZURE_JOINTS} of Azure Kinect Body Tracking, in its order")
    gathering = Gathering((AZURE_JOINTS, 3))
    for number, frame in enumerate(file.frames, 1):
        try:
            _add(gathering, f"frame {number}", frame)
        except MalformedError as fault:
            gathering.leave_out(f"frame {number}", fault)
    return gathering.finish(_convert)


def _file(data: bytes) -> _File:
    if data.count(b"{") > _MOST_OBJECTS:
        raise RecordingError(f"the recording has more than {_MOST_OBJECTS} frames and bodies: split it")
    try:
        return _read_file(data)
    except _UNREADABLE as error:
        place = re.search(r" \(byte \d+\)$", str(error))  # the other words may quote the recording
        truncated = str(error) == "Input data was truncated"
    what = "ends too early" if truncated else f"is not JSON with a list of `frames`{place[0] if place else ''}"
    raise RecordingError(f"the recording {what}")


def _same_joints(raw: Raw) -> bool:
    try:
        names = _decode(_read_names, raw, "")
    except MalformedError:
        return False
    return tuple(name.upper().replace("NAVAL", "NAVEL") for name in names) == AZURE_JOINT_NAMES


def _add(gathering: Gathering, place: str, frame: _Frame) -> None:
    time_usec = _decode(_read_time, frame.timestamp_usec, "it has no `timestamp_usec`")
    bodies = _decode(_read_bodies, frame.bodies, "it has no list of `bodies`", MAX_BYTES)
    sound: list[tuple[int, list[float]]] = []
    for number, body in enumerate(bodies, 1):
        try:
            sound.append(_values(body))
        except MalformedError as fault:
            gathering.leave_out(f"{place}, body {number}", fault)
    if bodies and not sound:
        return  # it would look like an empty room
    gathering.add_frame(time_usec * 1000)
    for body_id, values in sound:
        try:
            gathering.add_body(body_id, values)
        except MalformedError as fault:
            gathering.leave_out(place, fault)


def _values(body: _Body) -> tuple[int, list[float]]:
    body_id = _decode(_read_id, body.body_id, "it has no `body_id`, or that of no body")
    positions = _decode(_read_positions, body.joint_positions, f"it has no {AZURE_JOINTS} `joint_positions`")
    values = list(chain.from_iterable(positions))
    check(values)
    return body_id, values


def _decode(read: Callable[[Raw], T], raw: Raw, fault: str, most: int = _MOST_BYTES) -> T:
    """Raises MalformedError with the words given: the decoder's may quote the recording."""
    if len(memoryview(raw)) <= most:
        try:
            return read(raw)
        except _UNREADABLE:
            pass
    raise MalformedError(fault)


def _convert(values: NDArray[np.float64]) -> tuple[Joints, Tracking]:
    return to_kinect25(values), np.full((len(values), JOINTS), TRACKED, np.uint8)
