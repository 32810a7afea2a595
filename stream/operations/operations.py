"""What surrounds a running node: its HTTP address, the service manager, reloading."""

import logging
import time
from types import TracebackType
from typing import Self

from skelanon.configs.schema import MetricsSettings
from skelanon.stream.node import Node

from .notifier import Notifier
from .reloader import Reloader

log = logging.getLogger(__name__)


class Operations:
    """Serves, tells and reloads as long as its `with` block lasts. Made and closed by the node's thread.

        with create_node(settings) as node, Operations(node, settings.metrics) as operations:
            node.run(operations.attend)

    Raises AddressError where the HTTP address cannot be had.
    """

    def __init__(
        self,
        node: Node,
        metrics: MetricsSettings | None,
        *,
        notifier: Notifier | None = None,
        reloader: Reloader | None = None,
    ) -> None:
        self._node = node
        self._notifier = notifier
        self._reloader = reloader
        self._running = False
        self._http = None
        if metrics is not None:
            from .http_server import HttpServer  # it loads an HTTP stack, of no use to a node without the address
            from .pages import pages

            self._http = HttpServer(metrics.endpoint, pages(node))
            log.info("metrics, health and readiness at http://%s", self._http.endpoint)

    @property
    def endpoint(self) -> str | None:
        """ADDRESS:PORT of the HTTP server, if there is one."""
        return self._http.endpoint if self._http is not None else None

    def attend(self) -> None:
        """Whatever is due: for the node to call whenever its loop turns."""
        if self._notifier is not None:
            if not self._running:
                self._notifier.ready(f"publishing at {self._node.publisher.endpoint}")
            self._notifier.feed(time.monotonic())
        self._running = True
        if self._reloader is not None:
            self._reloader.attend()

    def __enter__(self) -> Self:
        if self._http is not None:
            self._http.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._notifier is not None and error is None:
            self._notifier.stopping()
        if self._http is not None:
            self._http.close()
