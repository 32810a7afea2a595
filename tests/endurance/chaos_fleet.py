"""What chaos happens to: a node with a camera, a proxy in front of it, two recorders, and two witnesses that see all.

synthetic `hall`, camera `door` -> node -> witness, recorder
                                      \\-> proxy (CURVE) -> witness, recorder
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import psutil
from azure_stand_in import SERIAL, compile_libraries, persons, write_script
from raw_search import RawSearch, synthetic_joints

from skelanon.sensors.azure_joints import KINECT_FROM_AZURE
from skelanon.sensors.keys import create_keys, load_client_keys
from skelanon.stream.received import Event, Gap, Message, ReceivedFrame
from skelanon.stream.recording import Recording
from skelanon.stream.subscriber import Subscriber

HERE: Final = Path(__file__).parent
PATIENCE_S: Final = 30.0
FULL: Final = Path("/dev/full")
FIRST_CHUNK_BYTES: Final = 20_000
Part = Literal["node", "proxy", "recorder", "far recorder"]
RECORDERS: Final[tuple[Part, ...]] = ("recorder", "far recorder")


class WitnessError(AssertionError):
    """The fleet did not do what it must."""


class Witness:
    """A subscriber that searches all that it gets for raw joints, and waits for streams to be well again."""

    def __init__(self, subscriber: Callable[..., Subscriber], search: RawSearch) -> None:
        self._search = search
        self.leaks = self.lost = 0
        self.subscriber = subscriber(on_message=self._look, on_event=self._note)

    def drain(self) -> None:
        """Read all that has come."""
        self.subscriber.latest(0)

    def frame(self) -> ReceivedFrame | None:
        """The next frame, soon."""
        return self.subscriber.read(20)

    def _look(self, _message: Message, payload: bytes, _received_ns: int) -> None:
        self._search.add(payload)
        self.leaks += SERIAL.encode() in payload

    def _note(self, event: Event) -> None:
        self.lost += event.lost if isinstance(event, Gap) else 0


class Fleet:
    """Starts, restarts and ends the parts. Made, used and closed by one thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts: dict[Part, subprocess.Popen[bytes]] = {}
        self.started_ns: dict[Part, int] = {}
        self.logs: dict[Part, Path] = {}
        self._files: dict[str, Path] = {}
        self._number = 0
        self.readings = self.frames_read = 0
        """Recordings that were cut off and read again, and the frames in them."""
        self.node_port, self.proxy_port = _free_ports(2)
        self._environment = {
            **os.environ, "K4A_SCRIPTS": str(folder), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        camera = persons(300, seed=5, pause_ms=30)
        write_script(folder / "0.script", camera, loop=True)
        positions = camera["body"]["joints"]["position"][:, 0, KINECT_FROM_AZURE]
        raw = (positions * np.array([-1, -1, 1], np.float32) / np.float32(1000)).astype(np.float32).reshape(-1, 3)
        self.search = RawSearch(np.concatenate([raw, synthetic_joints([0], 2)]))
        self._write_settings()
        keys = load_client_keys(folder / "viewer.key_secret", folder / "proxy.key")
        self.near = Witness(lambda **given: Subscriber(self._address(self.node_port), **given), self.search)
        self.far = Witness(lambda **given: Subscriber(self._address(self.proxy_port), curve=keys, **given), self.search)

    def start(self, part: Part, *, full_disk: bool = False) -> None:
        """Start a part; full_disk: there is no room for its log."""
        self._number += 1
        command = {"node": self._run_node, "proxy": self._run_proxy}.get(part, lambda: self._record(part))()
        self.logs[part] = FULL if full_disk else self.folder / f"{self._number}-{part}.log"  # small: limits are for all
        with self.logs[part].open("wb") as log:
            self.started_ns[part] = time.time_ns()
            self.parts[part] = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=self._environment,
            )  # fmt: skip

    def kill(self, part: Part) -> None:
        """As `kill -9` does."""
        self.parts[part].kill()
        self.parts[part].wait()

    def camera(self) -> psutil.Process:
        """The process of the node's camera."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            for child in psutil.Process(self.parts["node"].pid).children():
                return child
            self.pump()
        raise WitnessError("the camera's process was not started again")

    def pump(self) -> None:
        """Let the witnesses read for a moment, and check that nothing has ended that should not."""
        self.near.frame()
        self.far.drain()
        self._check_alive()

    def _check_alive(self) -> None:
        for part, process in self.parts.items():
            if process.poll() is not None:
                raise WitnessError(f"the {part} ended by itself, with code {process.returncode}")

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.pump()

    def seconds_until_well(self, streams: Collection[str], since_s: float | None = None) -> float:
        """Until both witnesses have had a good frame of each stream, that was not on its way yet; from `since_s`."""
        self.near.drain()
        self.far.drain()
        since_s = time.monotonic() if since_s is None else since_s
        missing = {(witness, stream) for witness in (self.near, self.far) for stream in streams}
        while missing:
            for witness in (self.near, self.far):
                frame = witness.frame()
                if frame is not None and frame.state != "fault":
                    missing.discard((witness, frame.stream))
            self._check_alive()
            if time.monotonic() - since_s > PATIENCE_S:
                gone = [(stream, "node" if witness is self.near else "proxy") for witness, stream in missing]
                raise WitnessError(f"no good frame of {gone} in {PATIENCE_S:.0f} s")
        return time.monotonic() - since_s

    def await_near(self, stream: str) -> None:
        """Until the node's own witness has had a good frame of a stream."""
        self.near.drain()
        deadline_s = time.monotonic() + PATIENCE_S
        while (frame := self.near.frame()) is None or frame.stream != stream or frame.state == "fault":
            if time.monotonic() > deadline_s:
                raise WitnessError(f"no good frame of {stream} in {PATIENCE_S:.0f} s")

    def await_fault(self, stream: str) -> None:
        """Until the node says that a sensor is at fault."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            frame = self.near.frame()
            self.far.drain()
            if frame is not None and frame.stream == stream and frame.state == "fault":
                return
        raise WitnessError(f"{stream}: no fault was told")

    def await_recording(self, part: Part) -> None:
        """Until a recorder's file has its first chunk."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not self._files[part].exists() or self._files[part].stat().st_size < FIRST_CHUNK_BYTES:
            if time.monotonic() > deadline_s:
                raise WitnessError(f"the {part} records nothing")
            self.pump()

    def seconds_until_recording(self, part: Part) -> float:
        """Wait for a recorder's first chunk; from the recorder's start until its first frame had come."""
        self.await_recording(part)
        frame = next(iter(Recording(self._files[part], on_event=lambda event: None)))
        return (frame.received_ns - self.started_ns[part]) / 1e9

    def read_recording(self, part: Part) -> None:
        """Read the file of a recorder that has ended.

        Raises WitnessError where more is wrong than that its end is missing.
        """
        path = self._files[part]
        recording = Recording(path, on_event=lambda event: None)
        frames = list(recording)
        if not frames or recording.malformed or recording.damage[path].records:
            raise WitnessError(f"a recording is damaged: {recording.damage[path].describe()}, {len(frames)} frames")
        self.readings += 1
        self.frames_read += len(frames)
        self.search.add(path.read_bytes())
        path.unlink()

    def recording_bytes(self, part: Part) -> int:
        """How large a recorder's file is now."""
        return self._files[part].stat().st_size

    def close(self) -> None:
        """End everything."""
        for process in self.parts.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.near.subscriber.close()
        self.far.subscriber.close()
        self.search.finish()

    def _run_node(self) -> list[str]:
        return [str(HERE / "shifted_clock.py"), "run", str(self.folder / "node.yaml")]

    def _run_proxy(self) -> list[str]:
        return ["-m", "skelanon.cli.main", "proxy", str(self.folder / "proxy.yaml")]

    def _record(self, part: Part) -> list[str]:
        self._files[part] = path = self.folder / f"{self._number}.mcap"
        port, keys = self.node_port, list[str]()
        if part == "far recorder":
            secret, proxy = self.folder / "viewer.key_secret", self.folder / "proxy.key"
            port, keys = self.proxy_port, ["--key", str(secret), "--node-key", str(proxy)]
        return ["-m", "skelanon.cli.main", "record", self._address(port), "--out", str(path), *keys]

    def _write_settings(self) -> None:
        folder = self.folder
        (folder / "libraries").mkdir()
        compile_libraries(folder / "libraries")
        (folder / "clients").mkdir()
        for name in ("proxy", "viewer"):
            create_keys(folder, name)
        os.link(folder / "viewer.key", folder / "clients" / "viewer.key")
        node: dict[str, Any] = {
            "sensors": {
                "hall": {"kind": "synthetic"},
                "door": {"kind": "azure_kinect", "libraries": str(folder / "libraries")},
            },
            "publish": {"endpoint": self._address(self.node_port)},
        }
        proxy = {
            "secret_key": str(folder / "proxy.key_secret"),
            "nodes": {"one": {"endpoint": self._address(self.node_port), "streams": ["hall", "door"]}},
            "doors": {
                "all": {
                    "endpoint": self._address(self.proxy_port), "clients": str(folder / "clients"), "streams": "all",
                },
            },
        }  # fmt: skip
        (folder / "node.yaml").write_text(json.dumps(node))
        (folder / "proxy.yaml").write_text(json.dumps(proxy))

    @staticmethod
    def _address(port: int) -> str:
        return f"tcp://127.0.0.1:{port}"


def _free_ports(count: int) -> list[int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports
