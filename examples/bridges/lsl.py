"""Hands the streams of a node on as Lab Streaming Layer outlets, one for each, to be recorded beside EEG and the like.

    pip install pylsl                                   # on Linux: glibc 2.35, or a liblsl of your own
    python lsl.py                                       # found by programs of this machine
    python lsl.py tcp://127.0.0.1:7400 --network        # and by those of the network

An outlet is called as its stream, has type `MoCap`, source id `skelanon-<stream>`, and 76 float32 channels for each of
`--bodies` bodies: `0_seen`, 1 while there is a body, then `0_SpineBase_x` and so on, metres; NaN without a body. A body
keeps its channels until it leaves; ids are not handed on, since float32 cannot hold them. A sample's time is that of
capture, which is right if this machine's clock and the node's are the same or synchronised.

LSL encrypts nothing, and its ports are open to the network even where nobody is told of them: use it where that is
fine.
"""

import argparse
import time
from contextlib import suppress
from typing import Final

import numpy as np
import pylsl

from skelanon.sensors import JOINT_NAMES
from skelanon.stream import ReceivedFrame, Subscriber, load_client_keys

CHANNELS: Final = 1 + 3 * len(JOINT_NAMES)
"""Of one body."""


class Outlet:
    """One stream, with places for so many bodies; further ones wait until a place is free."""

    def __init__(self, stream: str, bodies: int) -> None:
        info = pylsl.StreamInfo(
            stream, "MoCap", bodies * CHANNELS, pylsl.IRREGULAR_RATE, pylsl.cf_float32, f"skelanon-{stream}"
        )
        channels = info.desc().append_child("channels")
        for body in range(bodies):
            labels = [("seen", "")] + [(f"{name}_{axis}", "m") for name in JOINT_NAMES for axis in "xyz"]
            for label, unit in labels:
                channel = channels.append_child("channel")
                channel.append_child_value("label", f"{body}_{label}")
                channel.append_child_value("unit", unit)
        self._places: list[int | None] = [None] * bodies
        self._outlet = pylsl.StreamOutlet(info)

    def push(self, frame: ReceivedFrame) -> None:
        """Send one frame as one sample."""
        self._places = [body if body in frame.ids else None for body in self._places]
        for body in frame.ids:
            if body not in self._places and None in self._places:
                self._places[self._places.index(None)] = body
        sample = np.full((len(self._places), CHANNELS), np.nan, np.float32)
        sample[:, 0] = 0
        for place, seen in enumerate(self._places):
            if seen is not None:
                sample[place, 0] = 1
                sample[place, 1:] = frame.joints[frame.ids.index(seen)].ravel()
        age_s = (time.time_ns() - frame.captured_ns) / 1e9
        self._outlet.push_sample(sample.ravel().tolist(), pylsl.local_clock() - age_s)


def main() -> None:
    """Hand on until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Hands the streams of a skelanon node on to Lab Streaming Layer.")
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:7400", help="ZeroMQ address of the node")
    parser.add_argument("--bodies", type=int, default=2, help="places for bodies in each outlet")
    parser.add_argument("--network", action="store_true", help="let other machines find the outlets")
    parser.add_argument("--key", help="CURVE: your .key_secret file")
    parser.add_argument("--node-key", help="CURVE: the node's .key file")
    options = parser.parse_args()
    if (options.key is None) != (options.node_key is None):
        parser.error("--key and --node-key go together")
    curve = load_client_keys(options.key, options.node_key) if options.key else None
    if not options.network:
        pylsl.set_config_content("[multicast]\nResolveScope = machine\n")
    outlets: dict[str, Outlet] = {}
    with suppress(KeyboardInterrupt), Subscriber(options.endpoint, curve=curve) as subscriber:
        for frame in subscriber:
            if frame.stream not in outlets:
                outlets[frame.stream] = Outlet(frame.stream, options.bodies)
            outlets[frame.stream].push(frame)


if __name__ == "__main__":
    main()
