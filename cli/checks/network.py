"""The address that the node publishes at, and the keys that one open to other machines needs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .line import Line, said

if TYPE_CHECKING:
    from skelanon.configs.schema import CurveSettings, PublishSettings

NEW_KEYS: Final = "make keys with `skelanon keys new NAME`"


def default_endpoint() -> Iterator[Line]:
    """Whether a node without further settings could publish. In use is no fault: a node may be running."""
    from skelanon.configs.schema import PublishSettings

    endpoint = PublishSettings().endpoint
    error = _bind_error(endpoint)
    if error is None:
        yield Line("network", endpoint, "ok", "free")
    else:
        remedy = "fine if that is your node; else end the program there, or set another `publish.endpoint`"
        yield Line("network", endpoint, "warn", error, remedy)


def endpoint(settings: "PublishSettings") -> Iterator[Line]:
    """Whether the node could publish where the settings say."""
    from skelanon.sensors.endpoint import is_local
    from skelanon.sensors.errors import LinkError

    what = "`publish.endpoint`"
    try:
        local = is_local(settings.endpoint)
    except LinkError as error:
        found, remedy = said(error, "give tcp://ADDRESS:PORT or ipc://PATH")
        yield Line("network", what, "broken", found, remedy, needed=True)
        return
    if not local and settings.curve is None:
        found = f"{settings.endpoint} can be reached by other machines, and `publish.curve` is not set"
        remedy = f"{NEW_KEYS} and set `publish.curve`, or publish at tcp://127.0.0.1:7400"
        yield Line("network", what, "broken", found, remedy, needed=True)
        return
    reason = _bind_error(settings.endpoint)
    if reason is None:
        about = "this machine only" if local else "encrypted, for clients with allowed keys"
        yield Line("network", what, "ok", f"{settings.endpoint} is free; {about}", needed=True)
    else:
        remedy = "end the program there (another node?), or set a free address of this machine"
        yield Line("network", what, "broken", f"{settings.endpoint}: {reason}", remedy, needed=True)


def curve(folder: Path = Path("keys")) -> Iterator[Line]:
    """Whether encryption is built in, and whether the keys lie safe where `skelanon keys new` puts them."""
    import zmq

    from skelanon.sensors.errors import LinkError
    from skelanon.sensors.keys import load_key_pair

    if zmq.has("curve"):
        yield Line("keys", "CURVE", "ok", "built in")
    else:
        remedy = "pip install --force-reinstall --only-binary :all: pyzmq"
        yield Line("keys", "CURVE", "missing", "this pyzmq is built without it", remedy)
    for path in sorted(folder.glob("*.key_secret")):
        try:
            load_key_pair(path)
        except LinkError as error:
            found, remedy = said(error, f"{NEW_KEYS}, and remove this one")
            yield Line("keys", str(path), "warn", found, remedy)
        else:
            yield Line("keys", str(path), "ok", "readable by its owner alone")


def keys(settings: "CurveSettings") -> Iterator[Line]:
    """The node's own key file, and the folder of its clients' keys."""
    from skelanon.sensors.curve import load_clients
    from skelanon.sensors.errors import LinkError
    from skelanon.sensors.keys import load_key_pair

    for what, check, path in (
        ("`publish.curve.secret_key`", load_key_pair, settings.secret_key),
        ("`publish.curve.clients`", load_clients, settings.clients),
    ):
        try:
            check(path)
        except LinkError as error:
            found, remedy = said(error, f"{NEW_KEYS}, or correct {what}")
            yield Line("keys", what, "broken", found, remedy, needed=True)
        else:
            yield Line("keys", what, "ok", f"{path} can be read", needed=True)


def _bind_error(endpoint: str) -> str | None:
    """Why an address cannot be bound; None where it can. It is bound for a moment, and nothing is sent."""
    import zmq

    from skelanon.sensors.endpoint import why_taken

    if (reason := why_taken(endpoint)) is not None:
        return reason
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            return zmq.strerror(error.errno or 0)
    return None
