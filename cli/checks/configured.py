"""What a configuration asks for beyond the machine: its sensors, its runner, its folders."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, get_args

from .isolated import isolated
from .line import Line, guarded, said
from .machine import writable

if TYPE_CHECKING:
    from skelanon.configs import NodeSettings
    from skelanon.configs.schema import SensorSettings

_FIRST_FRAME_MS: Final = 3000
"""Cameras take a second or two to start."""


def load(config: str) -> "tuple[NodeSettings | None, list[Line]]":
    """The settings and a line for them, or None and a line that says why not."""
    loaded: list[NodeSettings] = []

    def configuration() -> Iterator[Line]:
        from skelanon.configs import ConfigError, load_settings

        try:
            loaded.append(load_settings(config))
        except ConfigError as error:
            remedy = "correct what is named; `skelanon run synthetic.yaml` runs a configuration that comes along"
            yield Line("config", "configuration", "broken", str(error), remedy, needed=True)
        else:
            streams = len(loaded[0].sensors)
            yield Line("config", "configuration", "ok", f"{streams} stream{'s' * (streams > 1)}", needed=True)

    lines = list(guarded("config", configuration, needed=True))
    return (loaded[0] if loaded else None), lines


def runners(settings: "NodeSettings | None") -> tuple[str, ...]:
    """The runners of which one must be there."""
    if settings is None:
        return ("cpu",)
    from skelanon.configs.schema import RunnerName

    model = settings.model
    return get_args(RunnerName) if model.runner == "auto" else (model.runner, *filter(None, [model.fallback]))


def bundle(settings: "NodeSettings | None") -> list[str]:
    """Arguments for `models.bundle`."""
    if settings is None:
        return []
    return [settings.model.bundle, settings.model.sha256 or "", str(settings.model.threads)]


def cache(settings: "NodeSettings") -> Iterator[Line]:
    """Whether engines and measurements can be kept, where the runner has any."""
    from skelanon.export.cache import cache_folder
    from skelanon.export.errors import RunnerError

    if settings.model.runner == "cpu":
        return
    what, named = "`model.cache`", settings.model.cache
    remedy = "give this user the right to write there, or set `model.cache` to another folder"
    try:
        folder = cache_folder(named)
    except RunnerError as error:
        yield Line("model", what, "broken", str(error), remedy, needed=True)
    else:
        yield writable("model", what, folder, named or "the user's cache folder", remedy, needed=True)


def sensors(config: str, settings: "NodeSettings") -> Iterator[Line]:
    """Each sensor opened and read once, in a child process; one that hangs leaves those after it untried."""
    told = set()
    for line in isolated("sensors", opened, config, needed=True):
        told.add(line.what)
        yield line
    for name in settings.sensors:
        if _key(name) not in told:
            found = "it, or a sensor before it, did not answer"
            yield Line("sensors", _key(name), "broken", found, "plug the camera in anew, and try again", needed=True)


def opened(config: str) -> Iterator[Line]:
    """Open each sensor of a configuration and read one frame, which goes nowhere."""
    from skelanon.configs import load_settings

    for name, sensor in load_settings(config).sensors.items():
        yield _opened(_key(name), sensor)


def _opened(what: str, settings: "SensorSettings") -> Line:
    from skelanon.sensors import LinkError, SensorError, create_sensor

    try:
        with create_sensor(settings) as sensor:
            frame = sensor.read(_FIRST_FRAME_MS)
    except (SensorError, LinkError) as error:
        recorded = settings.kind == "replay"
        hint = "`path`: name a .skeleton recording, or a folder of them" if recorded else "see the sensors above"
        found, remedy = said(error, hint)
        return Line("sensors", what, "broken", found, remedy, needed=True)
    if frame is None:
        found, remedy = f"opened, but no frame came within {_FIRST_FRAME_MS} ms", "uncover it, or plug it in anew"
        if settings.kind == "remote":
            remedy = "run `skelanon capture` beside the sensor; docs/remote.md has the rest"
        return Line("sensors", what, "warn", found, remedy)
    return Line("sensors", what, "ok", f"{settings.kind}: opens, and a frame came", needed=True)


def _key(name: str) -> str:
    return f"`sensors.{name}`"
