"""`skelanon view`: anonymous skeletons in the viewer Rerun, or in a file for it."""

import logging
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from .exits import Exit
from .extras import needing_view
from .record import Streams, asked_to_end
from .status import locate
from .watch import DEFAULT_ENDPOINT, end_without_frames, open_subscriber

if TYPE_CHECKING:
    import rerun as rr

    from skelanon.stream.subscriber import Subscriber

    from .scene import Scene

log = logging.getLogger(__name__)

POLL_MS: Final = 50
TICK_S: Final = 1.0
FLUSH_S: Final = 5.0
START_S: Final = 30.0
"""Time that the viewer has to open its window."""
MEMORY: Final = "2GB"
"""What the viewer may hold; beyond it the oldest goes."""
_PROXIES: Final = ("all_proxy", "https_proxy", "http_proxy", "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
_ALONE: Final = {
    "RERUN_APP_ONLY": "true",  # no greeting
    **dict.fromkeys(_PROXIES, "http://127.0.0.1:9"),  # the port for what is thrown away: nobody is there
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1"),
}
"""The viewer's surroundings."""


def view(
    node: Annotated[
        str, typer.Argument(help="ZeroMQ address of the node, or its YAML file.", metavar="ENDPOINT|CONFIG")
    ] = DEFAULT_ENDPOINT,
    streams: Streams = None,
    save: Annotated[Path | None, typer.Option(help="Open no window; write a new `.rrd` file.", metavar="FILE")] = None,
    seconds: Annotated[float | None, typer.Option(help="End after so long.")] = None,
    key: Annotated[Path | None, typer.Option(help="CURVE: your `.key_secret` file.")] = None,
    node_key: Annotated[Path | None, typer.Option(help="CURVE: the node's `.key` file.")] = None,
) -> None:
    """Show anonymous skeletons in 3D, with rates, latencies and gaps. Ends with Ctrl-C, or with the viewer's window.

    Exit codes: 3 no frame came, 4 the viewer cannot be started or the file not be written.
    """
    with needing_view():
        import rerun as rr

    from .scene import Scene

    endpoint, named = locate(node)
    # No properties: they hold the time of the start, and nothing that a viewer needs.
    recording = rr.RecordingStream("skelanon", send_properties=False)
    scene = Scene(recording)
    with (
        asked_to_end() as asked,
        open_subscriber(endpoint, streams or named, key, node_key, on_event=scene.tell) as subscriber,
        _into(recording, save) as there,
    ):
        until_s = time.monotonic() + (seconds if seconds is not None else float("inf"))
        _follow(subscriber, scene, lambda: asked() or time.monotonic() >= until_s, there, every=save is not None)
    if not scene.frames:
        end_without_frames(endpoint)
    if save is not None:
        _check_whole(save)
        typer.echo(f"{save}: {scene.frames} frames ({', '.join(sorted(subscriber.streams))}); open it with `rerun`")


def _follow(
    subscriber: "Subscriber", scene: "Scene", ended: Callable[[], bool], there: Callable[[], bool], *, every: bool
) -> None:
    """Show what comes until the end, or until nothing is there to show it in, which is looked at now and then.

    every: show each frame; else what a slow viewer cannot take is passed over.
    """
    ticked_s = time.monotonic()
    while not ended():
        if every:
            frame = subscriber.read(POLL_MS)
            if frame is not None:
                scene.show(frame)
        else:
            for frame in subscriber.latest(POLL_MS).values():
                scene.show(frame)
        if time.monotonic() - ticked_s >= TICK_S:
            ticked_s = time.monotonic()
            scene.tick(subscriber.streams)
            if not there():
                break
    scene.tick(subscriber.streams)


@contextmanager
def _into(recording: "rr.RecordingStream", save: Path | None) -> Iterator[Callable[[], bool]]:
    """Where the recording goes: a file, or a viewer, which ends with it. Yields what tells if it is there."""
    if save is not None:
        try:
            save.touch(exist_ok=False)
        except OSError as error:
            raise typer.BadParameter(f"cannot write `--save` {str(save)!r}: {error.strerror}") from error
        recording.save(save)
        try:
            yield lambda: _written(recording)
        finally:
            recording.disconnect()
        return
    with _viewer() as (process, port):
        recording.connect_grpc(f"rerun+http://127.0.0.1:{port}/proxy")
        try:
            yield lambda: process.poll() is None
        finally:
            recording.disconnect()


def _written(recording: "rr.RecordingStream") -> bool:
    """Whether what was to be written so far could be."""
    try:
        recording.flush(timeout_sec=FLUSH_S)
    except RuntimeError:  # in Rerun's words, which it has logged with the cause
        return False
    return True


def _check_whole(file: Path) -> None:
    """End the command if a file lacks its end: the disk is full, or fails."""
    from rerun.chunk import RrdReader

    try:
        with warnings.catch_warnings(action="error"):
            RrdReader(file).recordings()
    except (RuntimeError, Warning) as error:
        typer.echo(f"error: {str(file)!r} could not be written to its end; is the disk full?", err=True)
        raise typer.Exit(Exit.UNAVAILABLE) from error


@contextmanager
def _viewer() -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """The viewer, in a process of its own, and the port that it takes data at.

    Not by `rerun.spawn`: its viewer listens on all interfaces. Its reports of usage to its maker are turned off, for
    which it knows no other way than its settings, and its question for newer versions gets nowhere.
    """
    program = _program()
    environment = {**os.environ, **_ALONE}
    subprocess.run([program, "analytics", "disable"], env=environment, capture_output=True, check=True)
    port = _free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--memory-limit", MEMORY, "--server-memory-limit", "64MB"]
    process = subprocess.Popen([program, *options, "--hide-welcome-screen", "--expect-data-soon"], env=environment)
    try:
        _await(process, port)
        yield process, port
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()


def _program() -> Path:
    """The viewer itself: its launcher in Python would leave it behind when ended."""
    import rerun_cli

    folder = Path(rerun_cli.__file__).parent
    bundled = folder / "Rerun.app" / "Contents" / "MacOS" / "Rerun"
    return bundled if bundled.exists() else folder / ("rerun.exe" if sys.platform == "win32" else "rerun")


def _await(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Until the viewer listens. Raises typer.Exit when it does not."""
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    typer.echo("error: the viewer did not start; is there a display? `--save FILE` needs none", err=True)
    raise typer.Exit(Exit.UNAVAILABLE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
