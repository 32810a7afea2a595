"""The one place where onnxruntime is imported: with its telemetry off."""

import os
from typing import Any

from .errors import RunnerError


def import_onnxruntime() -> Any:
    """onnxruntime, silenced. Raises RunnerError with the install line where it is missing.

    Its official builds report to their maker over the network, with an identifier of the machine, unless told not to
    before they are loaded (`docs/Privacy.md` of ONNX Runtime).
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise RunnerError("onnxruntime is not installed: pip install 'skelanon[cpu]' (or 'skelanon[gpu]')") from error
    onnxruntime.disable_telemetry_events()  # for one that was loaded before
    return onnxruntime
