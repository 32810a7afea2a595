"""Azure Kinect and Orbbec Femto, each camera in a process of its own.

daemon: AzureKinect ==(pipes)== child: Source -> Tracker    (pykinect_azure, libk4a, libk4abt)
"""

from .camera import AzureKinect

__all__ = ["AzureKinect"]
