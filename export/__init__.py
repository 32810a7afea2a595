"""The bundle, the one ONNX file that passes from training to streaming: reading, running and writing it.

Importing this imports neither onnx nor onnxruntime nor torch: whoever needs them imports them when called.
"""

from .bundle import Bundle, default_bundle_path, read_bundle
from .errors import BundleError, RunnerError
from .exporter import Samples, export_bundle
from .manifest import Manifest
from .ort_cpu import OnnxRuntimeCpu
from .runner import Runner

__all__ = [
    "Bundle",
    "BundleError",
    "Manifest",
    "OnnxRuntimeCpu",
    "Runner",
    "RunnerError",
    "Samples",
    "default_bundle_path",
    "export_bundle",
    "read_bundle",
]
