"""`skelanon proxy`: many nodes behind one address for each set of permissions."""

import logging
import os
import signal
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from skelanon.configs.proxy import ProxySettings
    from skelanon.stream.operations import Notifier
    from skelanon.stream.proxy import Proxy

log = logging.getLogger(__name__)


def proxy(
    config: Annotated[Path, typer.Argument(help="YAML file; `proxy.yaml` comes with skelanon, to begin with.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value, over the file's.")] = None,
) -> None:
    """Gather the streams of many nodes, and hand each client those that it may see. Ends with Ctrl-C.

    SIGHUP has it read its file and all key files again.
    """
    from skelanon.configs.loader import load_proxy
    from skelanon.stream.operations import Notifier
    from skelanon.stream.proxy import Proxy, make_plan

    load = partial(load_proxy, config, overrides or [])
    settings = load()
    logs.apply(settings.log)
    notifier = Notifier.from_environment(os.environ, os.getpid())
    with ExitStack() as stack:
        running = stack.enter_context(Proxy(make_plan(settings)))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: running.stop())
        attending = _Attending(running, load, notifier)
        if hasattr(signal, "SIGHUP"):  # Windows has none
            signal.signal(signal.SIGHUP, lambda *_: attending.ask())
        if settings.metrics is not None:
            from skelanon.stream.operations.http_server import HttpServer
            from skelanon.stream.proxy.pages import pages

            server = stack.enter_context(closing(HttpServer(settings.metrics.endpoint, pages(running))))
            server.start()
            log.info("metrics, health and readiness at http://%s", server.endpoint)
        running.run(attending)
        if notifier is not None:
            notifier.stopping()


class _Attending:
    """What is due whenever the proxy's loop turns: the service manager, and settings to take up."""

    def __init__(self, running: "Proxy", load: "Callable[[], ProxySettings]", notifier: "Notifier | None") -> None:
        self._proxy = running
        self._load = load
        self._notifier = notifier
        self._asked = False
        self._told = False

    def ask(self) -> None:
        """Have the settings reloaded soon. From a signal handler."""
        self._asked = True

    def __call__(self) -> None:
        if self._asked:
            self._asked = False
            self._reload()
        if self._notifier is not None:
            if not self._told:
                self._notifier.ready("forwarding")
                self._told = True
            self._notifier.feed(time.monotonic())

    def _reload(self) -> None:
        """Take up nodes, doors, keys and how to log. What is wrong with them changes nothing."""
        from skelanon.configs import ConfigError
        from skelanon.stream import PublishError
        from skelanon.stream.proxy import make_plan

        self._told = False
        if self._notifier is not None:
            self._notifier.reloading()
        try:
            settings = self._load()
            plan = make_plan(settings)
        except (ConfigError, PublishError) as error:
            log.error("settings are not reloaded, all stays as it was: %s", error)
            return
        self._proxy.take_up(plan)
        logs.apply(settings.log)
        log.info("reloaded: %d nodes, %d doors; `metrics` needs a restart", len(plan.nodes), len(plan.doors))
