"""The one joint layout used inside skelanon: Kinect v2, 25 joints.

Axes everywhere: metres, x to the sensor's left, y up, z away from the sensor (right-handed).
Source: Kinect for Windows SDK 2.0, `JointType`; bones as drawn by its BodyBasics sample.
"""

from typing import Final

LAYOUT: Final = "kinect-v2-25"

JOINT_NAMES: Final = (
    "SpineBase", "SpineMid", "Neck", "Head",
    "ShoulderLeft", "ElbowLeft", "WristLeft", "HandLeft",
    "ShoulderRight", "ElbowRight", "WristRight", "HandRight",
    "HipLeft", "KneeLeft", "AnkleLeft", "FootLeft",
    "HipRight", "KneeRight", "AnkleRight", "FootRight",
    "SpineShoulder", "HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight",
)  # fmt: skip

JOINTS: Final = len(JOINT_NAMES)
"""V, the number of joints."""

INDEX: Final = {name: index for index, name in enumerate(JOINT_NAMES)}
ROOT: Final = INDEX["SpineBase"]

PARENTS: Final = (-1, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 6, 11, 10)
"""Parent joint of each joint; -1 at the root. A bone is named by the joint at its far end."""

BONES: Final = tuple(joint for joint in range(JOINTS) if PARENTS[joint] >= 0)
"""The 24 joints that end a bone, in joint order."""
