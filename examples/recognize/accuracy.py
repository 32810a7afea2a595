"""How often a recognizer is right about recordings that a node replays: through the model, the guard and sockets.

    skelanon replay recordings/ --fast
    python accuracy.py recognizer.onnx recordings/ --only "t[34]"

Recordings are those of NTU RGB+D or UTD-MHAD, whose names say which action they are: A012 or a12. The node plays all of
them in the order of their names, each as a new track; a track is recognised when it has ended.
"""

import argparse
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from recognize import recognise

from skelanon.export.recognizer import Recognizer
from skelanon.sensors.recordings import recording_files
from skelanon.stream import ReceivedFrame, Subscriber

ACTION: Final = re.compile(r"[Aa](\d+)(?!.*[Aa]\d)")
"""The last number after an A in a name."""
QUIET_S: Final = 60.0
"""A node that publishes nothing for so long has ended unseen, or was never there."""


def until_it_stops(subscriber: Subscriber, stream: str) -> Iterator[ReceivedFrame]:
    """Every frame until the node says that it has stopped the stream, or is silent for too long."""
    heard_s = time.monotonic()
    while not subscriber.streams[stream].stopped and time.monotonic() - heard_s < QUIET_S:
        frame = subscriber.read(200)
        if frame is not None:
            heard_s = time.monotonic()
            yield frame


def tracks(subscriber: Subscriber, stream: str) -> Iterator[NDArray[np.float32]]:
    """Each body (T, 25, 3) that was alone in its recording, when the next one comes or the node has ended."""
    body, joints = None, list[NDArray[np.float32]]()
    for frame in until_it_stops(subscriber, stream):
        for public_id, place in zip(frame.ids, frame.joints, strict=True):
            if public_id != body and joints:
                yield np.stack(joints)
                joints = []
            body = public_id
            joints.append(place)
    if joints:
        yield np.stack(joints)


def main() -> None:
    """Subscribe, compare, and say how often it was right."""
    parser = argparse.ArgumentParser(description="How often a recognizer is right about replayed recordings.")
    parser.add_argument("recognizer", help="the file that `skelanon export` wrote")
    parser.add_argument("recordings", type=Path, help="the folder that the node replays")
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:7400", help="ZeroMQ address of the node")
    parser.add_argument("--stream", default="replay", help="its name")
    parser.add_argument("--only", default="", help="count recordings alone whose names have this in them (a pattern)")
    options = parser.parse_args()
    recognizer = Recognizer(options.recognizer)
    names = [path.name for path in recording_files(options.recordings)]
    with Subscriber(options.endpoint, [options.stream], stall_after_s=3600) as subscriber:
        played = list(tracks(subscriber, options.stream))
        lost = subscriber.streams[options.stream].lost
    if len(played) != len(names) or lost:
        parser.error(
            f"{len(played)} bodies came of {len(names)} recordings, and {lost} frames were lost: which is which?"
        )
    right = [
        recognise(recognizer, options.stream, {0: track})[0].label == int(ACTION.findall(name)[0])
        for name, track in zip(names, played, strict=True)
        if re.search(options.only, name)
    ]
    sys.stdout.write(f"{sum(right)} of {len(right)} right: {np.mean(right):.4f}\n")


if __name__ == "__main__":
    main()
