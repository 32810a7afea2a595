"""The sensor: frames of bodies from a camera's process."""

from skelanon.configs.schema import AzureKinectSettings
from skelanon.sensors.azure_joints import to_kinect25, tracking_of
from skelanon.sensors.camera_process import Bodies, CameraSensor, Seen
from skelanon.sensors.errors import RecordingError, SensorError

from .layout import BODY, INVALID_ID
from .problems import MESSAGES, Problem


class AzureKinect(CameraSensor):
    """Bodies seen by an Azure Kinect or an Orbbec Femto, live or recorded."""

    module = "skelanon.sensors.azure_kinect.child"
    body = BODY
    messages = MESSAGES
    slow_start = " (`tensorrt` needs minutes for the first start)"

    def __init__(self, settings: AzureKinectSettings) -> None:
        super().__init__(settings)
        self.lossless = settings.fast
        self.period_s = 1 / settings.rate_hz
        self.libraries = settings.libraries
        self.live = settings.file is None

    def _seen(self, bodies: Bodies) -> Seen:
        bodies = bodies[bodies["id"] != INVALID_ID]
        joints = bodies["joints"]
        return Seen(to_kinect25(joints["position"]), tracking_of(joints["confidence"]), bodies["id"])

    def _error(self, problem: int) -> SensorError:
        self._ended = problem == Problem.FILE_DAMAGED
        return RecordingError(MESSAGES[Problem.FILE_DAMAGED]) if self._ended else super()._error(problem)
