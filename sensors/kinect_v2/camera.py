"""The sensor: frames of bodies from a Kinect's process."""

import numpy as np

from skelanon.configs.schema import KinectV2Settings
from skelanon.sensors.camera_process import Bodies, CameraSensor, Seen
from skelanon.sensors.frame import NOT_TRACKED, TRACKED

from .layout import BODY, NO_ID
from .problems import MESSAGES


class KinectV2(CameraSensor):
    """Bodies seen by the Kinect v2 of this machine. Its metres, axes and joints are those of a BodyFrame."""

    module = "skelanon.sensors.kinect_v2.child"
    body = BODY
    messages = MESSAGES

    def __init__(self, settings: KinectV2Settings) -> None:
        super().__init__(settings)

    def _seen(self, bodies: Bodies) -> Seen:
        bodies = bodies[bodies["id"] != NO_ID]
        states = bodies["joints"]["state"]
        known = (states >= NOT_TRACKED) & (states <= TRACKED)
        tracking = np.where(known, states, NOT_TRACKED).astype(np.uint8)
        return Seen(bodies["joints"]["position"], tracking, bodies["id"])
