"""Python and packages: what is installed, beside what skelanon's own metadata asks for."""

import operator
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

from .line import Line

GIVES: Final = {
    "cpu": "the model, on the CPU",
    "gpu": "the model, on an NVIDIA GPU",
    "tensorrt": "the model, in TensorRT on an NVIDIA GPU",
    "azure": "Azure Kinect and Orbbec Femto cameras",
    "kinect-v2": "Kinect v2, on Windows",
    "record": "recording of anonymous streams",
    "view": "a 3-D view of streams",
    "train": "training, evaluation, audit, export of bundles",
}
"""What each extra is for. Those that only developers need stand in `_FOR_DEVELOPERS`."""
_FOR_DEVELOPERS: Final = {"test"}
_RUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
"""Packages that all install the same files: the last one wins, and removing one leaves the others broken."""
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_REQUIREMENT: Final = re.compile(r"([\w.-]+)(?:\[.*?\])?\s*([^;]*?)\s*(?:;(.*))?")
_EXTRA: Final = re.compile(r"""extra\s*==\s*["']([\w.-]+)["']""")
_PLATFORM: Final = re.compile(r"""(sys_platform|platform_system|os_name)\s*(==|!=)\s*["'](\w+)["']""")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package that skelanon asks for: always, or as part of an extra."""

    name: str
    versions: str
    """As in `>=2.0,<3`; empty where any will do."""
    extra: str | None

    @property
    def installed(self) -> str | None:
        """The version that is there, or None."""
        return version_of(self.name)

    @property
    def satisfied(self) -> bool:
        """Whether it is there in a version that will do."""
        return self.installed is not None and satisfies(self.installed, self.versions)


def version_of(package: str) -> str | None:
    """The version of an installed package, or None; nothing is imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def satisfies(version: str, versions: str) -> bool:
    """Whether a version is among `versions`; compares releases only, and takes what it cannot read for satisfied."""
    for clause in filter(None, versions.split(",")):
        parts = re.fullmatch(r"\s*(>=|<=|==|!=|>|<)\s*([\d.]+)\s*", clause)
        if parts is not None and not _COMPARE[parts[1]](_release(version), _release(parts[2])):
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    """2.10.0rc1 as (2, 10)."""
    found = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(number) for number in found[0].split(".")] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def requirements() -> list[Requirement]:
    """What skelanon asks for on this platform. Raises PackageNotFoundError where skelanon is not installed."""
    here = {"sys_platform": sys.platform, "platform_system": platform.system(), "os_name": os.name}
    asked = []
    for text in metadata.requires("skelanon") or []:
        parts = _REQUIREMENT.fullmatch(text)
        if parts is None:
            continue
        marker = parts[3] or ""
        if all(_COMPARE[compare](here[name], value) for name, compare, value in _PLATFORM.findall(marker)):
            extra = _EXTRA.search(marker)
            asked.append(Requirement(parts[1], parts[2].strip(), extra[1] if extra else None))
    return asked


def python() -> Iterator[Line]:
    """Python itself, and skelanon's own installation."""
    here = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    try:
        about = metadata.metadata("skelanon")
    except metadata.PackageNotFoundError:
        remedy = "pip install 'skelanon[cpu]'"
        yield Line("python", "skelanon", "missing", "its files are there, but it is not installed", remedy, needed=True)
        return
    wanted = about["Requires-Python"] or ""
    if not satisfies(platform.python_version(), wanted):
        remedy = f"install Python {wanted} and skelanon in it"
        yield Line("python", "Python", "broken", f"{here}; needed is {wanted}", remedy, needed=True)
    elif sys.maxsize < 2**32:
        remedy = "install a 64-bit Python: there is no onnxruntime for this one"
        yield Line("python", "Python", "broken", f"{here}, 32 bit", remedy, needed=True)
    else:
        yield Line("python", "Python", "ok", f"{here} ({wanted})", needed=True)
    yield Line("python", "skelanon", "ok", about["Version"], needed=True)


def packages() -> Iterator[Line]:
    """What every node needs."""
    for asked in requirements():
        if asked.extra is not None:
            continue
        remedy = f"pip install '{asked.name}{asked.versions}'"
        if asked.installed is None:
            yield Line("packages", asked.name, "missing", "not installed", remedy, needed=True)
        elif not asked.satisfied:
            found = f"{asked.installed}; needed is {asked.versions}"
            yield Line("packages", asked.name, "broken", found, remedy, needed=True)
        else:
            yield Line("packages", asked.name, "ok", f"{asked.installed} ({asked.versions})", needed=True)


def runtime() -> Iterator[Line]:
    """ONNX Runtime, of which there must be exactly one."""
    there = {name: version for name in _RUNTIMES if (version := version_of(name)) is not None}
    found = ", ".join(f"{name} {version}" for name, version in there.items())
    if not there:
        remedy = "pip install 'skelanon[cpu]' (or 'skelanon[gpu]', with an NVIDIA GPU)"
        yield Line("packages", "onnxruntime", "missing", "not installed", remedy, needed=True)
    elif len(there) > 1:
        extra = "cpu" if "onnxruntime-gpu" not in there else "gpu"
        remedy = f"pip uninstall -y {' '.join(there)}, then pip install 'skelanon[{extra}]'"
        found += ": they overwrite each other's files"
        yield Line("packages", "onnxruntime", "broken", found, remedy, needed=True)
    else:
        yield Line("packages", "onnxruntime", "ok", found, needed=True)


def extras() -> Iterator[Line]:
    """What else can be installed, and what it is for."""
    asked = [requirement for requirement in requirements() if requirement.extra is not None]
    for extra in sorted({str(a.extra) for a in asked} - _FOR_DEVELOPERS, key=lambda name: (name not in GIVES, name)):
        members = [requirement for requirement in asked if requirement.extra == extra]
        wrong = [requirement for requirement in members if not requirement.satisfied]
        what, gives = f"extra {extra}", GIVES.get(extra, "")
        there = ", ".join(f"{m.name} {m.installed}" for m in members if m.installed is not None)
        remedy = f"pip install 'skelanon[{extra}]'"
        if extra in ("cpu", "gpu") and wrong:
            other = {"cpu": "onnxruntime-gpu", "gpu": "onnxruntime"}[extra]
            if version_of(other) is not None:
                remedy = f"only if it shall replace {other}: pip uninstall -y {other}, then {remedy}"
        if not wrong:
            yield Line("extras", what, "ok", f"{gives}: {there}")
        elif not there:
            yield Line("extras", what, "missing", gives, remedy)
        else:
            lacks = ", ".join(f"{w.name}{w.versions}" for w in wrong)
            yield Line("extras", what, "warn", f"{gives}: {there}; lacks {lacks}", remedy)
