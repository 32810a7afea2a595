"""`skelanon record`, `play` and `convert`: recordings of anonymous streams."""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from . import logs
from .exits import Exit
from .run import DEFAULT_ENDPOINT, Endpoint
from .watch import REFRESH_S, end_without_frames, open_subscriber

if TYPE_CHECKING:
    from skelanon.stream.recording import Recorder, Recording
    from skelanon.stream.subscriber import Subscriber

log = logging.getLogger(__name__)

POLL_MS = 50
"""Longest time that a recorder waits for a message before it looks after its file."""
LOG_PERIOD_S = 30.0
"""How often progress is logged where there is no terminal."""

Source = Annotated[Path, typer.Argument(help="A `.mcap` file, or a folder of them.", metavar="FILE|FOLDER")]
Streams = Annotated[list[str] | None, typer.Option("--stream", help="Only this stream; may be repeated.")]


class Format(StrEnum):
    """What a recording can become."""

    SKELETON = "skeleton"
    NPZ = "npz"
    CSV = "csv"


class Timestamps(StrEnum):
    """Times of capture of what is played."""

    NOW = "now"
    ORIGINAL = "original"


def record(
    out: Annotated[Path, typer.Option(help="A new `.mcap` file, or a folder for many.", metavar="FILE|FOLDER")],
    endpoint: Annotated[str, typer.Argument(help="ZeroMQ address of the node.")] = DEFAULT_ENDPOINT,
    streams: Streams = None,
    max_minutes: Annotated[float, typer.Option(help="In a folder: length of each file.")] = 60.0,
    seconds: Annotated[float | None, typer.Option(help="End after so long.")] = None,
    count: Annotated[int | None, typer.Option(help="End after so many frames.")] = None,
    key: Annotated[Path | None, typer.Option(help="CURVE: your `.key_secret` file.")] = None,
    node_key: Annotated[Path | None, typer.Option(help="CURVE: the node's `.key` file.")] = None,
) -> None:
    """Write what a node publishes, anonymous as it is, into MCAP files. Ends with Ctrl-C.

    Exit codes: 4 the disk is full or fails, 3 no frame came. A recorder that is killed loses a second at most.
    """
    from skelanon.stream.recording import Recorder, RecordError

    with asked_to_end() as asked:
        try:
            recorder = Recorder(out, max_minutes=max_minutes)
            with recorder, open_subscriber(endpoint, streams, key, node_key, recorder.write) as subscriber:
                _record(subscriber, recorder, asked, seconds, count)
        except RecordError as error:
            if not isinstance(error.__cause__, OSError):  # wrong use
                raise
            logs.last_words(f"error: {error}")
            raise typer.Exit(Exit.UNAVAILABLE) from error
    if not recorder.frames:
        end_without_frames(endpoint)
    typer.echo(_progress(subscriber, recorder))


def _record(
    subscriber: "Subscriber",
    recorder: "Recorder",
    asked: Callable[[], bool],
    seconds: float | None,
    count: int | None,
) -> None:
    """Until time or count is up, or somebody asks for the end."""
    started = time.monotonic()
    with shown() as show:
        while not asked() and (seconds is None or time.monotonic() - started < seconds):
            subscriber.read(POLL_MS)
            recorder.flush()
            show(lambda: _progress(subscriber, recorder))
            if count is not None and recorder.frames >= count:
                break


def _progress(subscriber: "Subscriber", recorder: "Recorder") -> str:
    lost = sum(stats.lost for stats in subscriber.streams.values())
    streams = ", ".join(sorted(subscriber.streams)) or "nothing yet"
    return f"{recorder.path}: {recorder.frames} frames ({streams}), {lost} lost, {recorder.size / 1e3:,.0f} kB"


def play(
    path: Source,
    streams: Streams = None,
    rate: Annotated[float, typer.Option(help="Times the recorded speed.")] = 1.0,
    fast: Annotated[bool, typer.Option("--fast", help="As fast as possible, and losing no frame.")] = False,
    loop: Annotated[bool, typer.Option("--loop", help="Start again at the end.")] = False,
    timestamps: Annotated[Timestamps, typer.Option(help="Times of capture: moved to `now`, or `original`.")] = (
        Timestamps.NOW
    ),
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    wait_for: Annotated[int | None, typer.Option(help="Subscribers to wait for; with --fast 1, else 0.")] = None,
) -> None:
    """Publish a recording of anonymous streams again, on this machine, as if it were live."""
    from skelanon.stream.recording import Player

    recording = _open(path, streams)
    waits = int(fast) if wait_for is None else wait_for
    with (
        Player(
            recording, endpoint, rate=rate, fast=fast, loop=loop, timestamps=timestamps.value, wait_for=waits
        ) as player,
        asked_to_end(player.stop),
    ):
        log.info("publishing at %s: %s", player.endpoint, ", ".join(player.streams))
        player.run()
    _tell_damage(recording)


def convert(
    path: Source,
    to: Annotated[Format, typer.Option("--to", help="`skeleton` (NTU RGB+D), `npz` (NumPy) or `csv`.")],
    out: Annotated[Path, typer.Option(help="A new file; for `skeleton` a folder.", metavar="FILE|FOLDER")],
    streams: Streams = None,
) -> None:
    """Write a recording of anonymous streams in a format that other programs read."""
    from skelanon.stream.recording import convert as converters

    recording = _open(path, streams)
    frames = {
        Format.SKELETON: converters.to_skeleton,
        Format.NPZ: converters.to_npz,
        Format.CSV: converters.to_csv,
    }[to](recording, out)
    _tell_damage(recording)
    typer.echo(f"{out}: {frames} frames ({', '.join(sorted(recording.streams))})")


def _open(path: Path, streams: list[str] | None) -> "Recording":
    from skelanon.stream.recording import Recording

    return Recording(path, streams, on_event=lambda event: log.debug("in the recording: %s", event))


def _tell_damage(recording: "Recording") -> None:
    for path, damage in recording.damage.items():
        words = damage.describe()
        if words is not None:
            log.warning("%s: %s", path, words)
    if recording.malformed:
        log.warning("%d messages in the recording are not of this wire, and were passed over", recording.malformed)


@contextmanager
def asked_to_end(then: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM has come, and not as an exception, which could come anywhere; `then` is called."""
    asked = False

    def ask(_: int, __: FrameType | None) -> None:
        nonlocal asked
        asked = True
        then()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shown() -> Iterator[Callable[[Callable[[], str]], None]]:
    """Shows a line of progress: on a terminal in place, else in the log now and then."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    period_s = REFRESH_S if console.is_terminal else LOG_PERIOD_S
    shown_s = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(line: Callable[[], str]) -> None:
            nonlocal shown_s
            if time.monotonic() - shown_s < period_s:
                return
            shown_s = time.monotonic()
            if console.is_terminal:
                live.update(Text(line()), refresh=True)
            else:
                log.info("%s", line())

        yield show
