"""Takes up changed settings while the node runs: keys, and what is logged. The rest needs a restart."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from skelanon.configs.schema import LogSettings, NodeSettings
from skelanon.stream.node import Node

from .notifier import Notifier

log = logging.getLogger(__name__)


class Reloader:
    """Reloads settings when it is asked to, in a thread of its own: the node goes on meanwhile.

    settings: those that the node runs with. load: reads them anew. apply_log: takes up how to log.
    What is wrong with the new ones is logged, and everything stays as it was.
    """

    def __init__(
        self,
        node: Node,
        settings: NodeSettings,
        load: Callable[[], NodeSettings],
        apply_log: Callable[[LogSettings], None],
        notifier: Notifier | None = None,
    ) -> None:
        self._node = node
        self._settings = settings
        self._load = load
        self._apply_log = apply_log
        self._notifier = notifier
        self._asked = False
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Have the settings reloaded soon. From any thread or signal handler; no Event, whose lock one may hold."""
        self._asked = True

    def attend(self) -> None:
        """Start what was asked for, unless it is being done. Called by the node's loop."""
        if self._asked and (self._thread is None or not self._thread.is_alive()):
            self._asked = False
            self._thread = threading.Thread(target=self.reload, name="reload", daemon=True)
            self._thread.start()

    def reload(self) -> None:
        """Reload now, and log what came of it."""
        if self._notifier is not None:
            self._notifier.reloading()
        try:
            self._take_up(self._load())
        except Exception as error:  # noqa: BLE001 - a wrong file shall not end a node that runs
            words = error if type(error).__module__.startswith("skelanon.") else type(error).__name__
            log.error("settings are not reloaded, all stays as it was: %s", words)
        if self._notifier is not None:
            self._notifier.ready(f"publishing at {self._node.publisher.endpoint}")

    def _take_up(self, new: NodeSettings) -> None:
        old, curve = self._settings, new.publish.curve
        taken = [f"`log` ({new.log.level}, {new.log.format})"]
        kept = old
        if curve is not None and old.publish.curve is not None:
            allowed = self._node.publisher.admit(curve)  # first: it may fail, and then nothing has changed
            taken.append(f"`publish.curve` ({allowed} clients)")
            kept = old.model_copy(update={"publish": old.publish.model_copy(update={"curve": curve})})
        self._apply_log(new.log)
        self._settings = kept.model_copy(update={"log": new.log})
        log.info("reloaded %s", " and ".join(taken))
        changed = sorted(differing(self._settings.model_dump(), new.model_dump()))
        if changed:
            log.warning("changed, but not reloaded; restart the node for: %s", ", ".join(changed))


def differing(old: dict[str, Any], new: dict[str, Any], above: str = "") -> Iterator[str]:
    """The keys, dotted, of settings that are not the same; their values may hold what no log shows."""
    for key in old.keys() | new.keys():
        one, other = old.get(key), new.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differing(one, other, f"{above}{key}.")
        elif one != other:
            yield f"`{above}{key}`"
