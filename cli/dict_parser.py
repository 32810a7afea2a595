"""A plain dict parser of `.skeleton` files; it exists only as the yardstick for `skelanon bench`.

Line by line into dicts of frames, bodies and joints, as scripts for NTU RGB+D commonly do. Nothing is checked.
"""

import os
from typing import Any

BODY_FIELDS = (
    "bodyID", "clipedEdges", "handLeftConfidence", "handLeftState", "handRightConfidence", "handRightState",
    "isResticted", "leanX", "leanY", "trackingState",
)  # fmt: skip
JOINT_FIELDS = (
    "x", "y", "z", "depthX", "depthY", "colorX", "colorY",
    "orientationW", "orientationX", "orientationY", "orientationZ", "trackingState",
)  # fmt: skip


def dict_parser(path: str | os.PathLike[str]) -> dict[str, Any]:
    """`frameInfo[i]["bodyInfo"][j]["jointInfo"][k]["x"]`: every field of a `.skeleton` file, as float."""
    with open(path, encoding="ascii") as file:
        sequence: dict[str, Any] = {"numFrame": int(file.readline()), "frameInfo": []}
        for _ in range(sequence["numFrame"]):
            frame: dict[str, Any] = {"numBody": int(file.readline()), "bodyInfo": []}
            for _ in range(frame["numBody"]):
                values = file.readline().split()
                body: dict[str, Any] = {k: float(v) for k, v in zip(BODY_FIELDS, values, strict=True)}
                body["bodyID"] = int(values[0])  # beyond 2^53
                body["numJoint"] = int(file.readline())
                body["jointInfo"] = [
                    {k: float(v) for k, v in zip(JOINT_FIELDS, file.readline().split(), strict=True)}
                    for _ in range(body["numJoint"])
                ]
                frame["bodyInfo"].append(body)
            sequence["frameInfo"].append(frame)
    return sequence
