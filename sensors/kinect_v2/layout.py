"""How a body crosses the pipe: its joints as Kinect20.dll writes them."""

from typing import Final

import numpy as np

from skelanon.sensors.joints import JOINTS

JOINT: Final = np.dtype([("type", "i4"), ("position", "f4", 3), ("state", "i4")])
"""`Joint` of Kinect.h: number; metres, x to the sensor's left, y up, z away from it; 0 not tracked, 1 inferred, 2
tracked. Their order is that of `skelanon.sensors.joints`."""
BODY: Final = np.dtype([("id", "u8"), ("joints", JOINT, JOINTS)])
"""`IBody`'s TrackingId and Joints: 8 + 500 bytes."""
BODY_COUNT: Final = 6
"""`BODY_COUNT` of Kinect.h: places of a frame, most of them empty."""
NO_ID: Final = 0
"""TrackingId of an empty place."""
