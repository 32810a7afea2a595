"""Which checks are made: of the machine, and of a configuration where one is given."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import configured, devices, graphics, installed, machine, models, network
from .isolated import isolated
from .line import Line, guarded

if TYPE_CHECKING:
    from skelanon.configs import NodeSettings


def examine(config: str | None = None) -> Iterator[Line]:
    """All lines, in the order of the table. config: a YAML file as `skelanon run` takes it. Never raises.

    One check after the other, so that the speed of the model is measured while nothing else runs. What loads other
    people's libraries does so in a process of its own.
    """
    settings, lines = configured.load(config) if config is not None else (None, [])
    yield from lines
    yield from guarded("python", installed.python, needed=True)
    yield from guarded("packages", installed.packages, needed=True)
    yield from guarded("packages", installed.runtime, needed=True)
    yield from guarded("extras", installed.extras)
    yield from guarded("gpu", graphics.gpu)
    yield from guarded("gpu", graphics.tensorrt)
    wanted = configured.runners(settings)
    yield from isolated("model", models.runners, *wanted, needed="cpu" not in wanted)  # the next one proves the CPU
    yield from isolated("model", models.bundle, *configured.bundle(settings), needed=True)
    if settings is not None:
        yield from guarded("model", configured.cache, settings, needed=True)
    yield from isolated("sensors", devices.kinect_libraries)
    yield from guarded("sensors", devices.kinect_v2)
    yield from guarded("sensors", devices.usb_cameras)
    if config is not None and settings is not None:
        yield from configured.sensors(config, settings)
    yield from _network(settings)
    yield from guarded("machine", machine.limits)
    yield from guarded("machine", machine.clock)
    yield from guarded("machine", machine.disk)
    yield from guarded("machine", machine.working_folder)


def _network(settings: "NodeSettings | None") -> Iterator[Line]:
    if settings is None:
        yield from guarded("network", network.default_endpoint)
    else:
        yield from guarded("network", network.endpoint, settings.publish, needed=True)
    yield from guarded("keys", network.curve)
    if settings is not None and settings.publish.curve is not None:
        yield from guarded("keys", network.keys, settings.publish.curve, needed=True)
