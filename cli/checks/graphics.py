"""NVIDIA's driver, the GPUs it shows, and TensorRT."""

import shutil
import subprocess
from collections.abc import Iterator
from typing import Final

from .installed import version_of
from .line import Line

_QUERY: Final = "name,driver_version,memory.total,compute_cap"
"""No serial number, and no UUID."""
_TIMEOUT_S: Final = 15.0
_TENSORRT: Final = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
_CPU_WILL_DO: Final = "nothing, to run on the CPU"


def gpu() -> Iterator[Line]:
    """One line for each GPU that `nvidia-smi` shows."""
    program = shutil.which("nvidia-smi")
    if program is None:
        remedy = f"{_CPU_WILL_DO}; else NVIDIA's driver (in a container: --gpus all)"
        yield Line("gpu", "NVIDIA driver", "missing", "there is no nvidia-smi", remedy)
        return
    command = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        found = f"nvidia-smi did not answer within {_TIMEOUT_S:g} s"
        yield Line("gpu", "NVIDIA driver", "broken", found, "restart the machine; if it stays so, reinstall the driver")
        return
    except OSError as error:
        found = f"nvidia-smi cannot be run: {error.strerror}"
        yield Line("gpu", "NVIDIA driver", "broken", found, "reinstall NVIDIA's driver")
        return
    rows = [[value.strip() for value in row.split(",")] for row in done.stdout.splitlines() if row.count(",") >= 3]
    if done.returncode or not rows:
        found = f"nvidia-smi shows no GPU (exit code {done.returncode})"
        remedy = f"{_CPU_WILL_DO}; else run nvidia-smi and do what it says, usually: reinstall the driver and restart"
        yield Line("gpu", "NVIDIA driver", "broken", found, remedy)
        return
    for number, (name, driver, memory, capability) in enumerate(row[:4] for row in rows):
        found = f"{name}, {memory}, compute {capability}, driver {driver}"
        yield Line("gpu", f"GPU {number}", "ok", found)


def tensorrt() -> Iterator[Line]:
    """TensorRT's Python package; whether it loads is for the runners to say."""
    found = next((f"{name} {version}" for name in _TENSORRT if (version := version_of(name)) is not None), None)
    if found is None:
        remedy = f"{_CPU_WILL_DO}; else, with an NVIDIA GPU: pip install 'skelanon[tensorrt]'"
        yield Line("gpu", "TensorRT", "missing", "not installed", remedy)
    else:
        yield Line("gpu", "TensorRT", "ok", found)
