"""The bundle, the one ONNX file that passes from training to streaming: reading, running and writing it.

Importing this imports neither onnx nor onnxruntime nor torch: whoever needs them imports them when called.
"""

from .availability import Availability, available_runners
from .bundle import Bundle, default_bundle_path, read_bundle
from .create import create_runner
from .errors import BundleError, RunnerError
from .exporter import export_bundle
from .manifest import Manifest
from .ort_cpu import OnnxRuntimeCpu
from .runner import Runner
from .samples import Samples
from .timing import Load

__all__ = [
    "Availability",
    "Bundle",
    "BundleError",
    "Load",
    "Manifest",
    "OnnxRuntimeCpu",
    "Runner",
    "RunnerError",
    "Samples",
    "available_runners",
    "create_runner",
    "default_bundle_path",
    "export_bundle",
    "read_bundle",
]
