"""A program that does to a socket what nobody should: `python attacker.py KIND HOST:PORT COUNT SEED [KEYS...]`.

It writes one line of JSON: how many times it tried, and how many topics it was sent. It knows nothing of skelanon.
Source: ZMTP 3.1, RFC 37 of ZeroMQ.
"""

import contextlib
import json
import random
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

MARK = b"skelanon/1/"
"""In every topic: whoever is sent it has been let in."""


def greeting(mechanism: bytes, version: bytes = b"\x03\x01") -> bytes:
    """The 64 bytes that a ZMTP connection begins with."""
    return b"\xff" + bytes(8) + b"\x7f" + version + mechanism.ljust(20, b"\0") + bytes(32)


def frame(body: bytes, flags: int = 0, claimed: int | None = None) -> bytes:
    """One frame; `claimed` is the length that it says it has."""
    return struct.pack(">BQ", flags | 2, len(body) if claimed is None else claimed) + body


def ready(kind: bytes = b"SUB") -> bytes:
    """The NULL mechanism's handshake."""
    return frame(b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind, flags=4)


def malformed(chance: random.Random) -> tuple[bytes, ...]:
    """What is said in one of many conversations that are not in order, piece by piece: who talks before the other side
    has answered is cut off by ZeroMQ now and then, and would not get far."""
    noise = chance.randbytes(chance.randrange(1, 400))
    null, curve = (greeting(b"NULL"), ready()), greeting(b"CURVE")
    return chance.choice(
        [
            (noise,),
            (b"GET /metrics HTTP/1.1\r\n" + noise,),
            (b"GET /" + b"a" * chance.randrange(20_000),),
            (b"\xff" + noise,),
            (greeting(b"NULL", bytes([chance.randrange(256), chance.randrange(256)])), noise),
            (greeting(chance.randbytes(20)), noise),
            (greeting(b"NULL")[: chance.randrange(64)],),
            (greeting(b"PLAIN"), frame(b"\x05HELLO\x01a\x01b", flags=4)),
            (*null, noise),
            (*null, frame(b"", claimed=1 << 62)),
            (*null, frame(bytes(100), flags=1) * 50),
            (*null, frame(b"\1" + noise)),
            (*null, frame(noise, flags=4)),
            (*null, frame(b"\x01" + bytes(100_000))),
            (greeting(b"NULL"), ready(noise[:200])),
            (greeting(b"NULL"), ready(b"ROUTER"), frame(noise)),
            (curve, noise),
            (curve, frame(b"\x05HELLO" + noise, flags=4)),
            (curve, frame(b"\x05HELLO\x01\0" + chance.randbytes(192), flags=4)),
            (curve, frame(b"\x08INITIATE" + chance.randbytes(300), flags=4)),
            (curve, frame(b"\x05HELLO", flags=4, claimed=1 << 40)),
            (curve, ready(), frame(b"\1")),
            (greeting(b"NULL") + ready() + frame(b"\1"),),
        ]
    )


def connect(address: str) -> socket.socket:
    """A connection, at once or after a few attempts."""
    host, _, port = address.rpartition(":")
    for _ in range(50):
        with contextlib.suppress(OSError):
            return socket.create_connection((host, int(port)), timeout=5)
        time.sleep(0.05)
    raise ConnectionError(address)


def converse(address: str, chance: random.Random) -> int:
    """Say something malformed, and count the topics in what comes back."""
    heard = b""
    with connect(address) as one:
        one.settimeout(0.002)
        for piece in malformed(chance):
            with contextlib.suppress(OSError):
                one.sendall(piece)
                for _ in range(20):  # who is sent a stream would listen for ever
                    heard += one.recv(65536)
    return heard.count(MARK)


def loris(address: str, count: int, chance: random.Random) -> int:
    """Hold so many connections open, and send a byte over one of them now and then, for ten seconds."""
    opened = [connect(address) for _ in range(count)]
    words = [chance.choice([greeting(b"CURVE"), greeting(b"NULL"), b"GET / HTTP/1.1\r\n"]) for _ in opened]
    until_s, sent = time.monotonic() + 10, 0
    while time.monotonic() < until_s:
        number = chance.randrange(count)
        with contextlib.suppress(OSError):
            opened[number].send(words[number][sent % 10 : sent % 10 + 1])
        sent += 1
        time.sleep(0.005)
    heard = 0
    for one in opened:
        one.settimeout(0.001)
        with contextlib.suppress(OSError):
            heard += one.recv(65536).count(MARK)
        one.close()
    return heard


def flood(address: str, messages: Iterator[bytes]) -> int:
    """As a subscriber without encryption, send frames as fast as they are taken."""
    with connect(address) as one, contextlib.suppress(OSError):
        one.sendall(greeting(b"NULL") + ready(b"XSUB"))
        time.sleep(0.2)
        for message in messages:
            one.sendall(message)
        time.sleep(1)
    return 0


def flood_encrypted(address: str, messages: Iterator[bytes], keys: list[str]) -> int:
    """The same as one who is allowed to subscribe."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.XSUB) as one:
        one.linger, one.sndtimeo = 0, 100
        one.setsockopt_string(zmq.CURVE_PUBLICKEY, keys[0])
        one.setsockopt_string(zmq.CURVE_SECRETKEY, keys[1])
        one.setsockopt_string(zmq.CURVE_SERVERKEY, keys[2])
        one.connect(f"tcp://{address}")
        one.send(b"\1" + MARK)
        one.poll(5000)
        for number, message in enumerate(messages):
            one.send(message)
            if number % 100 == 0:
                time.sleep(0.005)  # XSUB drops what does not fit its queue
        time.sleep(1)
    return 0


def knock(address: str, count: int, server: str, chance: random.Random) -> int:
    """So often, shake hands as it should be done, as a subscriber or a sender, with a key that nobody knows."""
    import zmq
    from zmq.utils.monitor import recv_monitor_message

    heard = 0
    with zmq.Context() as context:
        for _ in range(count):
            public, secret = zmq.curve_keypair()
            with context.socket(chance.choice([zmq.XSUB, zmq.DEALER])) as one:
                one.linger = 0
                one.curve_publickey, one.curve_secretkey, one.curve_serverkey = public, secret, server.encode()
                monitor = one.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
                one.connect(f"tcp://{address}")
                one.send(b"\1" + MARK)
                if monitor.poll(5000):
                    recv_monitor_message(monitor)
                heard += one.poll(0)
                one.disable_monitor()
                monitor.close(0)
    return heard


def main() -> None:
    """Attack as the arguments say."""
    kind, address, count, seed, *keys = sys.argv[1:]
    chance, times = random.Random(int(seed)), int(count)
    prefixes = (b"\1%08d" % number + b"x" * 150 for number in range(times))
    attacks: dict[str, Callable[[], int]] = {
        "malformed": lambda: sum(converse(address, chance) for _ in range(times)),
        "loris": lambda: loris(address, times, chance),
        "unknown": lambda: knock(address, times, keys[2], chance),
        "prefixes": lambda: flood(address, (frame(prefix) for prefix in prefixes)),
        "repeats": lambda: flood(address, (frame(b"\1" + MARK) for _ in range(times))),
        "endless": lambda: flood(address, (frame(bytes(190), flags=1) * 100 for _ in range(times // 100))),
        "allowed-prefixes": lambda: flood_encrypted(address, prefixes, keys),
        "allowed-repeats": lambda: flood_encrypted(address, (b"\1" + MARK for _ in range(times)), keys),
        "allowed-others": lambda: flood_encrypted(address, (b"\2" + bytes(150) for _ in range(times)), keys),
    }
    sys.stdout.write(json.dumps({"times": times, "topics": attacks[kind]()}) + "\n")


if __name__ == "__main__":
    main()
