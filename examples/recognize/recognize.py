"""Says what each body of a node's streams is doing, live.

    python recognize.py recognizer.onnx tcp://127.0.0.1:7400

Needs skelanon and onnxruntime, no torch, and a recognizer, which `skelanon train` and `skelanon export` make:
docs/tutorial.md.
The bodies of each frame are recognised in one call, at the sensor's rate if the machine can, else those of the newest.
A line is written when an action changes, and now and then.
"""

import argparse
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skelanon.export import BundleError, RunnerError
from skelanon.export.recognizer import Recognizer
from skelanon.stream import ReceivedFrame, Subscriber, Window, load_client_keys

LEAST: Final = 0.5
"""A body is recognised once it has been there for so much of the window."""
BURST: Final = 1000
"""Frames that are taken in one go."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Action:
    """What a body does, or two bodies together."""

    stream: str
    bodies: tuple[int, ...]
    label: int
    """Value of the label, as in the data set."""
    name: str
    confidence: float


class Live:
    """Recognises the bodies of any number of streams, one window for each.

    length: frames of a window. One thread uses it.
    """

    def __init__(self, recognizer: Recognizer, length: int) -> None:
        self._recognizer, self._length = recognizer, length
        self._windows: dict[str, Window] = {}

    def push(self, frame: ReceivedFrame) -> None:
        """Take the newest frame of a stream."""
        self._windows.setdefault(frame.stream, Window(self._length)).push(frame)

    def actions(self, frame: ReceivedFrame) -> list[Action]:
        """What the bodies do that are in the newest frame of a stream."""
        window = self._windows[frame.stream]
        ready = {
            body: track[seen.argmax() : len(seen) - seen[::-1].argmax()]  # from the first frame it is in to the last
            for body, track in zip(window.ids, window.keypoint(), strict=True)
            if body in frame.ids and (seen := track.any(axis=(1, 2))).mean() >= LEAST
        }
        return recognise(self._recognizer, frame.stream, ready)


def recognise(recognizer: Recognizer, stream: str, tracks: dict[int, NDArray[np.float32]]) -> list[Action]:
    """What bodies do, each by itself, or all together where the recognizer looks at two.

    tracks: for each body its frames (T, 25, 3), zeros where it was not seen.
    """
    about = recognizer.manifest
    groups = [(body,) for body in tracks] if about.bodies_per_sample == 1 else [tuple(tracks)[:2]]
    if not tracks:
        return []
    clips = np.stack([recognizer.clip(_side_by_side([tracks[body] for body in group])) for group in groups])
    found = []
    for group, confidences in zip(groups, recognizer.confidences(clips), strict=True):
        best = int(confidences.argmax())
        found.append(Action(stream, group, about.classes[best], about.names[best], float(confidences[best])))
    return found


def _side_by_side(tracks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Tracks (T, 25, 3) that end together, as (T, M, 25, 3)."""
    longest = max(len(track) for track in tracks)
    return np.stack([np.pad(track, ((longest - len(track), 0), (0, 0), (0, 0))) for track in tracks], axis=1)


class Teller:
    """Lets through what is news: another action of a body, or the same one `every_s` seconds later.

    sure: what is less likely than this is not told: between two actions, a window holds a part of each.
    """

    def __init__(self, every_s: float, sure: float) -> None:
        self._every_s, self._sure = every_s, sure
        self._told: dict[tuple[str, tuple[int, ...]], tuple[str, float]] = {}

    def news(self, actions: list[Action], now_s: float) -> Iterator[str]:
        """Lines to write; bodies that were not heard of for a while are forgotten."""
        for action in actions:
            key = action.stream, action.bodies
            name, then_s = self._told.get(key, ("", float("-inf")))
            if action.confidence >= self._sure and (name != action.name or now_s - then_s >= self._every_s):
                self._told[key] = action.name, now_s
                bodies = "+".join(f"{body:08x}" for body in action.bodies)
                yield f"{action.stream}  {bodies}  {action.name}  {action.confidence:.2f}"
        self._told = {key: told for key, told in self._told.items() if now_s - told[1] <= 10 * self._every_s + 10}


def watch(subscriber: Subscriber, recognizer: Recognizer, length: int, teller: Teller) -> None:
    """Write down what bodies do until the subscriber is closed."""
    live = Live(recognizer, length)
    checked: set[str] = set()
    for frame in subscriber:
        for newest in drain(subscriber, live, frame).values():
            schema = subscriber.streams[newest.stream].schema
            if schema is not None and schema.model_sha256 not in checked:
                checked.add(schema.model_sha256)
                if schema.model_sha256 != recognizer.manifest.model_sha256:
                    log.warning("%s: the recognizer was trained on what another model publishes", newest.stream)
            for line in teller.news(live.actions(newest), time.monotonic()):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()


def drain(subscriber: Subscriber, live: Live, frame: ReceivedFrame | None) -> dict[str, ReceivedFrame]:
    """Take all frames that wait, so that a slow recognizer never lags; the newest one of each stream."""
    newest, taken = dict[str, ReceivedFrame](), 0
    while frame is not None:
        live.push(frame)
        newest[frame.stream] = frame
        taken += 1
        frame = subscriber.read(0) if taken < BURST else None
    return newest


def main() -> None:
    """Recognise until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Says what each body of a skelanon node's streams is doing.")
    parser.add_argument("recognizer", help="the file that `skelanon export` wrote")
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:7400", help="ZeroMQ address of the node")
    parser.add_argument("streams", nargs="*", help="only these")
    parser.add_argument("--frames", type=int, help="of the window; by default as many as the training sequences had")
    parser.add_argument("--every", type=float, default=1.0, help="seconds after which a line is written again")
    parser.add_argument("--sure", type=float, default=0.7, help="least confidence of what is written")
    parser.add_argument("--key", help="CURVE: your .key_secret file")
    parser.add_argument("--node-key", help="CURVE: the node's .key file")
    options = parser.parse_args()
    if (options.key is None) != (options.node_key is None):
        parser.error("--key and --node-key go together")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        recognizer = Recognizer(options.recognizer)
        curve = load_client_keys(options.key, options.node_key) if options.key else None
    except (BundleError, RunnerError, ValueError) as error:
        parser.error(str(error))
    about = recognizer.manifest
    length = options.frames or max(round(about.seconds * about.rate_hz), 1)
    log.info("%s: %d actions, by the last %d frames; Ctrl-C ends it", about.name, len(about.classes), length)
    with suppress(KeyboardInterrupt), Subscriber(options.endpoint, options.streams or None, curve=curve) as subscriber:
        watch(subscriber, recognizer, length, Teller(options.every, options.sure))


if __name__ == "__main__":
    main()
