"""How the body tracker lays out a body, which crosses the pipe as it is."""

from typing import Final

import numpy as np

from skelanon.sensors.azure_joints import AZURE_JOINTS

JOINT: Final = np.dtype([("position", "f4", 3), ("orientation", "f4", 4), ("confidence", "i4")])
"""`k4abt_joint_t`: millimetres; w, x, y, z; 0 NONE to 3 HIGH."""
BODY: Final = np.dtype([("id", "u4"), ("joints", JOINT, AZURE_JOINTS)])
"""`k4abt_body_t`: 4 + 1024 bytes."""
INVALID_ID: Final = 0xFFFFFFFF
"""`K4ABT_INVALID_BODY_ID`."""
