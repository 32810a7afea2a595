"""`skelanon status`: how a running node is doing."""

import json
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .exits import Exit
from .watch import DEFAULT_ENDPOINT, open_subscriber

if TYPE_CHECKING:
    from rich.console import Group

    from skelanon.stream.received import Message, StreamStats
    from skelanon.stream.subscriber import Subscriber
    from skelanon.stream.wire import StatusMessage

JSON_FORMAT: Final = 1
"""Version of what `--json` writes; new keys do not change it."""
PERIOD_S: Final = 1.0
"""Between two statuses of a stream."""
SILENT_S: Final = 3.0
"""After so long without a word of it a stream is `silent`."""
SETTLE_S: Final = 0.3
"""After the first status; those of the other streams follow at once."""
_POLL_MS: Final = 50
_HEADINGS: Final = ("stream", "state", "up", "Hz in", "out", "dropped", "withheld", "faults", "ms p50", "p99")
_STATES: Final = {"ok": "green", "waiting": "yellow"}


def status(
    node: Annotated[
        str, typer.Argument(help="ZeroMQ address of the node, or its YAML file.", metavar="ENDPOINT|CONFIG")
    ] = DEFAULT_ENDPOINT,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines; with --watch a line every second.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the node.", min=0.1)] = 3.0,
    key: Annotated[Path | None, typer.Option(help="CURVE: your `.key_secret` file.")] = None,
    node_key: Annotated[Path | None, typer.Option(help="CURVE: the node's `.key` file.")] = None,
) -> None:
    """Say how a running node is doing. Exit codes: 0 all streams are ok, 3 not all are, 4 the node does not answer."""
    endpoint, streams = locate(node, with_key=key is not None)
    heard_s: dict[str, float] = {}

    def hear(message: "Message", data: bytes, received_ns: int) -> None:
        heard_s[message.stream] = time.monotonic()

    with open_subscriber(endpoint, streams, key, node_key, hear, frames=False) as subscriber:
        found = Found(endpoint, subscriber, heard_s)
        if not found.wait(timeout):
            typer.echo(f"no status came from {endpoint}: is a node there, and does it know your key?", err=True)
            raise typer.Exit(Exit.UNAVAILABLE)
        if watch:
            with suppress(KeyboardInterrupt):
                _watch(found, as_json)
        elif as_json:
            typer.echo(json.dumps(found.report(), indent=2))
        else:
            _show(found)
        raise typer.Exit(Exit.OK if found.ok else Exit.NO)


def locate(node: str, *, with_key: bool = True) -> tuple[str, list[str] | None]:
    """Address and streams of a node: of an address, none that are known. with_key: the client has a key to show."""
    if "://" in node:
        return node, None
    from skelanon.configs import load_settings

    settings = load_settings(node)
    if settings.publish.curve is not None and not with_key:
        raise typer.BadParameter("the node has `publish.curve`: give --key and --node-key, as its clients do")
    transport, _, address = settings.publish.endpoint.partition("://")
    host, _, port = address.rpartition(":")
    if transport == "tcp" and port in ("*", "0"):
        raise typer.BadParameter("the port in `publish.endpoint` is any; give the address that the node has logged")
    if transport == "tcp" and host in ("*", "0.0.0.0"):
        address = f"127.0.0.1:{port}"
    elif transport == "tcp" and host == "[::]":
        address = f"[::1]:{port}"
    return f"{transport}://{address}", list(settings.sensors)


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a node. heard_s: when each stream was last heard of."""

    endpoint: str
    subscriber: "Subscriber"
    heard_s: dict[str, float]

    def wait(self, timeout_s: float) -> bool:
        """Wait for the first status and a moment more, for those of the other streams; whether any came."""
        until_s = time.monotonic() + timeout_s
        answered = False
        while time.monotonic() < until_s:
            self.subscriber.read(_POLL_MS)
            if not answered and any(stats.status for stats in self.subscriber.streams.values()):
                answered = True
                until_s = time.monotonic() + SETTLE_S
        return answered

    @property
    def streams(self) -> "list[tuple[str, str, StreamStats]]":
        """Name, state and statistics of each stream; `silent` is one of which nothing was heard for a while."""
        return [(name, self._state(name, stats), stats) for name, stats in sorted(self.subscriber.streams.items())]

    def _state(self, name: str, stats: "StreamStats") -> str:
        silent = time.monotonic() - self.heard_s.get(name, 0.0) > SILENT_S
        return "silent" if stats.status is None or (silent and not stats.stopped) else stats.status.state

    @property
    def ok(self) -> bool:
        """Whether all streams are ok."""
        return all(state == "ok" for _, state, _ in self.streams)

    def report(self) -> dict[str, Any]:
        """All of it, for machines."""
        import msgspec

        streams = []
        for name, state, stats in self.streams:
            told: dict[str, Any] = msgspec.to_builtins(stats.status) if stats.status is not None else {}
            if stats.schema is not None:
                told |= {"model_name": stats.schema.model_name, "model_sha256": stats.schema.model_sha256}
            streams.append(told | {"stream": name, "state": state})
        return {"format": JSON_FORMAT, "endpoint": self.endpoint, "ok": self.ok, "streams": streams}


def _show(found: Found) -> None:
    from rich.console import Console

    Console().print(_table(found))


def _watch(found: Found, as_json: bool) -> None:
    from rich.live import Live

    with nullcontext() if as_json else Live(auto_refresh=False) as live:
        while True:
            if live is None:
                typer.echo(json.dumps(found.report()))
            else:
                live.update(_table(found), refresh=True)
            until_s = time.monotonic() + PERIOD_S
            while (left_s := until_s - time.monotonic()) > 0:
                found.subscriber.read(left_s * 1e3)


def _table(found: Found) -> "Group":
    """A line for each stream, and which models anonymize them."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, heading in enumerate(_HEADINGS):
        table.add_column(heading, no_wrap=True, justify="left" if number < 2 else "right")
    for name, state, stats in found.streams:
        shown, told = Text(state, style=_STATES.get(state, "red")), stats.status
        table.add_row(name, shown, *(_figures(told) if told is not None else ()))
    schemas = [stats.schema for _, _, stats in found.streams if stats.schema is not None]
    models = sorted({f"model {schema.model_name} {schema.model_sha256}" for schema in schemas})
    return Group(table, *(Text(model) for model in models))


def _figures(told: "StatusMessage") -> list[str]:
    total = told.latency_us.get("total")
    return [
        _duration(told.uptime_s),
        f"{told.rate_in_hz:.1f}",
        f"{told.rate_out_hz:.1f}",
        str(told.dropped),
        str(told.withheld),
        str(told.faults),
        f"{total.p50 / 1e3:.2f}" if total else "-",
        f"{total.p99 / 1e3:.2f}" if total else "-",
    ]


def _duration(seconds: float) -> str:
    """Such as 3d 04:05:06."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{f'{days}d ' if days else ''}{hours:02}:{minutes:02}:{rest:02}"
