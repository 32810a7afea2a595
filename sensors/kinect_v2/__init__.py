"""Kinect v2 on Windows, in a process of its own.

daemon: KinectV2 ==(pipes)== child: BodyReader    (pykinect2, comtypes, Kinect20.dll)
"""

from .camera import KinectV2

__all__ = ["KinectV2"]
