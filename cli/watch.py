"""`skelanon subscribe`: a live table of what arrives."""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from .exits import Exit

if TYPE_CHECKING:
    from rich.table import Table

    from skelanon.stream.received import Event, Message, ReceivedFrame
    from skelanon.stream.subscriber import Subscriber

DEFAULT_ENDPOINT = "tcp://127.0.0.1:7400"
REFRESH_S = 0.25


def subscribe(
    endpoint: Annotated[str, typer.Argument(help="ZeroMQ address of the node.")] = DEFAULT_ENDPOINT,
    streams: Annotated[list[str] | None, typer.Option("--stream", help="Only this stream; may be repeated.")] = None,
    seconds: Annotated[float | None, typer.Option(help="End after so long.")] = None,
    count: Annotated[int | None, typer.Option(help="End after so many frames.")] = None,
    key: Annotated[Path | None, typer.Option(help="CURVE: your `.key_secret` file.")] = None,
    node_key: Annotated[Path | None, typer.Option(help="CURVE: the node's `.key` file.")] = None,
) -> None:
    """Watch streams arrive: rates, gaps, latency. Ends with Ctrl-C; exit code 3 if no frame came."""
    with open_subscriber(endpoint, streams, key, node_key) as subscriber:
        frames = watch(subscriber, seconds=seconds, count=count)
    if not frames:
        end_without_frames(endpoint)


def open_subscriber(
    endpoint: str,
    streams: list[str] | None,
    key: Path | None,
    node_key: Path | None,
    on_message: "Callable[[Message, bytes, int], None] | None" = None,
    *,
    frames: bool = True,
    on_event: "Callable[[Event], None] | None" = None,
) -> "Subscriber":
    """The Subscriber that a command's options ask for."""
    from skelanon.sensors.keys import load_client_keys
    from skelanon.stream.subscriber import Subscriber

    if (key is None) != (node_key is None):
        raise typer.BadParameter("--key and --node-key go together")
    curve = load_client_keys(key, node_key) if key is not None and node_key is not None else None
    try:
        return Subscriber(endpoint, streams, curve=curve, on_message=on_message, frames=frames, on_event=on_event)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def end_without_frames(endpoint: str) -> NoReturn:
    """End the command because nothing came."""
    typer.echo(f"no frame came from {endpoint}: is a node there, and does it know your key?", err=True)
    raise typer.Exit(Exit.NO)


def watch(subscriber: "Subscriber", *, seconds: float | None = None, count: int | None = None) -> int:
    """Show a live table until time or count is up, or Ctrl-C; returns how many frames came."""
    from rich.console import Console
    from rich.live import Live

    recent: dict[str, deque[ReceivedFrame]] = {}
    started = time.monotonic()
    shown, frames = 0.0, 0
    console = Console()
    with Live(console=console, auto_refresh=False) as live:
        try:
            while (seconds is None or time.monotonic() - started < seconds) and (count is None or frames < count):
                frame = subscriber.read(timeout_ms=100)
                if frame is not None:
                    frames += 1
                    recent.setdefault(frame.stream, deque(maxlen=90)).append(frame)
                if time.monotonic() - shown > REFRESH_S:
                    shown = time.monotonic()
                    live.update(_table(subscriber, recent), refresh=True)
        except KeyboardInterrupt:
            pass
        live.update(_table(subscriber, recent), refresh=True)
    if not console.is_terminal:
        console.print()
    return frames


def _table(subscriber: "Subscriber", recent: "dict[str, deque[ReceivedFrame]]") -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("stream", "state", "bodies", "Hz", "ms p50", "frames", "lost", "restarts", "model"):
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("stream", "state", "model") else "right")
    for name, stats in sorted(subscriber.streams.items()):
        frames = recent.get(name, deque())
        newest = frames[-1].state if frames else "waiting"
        state = "stopped" if stats.stopped else "stalled" if stats.stalled else newest
        table.add_row(
            name,
            {"ok": "[green]ok[/]", "empty": "[green]empty[/]"}.get(state, f"[red]{state}[/]"),
            str(len(frames[-1].ids)) if frames else "-",
            f"{_rate_hz(frames):.1f}",
            f"{_latency_ms(frames):.2f}",
            str(stats.frames),
            str(stats.lost),
            str(stats.restarts),
            stats.schema.model_name if stats.schema else "-",
        )
    return table


def _rate_hz(frames: "deque[ReceivedFrame]") -> float:
    if len(frames) < 2:
        return 0.0
    return (len(frames) - 1) * 1e9 / max(frames[-1].received_ns - frames[0].received_ns, 1)


def _latency_ms(frames: "deque[ReceivedFrame]") -> float:
    """From capture to arrival; meaningful where both clocks are one."""
    if not frames:
        return 0.0
    ordered = sorted(frame.received_ns - frame.captured_ns for frame in frames)
    return ordered[len(ordered) // 2] / 1e6
