"""What a supervisor and a monitor see of a running node: metrics, health, readiness, the watchdog, reloading."""

from .notifier import Notifier
from .operations import Operations
from .reloader import Reloader

__all__ = ["Notifier", "Operations", "Reloader"]
