"""Hands the streams of a node on as Open Sound Control, for TouchDesigner, Max, Pure Data, Unity and the like.

    pip install python-osc
    python osc.py                                       # from tcp://127.0.0.1:7400 to UDP port 9000 of this machine
    python osc.py tcp://127.0.0.1:7400 --to 127.0.0.1 --port 8000

For each frame one bundle with the number of bodies, and one for each body:

    /skelanon/hall/bodies           i      how many there are
    /skelanon/hall/0/id             s      the body's id, as text: it does not fit OSC's integers
    /skelanon/hall/0/SpineBase      fff    x, y, z in metres; so for each of the 25 joints

The number after the stream is a place: 0 for the first body, the lowest that is free for the next. A body keeps its
place until it leaves. OSC is neither encrypted nor confirmed: send it to this machine, or over a cable that is yours.
"""

import argparse
from contextlib import suppress

from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.udp_client import UDPClient

from skelanon.sensors import JOINT_NAMES
from skelanon.stream import ReceivedFrame, Subscriber, load_client_keys


class Places:
    """Gives each body the lowest free place, which it keeps until it leaves."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}

    def update(self, ids: tuple[int, ...]) -> dict[int, int]:
        """The place of each body of a frame."""
        kept = {body: self._places[body] for body in ids if body in self._places}
        free = (place for place in range(len(ids)) if place not in kept.values())
        self._places = {body: kept[body] if body in kept else next(free) for body in ids}
        return self._places


def bundles(frame: ReceivedFrame, places: Places) -> list[OscBundle]:
    """What is sent for one frame."""
    root = f"/skelanon/{frame.stream}"
    out = [_bundle([(f"{root}/bodies", [len(frame.ids)])])]
    for (body, place), joints in zip(places.update(frame.ids).items(), frame.joints, strict=True):
        named = zip(JOINT_NAMES, joints.tolist(), strict=True)
        out.append(
            _bundle([(f"{root}/{place}/id", [str(body)]), *((f"{root}/{place}/{name}", xyz) for name, xyz in named)])
        )
    return out


def _bundle(messages: list[tuple[str, list[float | str]]]) -> OscBundle:
    bundle = OscBundleBuilder(IMMEDIATELY)
    for address, values in messages:
        message = OscMessageBuilder(address)
        for value in values:
            message.add_arg(value)
        bundle.add_content(message.build())
    return bundle.build()


def main() -> None:
    """Hand on until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Hands the streams of a skelanon node on as Open Sound Control.")
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:7400", help="ZeroMQ address of the node")
    parser.add_argument("--to", default="127.0.0.1", help="machine that is sent to")
    parser.add_argument("--port", type=int, default=9000, help="its UDP port")
    parser.add_argument("--key", help="CURVE: your .key_secret file")
    parser.add_argument("--node-key", help="CURVE: the node's .key file")
    options = parser.parse_args()
    if (options.key is None) != (options.node_key is None):
        parser.error("--key and --node-key go together")
    curve = load_client_keys(options.key, options.node_key) if options.key else None
    places: dict[str, Places] = {}
    client = UDPClient(options.to, options.port)
    with suppress(KeyboardInterrupt), Subscriber(options.endpoint, curve=curve) as subscriber:
        for frame in subscriber:
            for bundle in bundles(frame, places.setdefault(frame.stream, Places())):
                with suppress(ConnectionRefusedError):  # nobody listens yet
                    client.send(bundle)


if __name__ == "__main__":
    main()
