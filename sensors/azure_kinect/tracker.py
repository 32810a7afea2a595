"""The body tracker: a depth image in, skeletons out. Used in the camera's own process only."""

from typing import Any, Final

import numpy as np

from skelanon.configs.schema import AzureKinectSettings
from skelanon.sensors.camera_process import Bodies, CameraError
from skelanon.sensors.frame import MAX_BODIES

from .bindings import Bindings
from .layout import BODY
from .problems import Problem
from .source import SUCCEEDED, TIMEOUT

PROCESSING: Final = {"gpu": 0, "cpu": 1, "cuda": 2, "tensorrt": 3, "directml": 4}
"""`k4abt_tracker_processing_mode_t`."""
_ORIENTATION: Final = 0  # of the sensor: upright


class Tracker:
    """One body tracker. It is handed an image only when it has given the result of the one before."""

    def __init__(self, bindings: Bindings, calibration: Any, settings: AzureKinectSettings) -> None:
        abt = self._abt = bindings.abt
        model = settings.tracker_model.encode("utf-8", "surrogateescape") if settings.tracker_model else None
        configuration = abt.k4abt_tracker_configuration_t(
            _ORIENTATION, PROCESSING[settings.processing], settings.gpu, model
        )
        self._tracker = abt.k4abt_tracker_t()
        if abt.k4abt_tracker_create(calibration, configuration, self._tracker) != SUCCEEDED:
            raise CameraError(Problem.TRACKER_FAILED_TO_START)
        if settings.smoothing is not None:
            abt.k4abt_tracker_set_temporal_smoothing(self._tracker, settings.smoothing)
        memory = bytearray(MAX_BODIES * BODY.itemsize)
        self._bodies: Bodies = np.frombuffer(memory, BODY)
        skeletons_start = BODY.fields["joints"][1] if BODY.fields else 0
        self._skeletons = [  # of the same memory: the tracker writes where the record is made from
            abt.k4abt_skeleton_t.from_buffer(memory, body * BODY.itemsize + skeletons_start)
            for body in range(MAX_BODIES)
        ]

    def enqueue(self, capture: Any, timeout_ms: int) -> bool:
        """Hand an image over; False where the tracker does not take it, as when the capture has no depth image."""
        return bool(self._abt.k4abt_tracker_enqueue_capture(self._tracker, capture, timeout_ms) == SUCCEEDED)

    def pop(self, timeout_ms: int) -> tuple[int, Bodies] | None:
        """Device time, microseconds, and bodies (M,) of the image handed over, valid until the next call.

        None when they did not come in time. Raises CameraError.
        """
        abt = self._abt
        frame = abt.k4abt_frame_t()
        result = abt.k4abt_tracker_pop_result(self._tracker, frame, timeout_ms)
        if result == TIMEOUT:
            return None
        if result != SUCCEEDED:
            raise CameraError(Problem.TRACKER_FAILED)
        try:
            count = min(abt.k4abt_frame_get_num_bodies(frame), MAX_BODIES)
            for body, skeleton in enumerate(self._skeletons[:count]):
                self._bodies["id"][body] = abt.k4abt_frame_get_body_id(frame, body)
                if abt.k4abt_frame_get_body_skeleton(frame, body, skeleton) != SUCCEEDED:
                    raise CameraError(Problem.TRACKER_FAILED)
            return abt.k4abt_frame_get_device_timestamp_usec(frame), self._bodies[:count]
        finally:
            abt.k4abt_frame_release(frame)

    def close(self) -> None:
        """End the tracker."""
        self._abt.k4abt_tracker_shutdown(self._tracker)
        self._abt.k4abt_tracker_destroy(self._tracker)
