"""What `skelanon demo` does: a recording of made-up people, the whole node, and a subscriber beside it."""

import tempfile
import threading
from pathlib import Path

import typer

from skelanon.configs import check
from skelanon.sensors.skeleton_writer import write_demo_recording
from skelanon.stream.node import Node, create_node
from skelanon.stream.subscriber import Subscriber

from .exits import Exit
from .watch import watch

RECORDING_S = 20.0


def show(seconds: float, endpoint: str) -> None:
    """Publish and watch for so many seconds. Exit code 3 if no frame arrived."""
    with tempfile.TemporaryDirectory(prefix="skelanon-demo-") as folder:
        recording = Path(folder) / "demo.skeleton"
        write_demo_recording(recording, seconds=RECORDING_S, persons=2, seed=1)
        typer.echo("Made a recording of two invented people; replaying it through the default model.")
        settings = check(
            {
                "sensors": {"demo": {"kind": "replay", "path": str(recording), "loop": True}},
                "publish": {"endpoint": endpoint, "wait_for_subscribers": 1},
            },
            "demo",
        )
        ready = threading.Event()
        nodes: list[Node] = []
        failures: list[Exception] = []

        def publish() -> None:
            """The node's own thread: makes, runs and closes it."""
            try:
                with create_node(settings) as node:
                    nodes.append(node)
                    ready.set()
                    node.run()
            except Exception as error:  # noqa: BLE001 - raised below, in the main thread
                failures.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=publish, name="node")
        thread.start()
        ready.wait()
        frames = 0
        if nodes:
            address = nodes[0].publisher.endpoint
            typer.echo(f"Subscribing at {address}, as `skelanon subscribe` does. Ctrl-C ends it.")
            try:
                with Subscriber(address) as subscriber:
                    frames = watch(subscriber, seconds=seconds)
            finally:
                nodes[0].stop()
        thread.join()
    if failures:
        raise failures[0]
    typer.echo(f"{frames} anonymous frames arrived; no raw joint left the node.")
    raise typer.Exit(Exit.OK if frames else Exit.NO)
