"""NTU RGB+D and NTU RGB+D 120: 60 and 120 actions by 40 and 106 persons, seen by three Kinect v2 sensors.

Files `SsssCcccPpppRrrrAaaa.skeleton` (setup, camera, person, replication, action) in folders of any depth, both sets
in one folder if so wished, and the published lists of samples with missing skeletons beside them. A file `actions.txt`
in the folder itself names the actions, line n action n.
Source: A. Shahroudy et al., "NTU RGB+D: a large scale dataset for 3D human activity analysis", CVPR 2016; J. Liu et
al., "NTU RGB+D 120", TPAMI 2019.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import ClassVar, Final

from skelanon.sensors.errors import SensorError
from skelanon.sensors.ntu import MAX_BODIES, missing_skeletons, read_skeleton
from skelanon.train.errors import DataError

from .importer import Contents, Importer, LabelType, Skipped, sequence_of

_NAME: Final = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)
_SUFFIX: Final = ".skeleton"


class NtuImporter(Importer):
    """Reads a folder of `.skeleton` files; an item is a file. Labels have the numbers of the file names.

    A body is what has one tracker id; in a frame where it is not finite it is not there. Ghosts (chairs, reflections)
    are kept; of more than six bodies, the six that are there in most frames.
    """

    kind: ClassVar[str] = "ntu"
    licence: ClassVar[str] = "NTU RGB+D: for academic research, no redistribution, cite the papers"
    rate_hz: ClassVar[float] = 30.0
    columns: ClassVar[dict[str, LabelType]] = {
        "setup": "int", "view": "int", "subject": "int", "trial": "int", "action": "int",
    }  # fmt: skip

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._files: list[str] = []
        missing: set[str] = set()
        for place, _, names in os.walk(folder, onerror=_refuse):
            below = Path(place).relative_to(folder)
            self._files += [(below / name).as_posix() for name in names if name.lower().endswith(_SUFFIX)]
            if any("missing_skeletons" in name for name in names):
                missing |= missing_skeletons(Path(place))
        self._files.sort()
        self._missing = frozenset(missing)
        self.names = _names(folder / "actions.txt")
        if not self._files:
            raise DataError(f"{folder} holds no NTU RGB+D recordings (S001C001P001R001A001.skeleton, ...)")
        self._require_each_once()

    def items(self) -> list[str]:
        """Paths of all `.skeleton` files below the folder, sorted."""
        return list(self._files)

    def read(self, item: str) -> Contents:
        """The one sequence of a file. Raises Skipped (no sample, listed, nobody in it), DataError."""
        sample = _sample(item)
        match = _NAME.fullmatch(sample)
        if match is None:
            raise Skipped("name of no sample")
        if sample in self._missing:
            raise Skipped("listed as missing skeletons")
        try:
            recording = read_skeleton(self.folder / item)
        except SensorError as error:
            raise DataError(f"{item}: {error}") from None
        labels: dict[str, float] = dict(zip(self.columns, map(int, match.groups()), strict=True))
        return Contents([sequence_of(recording, labels, MAX_BODIES)])

    def _require_each_once(self) -> None:
        counts = Counter(map(_sample, self._files))
        twice = [item for item in self._files if counts[_sample(item)] > 1 and _NAME.fullmatch(_sample(item))]
        if twice:
            first, second, *_ = (item for item in twice if _sample(item) == _sample(twice[0]))
            raise DataError(f"{first} and {second} are the same sample: remove one ({len(twice)} files of this kind)")


def _names(path: Path) -> dict[str, dict[int, str]]:
    """What the lines of a file call the actions; nothing where it is not there. Raises DataError."""
    try:
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}): line n of it names action n") from error
    names = {number: line.strip() for number, line in enumerate(lines, 1) if line.strip()}
    return {"action": names} if names else {}


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read: {error.strerror}; give a folder of `.skeleton` files") from error


def _sample(item: str) -> str:
    return item.rpartition("/")[2][: -len(_SUFFIX)].upper()
