"""UTD-MHAD: 27 actions by 8 persons, each four times, seen by a Kinect v1.

A folder of `a<action>_s<subject>_t<trial>_skeleton.mat` files; `sensors/recordings/utd_mhad.py` says what is in them.
Source: C. Chen, R. Jafari, N. Kehtarnavaz, "UTD-MHAD: a multimodal dataset for human action recognition utilizing a
depth camera and a wearable inertial sensor", ICIP 2015.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from skelanon.sensors.errors import SensorError
from skelanon.sensors.lift import KINECT_V1, measured, states
from skelanon.sensors.recording import read_file
from skelanon.sensors.recordings import utd_mhad
from skelanon.train.errors import DataError

from .importer import Contents, ImportedSequence, Importer, LabelType

_NAME: Final = re.compile(r"a(\d{1,4})_s(\d{1,4})_t(\d{1,4})_skeleton\.mat", re.ASCII)

ACTIONS: Final = (
    "right arm swipe to the left", "right arm swipe to the right", "right hand wave", "two hand front clap",
    "right arm throw", "cross arms in the chest", "basketball shoot", "right hand draw x",
    "right hand draw circle (clockwise)", "right hand draw circle (counter clockwise)", "draw triangle",
    "bowling (right hand)", "front boxing", "baseball swing from right", "tennis right hand forehand swing",
    "arm curl (two arms)", "tennis serve", "two hand push", "right hand knock on door", "right hand catch an object",
    "right hand pick up and throw", "jogging in place", "walking in place", "sit to stand", "stand to sit",
    "forward lunge (left foot forward)", "squat (two arms stretch out)",
)  # fmt: skip
"""Names of actions 1 to 27."""


class UtdMhadImporter(Importer):
    """Reads a folder of UTD-MHAD's skeleton files; an item is a file. Labels have the numbers of the file names.

    Neck, hand tips and thumbs, which a Kinect v1 does not measure, are filled in and count as not tracked.
    """

    kind: ClassVar[str] = "utd-mhad"
    licence: ClassVar[str] = "UTD-MHAD: for research, cite the paper"
    rate_hz: ClassVar[float] = 30.0
    columns: ClassVar[dict[str, LabelType]] = {"action": "int", "subject": "int", "trial": "int"}
    names: Mapping[str, Mapping[int, str]] = {"action": dict(enumerate(ACTIONS, 1))}
    measured = measured(KINECT_V1)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if not self.items():
            raise DataError(
                f"{folder} holds no UTD-MHAD recordings (a1_s1_t1_skeleton.mat, ...): "
                "give the folder of its skeleton files"
            )

    def items(self) -> list[str]:
        """File names, by action, subject and trial. Raises DataError where the folder cannot be listed."""
        try:
            found = [path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        except OSError as error:
            raise DataError(f"{self.folder} cannot be read: {error.strerror}") from error
        return sorted(found, key=_numbers)

    def read(self, item: str) -> Contents:
        """The one sequence of a file, one body. Raises DataError."""
        try:
            joints = utd_mhad.parse(read_file(self.folder / item)).joints[:, None]  # (T, 1, 25, 3)
        except SensorError as error:
            raise DataError(f"{item}: {error}") from None
        action, subject, trial = _numbers(item)
        labels: dict[str, float] = {"action": action, "subject": subject, "trial": trial}
        return Contents([ImportedSequence(joints, states(joints, self.measured), labels)])


def _numbers(name: str) -> tuple[int, int, int]:
    """Action, subject and trial of a file name."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise DataError(f"{name} is no name of a UTD-MHAD recording, like a1_s1_t1_skeleton.mat")
    action, subject, trial = map(int, match.groups())
    return action, subject, trial
