"""`skelanon run`, `replay` and `demo`: the node."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import logs
from .exits import Exit

if TYPE_CHECKING:
    from skelanon.configs import NodeSettings
    from skelanon.configs.schema import SensorSettings

log = logging.getLogger(__name__)

Endpoint = Annotated[str, typer.Option(help="ZeroMQ address to publish at: tcp:// or ipc://.")]
Model = Annotated[str, typer.Option(help="Bundle file, or `default`.")]

Surplus = Annotated[list[str] | None, typer.Argument(hidden=True)]

DEFAULT_ENDPOINT = "tcp://127.0.0.1:7400"


def run(
    config: Annotated[Path, typer.Argument(help="YAML file; `synthetic.yaml` and `replay.yaml` come with skelanon.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value, over the file's.")] = None,
    more: Surplus = None,
) -> None:
    """Run a node: sensors in, anonymous skeletons out."""
    from skelanon.configs import load_settings

    _refuse_surplus(more, "one configuration; settings follow `--set`")

    load = partial(load_settings, config, overrides or [])
    _run(load(), load)


def replay(
    path: Annotated[
        str, typer.Argument(help="A recording of any known kind, or a folder of them.", metavar="FILE|FOLDER")
    ],
    stream: Annotated[str, typer.Option(help="Public name of the stream.")] = "replay",
    rate: Annotated[float, typer.Option(help="Frames per second.")] = 30.0,
    loop: Annotated[bool, typer.Option("--loop", help="Start again at the end.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="As fast as possible, and losing no frame.")] = False,
    timestamps: Annotated[str, typer.Option(help="`now`, or `original`: the recording's clock, or the rate.")] = "now",
    model: Model = "default",
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    wait_for: Annotated[int | None, typer.Option(help="Subscribers to wait for; with --fast 1, else 0.")] = None,
    more: Surplus = None,
) -> None:
    """Play recordings as if they were live, through the model, to subscribers."""
    from skelanon.configs import check

    _refuse_surplus(more, "one file, or one folder of files")

    sensor = {
        "kind": "replay",
        "path": path,
        "rate_hz": rate,
        "loop": loop,
        "fast": fast,
        "timestamps": timestamps,
    }
    waits = int(fast) if wait_for is None else wait_for
    _run(_settings({stream: sensor}, model, endpoint, waits, check))


def demo(
    seconds: Annotated[float, typer.Option(help="How long.", min=1.0)] = 10.0,
    endpoint: Endpoint = "tcp://127.0.0.1:*",
) -> None:
    """Replay a made-up recording through the default model, and show the anonymous frames arriving."""
    from .demo import show

    show(seconds, endpoint)


def _refuse_surplus(more: list[str] | None, allowed: str) -> None:
    """Refuse further arguments without repeating them, as typer would: they may be names of recordings."""
    if more:
        raise typer.BadParameter(f"{len(more)} too many; give {allowed}")


def _settings(sensors: dict[str, Any], model: str, endpoint: str, waits: int, check: Any) -> "NodeSettings":
    tree = {
        "sensors": sensors,
        "model": {"bundle": model},
        "publish": {"endpoint": endpoint, "wait_for_subscribers": waits},
    }
    settings: NodeSettings = check(tree, "command line")
    return settings


def _run(settings: "NodeSettings", load: "Callable[[], NodeSettings] | None" = None) -> None:
    """Run a node until it is stopped. load: reads its settings anew, where they came from a file."""
    from skelanon.stream.node import create_node
    from skelanon.stream.operations import Notifier, Operations, Reloader

    logs.apply(settings.log)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(Exit.OK))  # a container's first process would not notice it
    notifier = Notifier.from_environment(os.environ, os.getpid())
    check_recordings({f"sensors.{name}": sensor for name, sensor in settings.sensors.items()})
    node = create_node(settings)
    if settings.publish.wait_for_subscribers:
        log.info("waiting for %d subscriptions", settings.publish.wait_for_subscribers)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: node.stop())
    reloader = Reloader(node, settings, load, logs.apply, notifier) if load is not None else None
    if reloader is not None and hasattr(signal, "SIGHUP"):  # Windows has none
        signal.signal(signal.SIGHUP, lambda *_: reloader.ask())
    with node, Operations(node, settings.metrics, notifier=notifier, reloader=reloader) as operations:
        node.run(operations.attend)
        asked = node.stopped
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends already; Python's own end would let a signal kill it
    faults = sum(counters.faults for counters in node.counters)
    if faults and not asked:
        logs.last_words(f"error: {faults} faults; the lines above say which")
        sys.exit(Exit.NO)


def check_recordings(sensors: "Mapping[str, SensorSettings]") -> None:
    """Raise SensorError where there is nothing to play: a camera may come back, but a wrong path stays wrong.

    sensors: settings, each with its key in the configuration.
    """
    from skelanon.sensors import SensorError
    from skelanon.sensors.factory import check_recording

    for key, sensor in sensors.items():
        try:
            check_recording(sensor)
        except SensorError as error:
            raise SensorError(f"`{key}`: {error}") from error
