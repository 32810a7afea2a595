"""What is done to the fleet. Each deed raises WitnessError, or tells how long it took until all was well again."""

import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Final

import psutil
from chaos_fleet import RECORDERS, Fleet, Part, WitnessError

CLEAR_EXITS: Final = {4}
"""UNAVAILABLE, of docs/operations.md: a restart may help."""
STOP_S: Final = 0.4
GARBAGE: Final = b"HTTP/1.1 400 Bad Request\r\nServer: not a node\r\n\r\n"


def kill_node(fleet: Fleet, random: Random) -> float:
    """Kill the node; a supervisor starts it at once, sometimes with no room for its log. The camera takes longer."""
    began_s = time.monotonic()
    fleet.kill("node")
    fleet.start("node", full_disk=random.random() < 0.2)
    return fleet.seconds_until_well(["hall"], began_s)


def kill_proxy(fleet: Fleet, _: Random) -> float:
    """Kill the proxy, and start it again."""
    began_s = time.monotonic()
    fleet.kill("proxy")
    fleet.start("proxy")
    return fleet.seconds_until_well(["hall", "door"], began_s)


def kill_camera(fleet: Fleet, _: Random) -> float:
    """Kill the process of the node's camera; the node starts it again."""
    camera, lost = fleet.camera(), fleet.near.lost
    began_s = time.monotonic()
    camera.kill()
    fleet.await_fault("door")
    took_s = fleet.seconds_until_well(["door"], began_s)
    _nothing_lost(fleet, lost)
    return took_s


def kill_recorder(fleet: Fleet, random: Random) -> float:
    """Kill a recorder in the middle of writing: nobody else notices, and its file can be read."""
    part, lost = random.choice(RECORDERS), fleet.near.lost
    fleet.await_recording(part)
    fleet.kill(part)
    fleet.read_recording(part)
    fleet.start(part)
    took_s = fleet.seconds_until_recording(part)
    _nothing_lost(fleet, lost)
    return took_s


def stop_node(fleet: Fleet, _: Random) -> float:
    """SIGSTOP, and SIGCONT later."""
    return _stop(fleet, psutil.Process(fleet.parts["node"].pid), ["hall", "door"])


def stop_proxy(fleet: Fleet, _: Random) -> float:
    """The same for the proxy."""
    return _stop(fleet, psutil.Process(fleet.parts["proxy"].pid), ["hall", "door"])


def stop_camera(fleet: Fleet, _: Random) -> float:
    """The same for the camera's process."""
    return _stop(fleet, fleet.camera(), ["hall", "door"])


def stop_recorder(fleet: Fleet, random: Random) -> float:
    """The same for a recorder: nobody else notices."""
    lost = fleet.near.lost
    took_s = _stop(fleet, psutil.Process(fleet.parts[random.choice(RECORDERS)].pid), ["hall"])
    _nothing_lost(fleet, lost)
    return took_s


def set_clock(fleet: Fleet, random: Random) -> float:
    """The node's clock is an hour ahead, or back, from one moment to the next."""
    lost = fleet.near.lost
    fleet.parts["node"].send_signal(random.choice((signal.SIGUSR1, signal.SIGUSR2)))
    took_s = fleet.seconds_until_well(["hall", "door"])
    _nothing_lost(fleet, lost)
    return took_s


def fill_disk(fleet: Fleet, random: Random) -> float:
    """A recorder's disk is full: it ends with a code and words that say so, and what it wrote can be read."""
    part = random.choice(RECORDERS)
    fleet.await_recording(part)
    size, process = fleet.recording_bytes(part), fleet.parts.pop(part)
    began_s = time.monotonic()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + 1000, size + 1000))
    _clear_exit(fleet, process, part)
    took_s = time.monotonic() - began_s
    fleet.read_recording(part)
    fleet.start(part)
    return took_s


def take_descriptors(fleet: Fleet, _: Random) -> float:
    """The node has no descriptor left while clients knock and its camera has to be started again."""
    node, lost = fleet.parts["node"].pid, fleet.near.lost
    camera, before = fleet.camera(), resource.prlimit(fleet.parts["node"].pid, resource.RLIMIT_NOFILE)
    in_use = psutil.Process(node).num_fds()
    resource.prlimit(node, resource.RLIMIT_NOFILE, (in_use, before[1]))
    clients = []
    try:
        camera.kill()
        clients = [socket.create_connection(("127.0.0.1", fleet.node_port)) for _ in range(8)]
        fleet.await_near("hall")
        fleet.rest(0.3)
    finally:
        for client in clients:
            client.close()
        resource.prlimit(node, resource.RLIMIT_NOFILE, before)
    took_s = fleet.seconds_until_well(["hall", "door"])
    _nothing_lost(fleet, lost)
    return took_s


def steal_port(fleet: Fleet, _: Random) -> float:
    """The node's port is taken while it is down, by a program that answers with garbage; later it is free again."""
    fleet.kill("node")
    with _thief(fleet.node_port):
        fleet.start("node")
        node = fleet.parts.pop("node")
        _clear_exit(fleet, node, "node")
    began_s = time.monotonic()
    fleet.start("node")
    return fleet.seconds_until_well(["hall"], began_s)


Deed = Callable[[Fleet, Random], float]
DEEDS: Final[dict[Deed, int]] = {
    kill_node: 14, kill_proxy: 18, kill_camera: 14, kill_recorder: 30, stop_node: 4, stop_proxy: 4, stop_camera: 4,
    stop_recorder: 4, set_clock: 4, fill_disk: 3, take_descriptors: 3, steal_port: 3,
}  # fmt: skip
"""How often each is done, relative to the others."""


def _stop(fleet: Fleet, process: psutil.Process, streams: Collection[str]) -> float:
    process.suspend()
    fleet.rest(STOP_S)
    process.resume()
    return fleet.seconds_until_well(streams)


def _nothing_lost(fleet: Fleet, before: int) -> None:
    if fleet.near.lost != before:
        raise WitnessError(f"{fleet.near.lost - before} frames were lost on the way to a client that had no part in it")


def _clear_exit(fleet: Fleet, process: "subprocess.Popen[bytes]", part: Part) -> None:
    deadline_s = time.monotonic() + 10.0
    while process.poll() is None:
        if time.monotonic() > deadline_s:
            process.kill()
            raise WitnessError(f"the {part} neither went on nor ended")
        fleet.pump()
    words = fleet.logs[part].read_text().strip().splitlines()[-1:]
    if process.returncode not in CLEAR_EXITS or not words or not words[0].startswith("error: "):
        raise WitnessError(f"the {part} ended with code {process.returncode} and the words {words}")


@contextmanager
def _thief(port: int) -> Iterator[None]:
    """Listens at a port, and sends garbage to whoever comes."""
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(0.05)
        ended = threading.Event()

        def answer() -> None:
            while not ended.is_set():
                with suppress(OSError):
                    client, _ = server.accept()
                    with client:
                        client.sendall(GARBAGE)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
