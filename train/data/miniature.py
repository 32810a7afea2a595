"""Miniature data sets in the formats of the real ones, of made-up persons: to try everything, and to test with.

Persons differ by body and gait (identity can be learned), actions by motion, views by a turn about the vertical, trials
by rhythm and place. The same arguments write the same files.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from skelanon.sensors.frame import BodyFrame, Joints, Tracking
from skelanon.sensors.joints import JOINTS
from skelanon.sensors.population import Activity, Person, add_noise, motion, population, tracking_states
from skelanon.sensors.skeleton_writer import RECORDING_HZ, write_skeleton
from skelanon.train.errors import DataError

ACTIVITIES: Final = (Activity.WAVE, Activity.WALK, Activity.SIT, Activity.FALL, Activity.STAND)
"""What is done in actions 1 to 5."""
TWO_PERSON_ACTION: Final = 45
"""An action of ETRI-Activity3D that its importer leaves out."""

_CENTRE: Final = (0.0, 0.0, 3.1)  # metres; about where the population walks and stands
_VIEW_STEP: Final = np.deg2rad(25.0)
_FIRST_TRACK_ID: Final = 72057594037930000  # of the kind that Kinect v2 gives
_CSV_JOINT: Final = (
    "3dX", "3dY", "3dZ", "depthX", "depthY", "colorX", "colorY",
    "orientationW", "orientationX", "orientationY", "orientationZ", "trackingState",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Size:
    """How many of everything there are."""

    subjects: int
    actions: int
    views: int
    trials: int
    frames: int
    seed: int
    late_s: float

    def __post_init__(self) -> None:
        limits = {
            "subjects": (1, 999), "actions": (1, len(ACTIVITIES)), "views": (1, 8), "trials": (1, 99),
            "frames": (1, 10_000), "seed": (0, 2**32 - 1),
            "late_s": (0, 3600),
        }  # fmt: skip
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise DataError(f"`{name}` is {value}, a miniature has {least} to {most}")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class _Clip:
    """One recording: numbers from 1 on, joints (T, M, 25, 3) metres, camera axes, tracking states (T, M, 25)."""

    subject: int
    action: int
    view: int
    trial: int
    joints: Joints
    tracking: Tracking


def write_miniature_ntu(
    folder: Path,
    *,
    subjects: int = 4,
    actions: int = 4,
    views: int = 3,
    trials: int = 2,
    frames: int = 60,
    seed: int = 0,
    late_s: float = 0.0,
) -> int:
    """Write `.skeleton` files with the names of NTU RGB+D, all of setup 1, 30 frames a second; returns how many.

    `actions.txt` beside them says what the actions are. late_s: recordings begin up to so long after the action does.
    Raises DataError: a number out of range, a folder that is not empty or cannot be written.
    """
    size = _Size(subjects, actions, views, trials, frames, seed, late_s)
    written = _write(folder, _clips(size), _write_ntu)
    names = [f"{activity.value}\n" for activity in ACTIVITIES[:actions]]
    (folder / "actions.txt").write_text("".join(names), encoding="ascii")
    return written


def write_miniature_etri(
    folder: Path,
    *,
    subjects: int = 4,
    actions: int = 4,
    views: int = 3,
    trials: int = 2,
    frames: int = 60,
    seed: int = 0,
    late_s: float = 0.0,
    malformed: bool = False,
) -> int:
    """Write CSV files as ETRI-Activity3D has them, a folder for each person, and gender_age.txt; returns how many CSVs.

    Gender goes by stature: the taller half is male. Everybody does action 45 as well, with the next person. `malformed`
    adds a recording whose last row is cut off. Raises DataError as `write_miniature_ntu` does.
    """
    size = _Size(subjects, actions, views, trials, frames, seed, late_s)
    written = _write(folder, (clip for clips in (_clips(size), _pairs(size)) for clip in clips), _write_etri)
    statures = [person.stature_m for person in population(seed, subjects)]
    genders = ["M" if stature > np.median(statures) else "F" for stature in statures]
    lines = [f"P{i:03}, {gender}, {60 + 3 * i % 30}" for i, gender in enumerate(genders, 1)]
    (folder / "gender_age.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
    if malformed:
        whole, cut = (folder / "P001" / f"A001_P001_G{trial:03}_C001.csv" for trial in (1, trials + 1))
        text = whole.read_text(encoding="ascii")
        cut.write_text(text[: text.rindex(",")] + "\n", encoding="ascii")
    return written + malformed


def _clips(size: _Size) -> Iterator[_Clip]:
    """Everybody alone, in all actions, trials and views."""
    for subject, person in enumerate(population(size.seed, size.subjects), 1):
        for action in range(1, size.actions + 1):
            for trial in range(1, size.trials + 1):
                rng = np.random.default_rng((person.seed, action, trial))
                exact = _performance(person, ACTIVITIES[action - 1], size, rng)[:, None]  # (T, 1, 25, 3)
                for view in range(1, size.views + 1):
                    yield _Clip(subject, action, view, trial, *_seen(exact, view, rng))


def _pairs(size: _Size) -> Iterator[_Clip]:
    """Everybody once with the next person, half a metre to either side."""
    persons = population(size.seed, size.subjects + 1)
    for subject, pair in enumerate(pairwise(persons), 1):
        rng = np.random.default_rng((pair[0].seed, TWO_PERSON_ACTION))
        both = [_performance(person, Activity.WAVE, size, rng) for person in pair]
        exact = np.stack(both, axis=1)  # (T, 2, 25, 3)
        exact[..., 0] += np.array([[0.5], [-0.5]], np.float32)
        yield _Clip(subject, TWO_PERSON_ACTION, 1, 1, *_seen(exact, 1, rng))


def _performance(person: Person, activity: Activity, size: _Size, rng: np.random.Generator) -> Joints:
    """(T, 25, 3), in a rhythm and at a place of this trial."""
    person = replace(person, phase=rng.uniform())
    late_s = rng.uniform(0, size.late_s) if size.late_s else 0.0  # draws nothing where nothing is late
    return motion(person, activity, late_s + np.arange(size.frames) / RECORDING_HZ)


def _seen(exact: Joints, view: int, rng: np.random.Generator) -> tuple[Joints, Tracking]:
    """What a camera sees of (T, M, 25, 3): the first from the front, the others from ever further left and right."""
    angle = view // 2 * (-1) ** view * _VIEW_STEP
    sine, cosine = np.sin(angle), np.cos(angle)
    turn = np.array([(cosine, 0, sine), (0, 1, 0), (-sine, 0, cosine)])
    joints = add_noise(((exact - _CENTRE) @ turn.T + _CENTRE).astype(np.float32), rng)
    frames, bodies = joints.shape[:2]
    return joints, tracking_states(frames * bodies, rng).reshape(frames, bodies, JOINTS)


def _write(folder: Path, clips: Iterable[_Clip], write: Callable[[Path, _Clip], None]) -> int:
    """Make the folder and write each clip into it; returns how many."""
    written = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DataError(f"{folder} is not empty: name a new folder")
        for clip in clips:
            write(folder, clip)
            written += 1
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}") from error
    return written


def _write_ntu(folder: Path, clip: _Clip) -> None:
    ids = tuple(_FIRST_TRACK_ID + body for body in range(clip.joints.shape[1]))
    frames = [BodyFrame(0, joints, tracking, ids) for joints, tracking in zip(clip.joints, clip.tracking, strict=True)]
    name = f"S001C{clip.view:03}P{clip.subject:03}R{clip.trial:03}A{clip.action:03}.skeleton"
    write_skeleton(folder / name, frames)


def _write_etri(folder: Path, clip: _Clip) -> None:
    """What skelanon reads carries values; all other columns are zero."""
    titles = [f"joint{joint}_{what}" for joint in range(1, JOINTS + 1) for what in _CSV_JOINT]
    lines = [",".join(["frameNum", "bodyindexID", *titles])]
    for frame, (bodies, states) in enumerate(zip(clip.joints.tolist(), clip.tracking.tolist(), strict=True)):
        for body, (joints, tracking) in enumerate(zip(bodies, states, strict=True)):
            cells = [
                f"{x:.9g},{y:.9g},{z:.9g},0,0,0,0,0,0,0,0,{state}"
                for (x, y, z), state in zip(joints, tracking, strict=True)
            ]
            lines.append(f"{frame},{body}," + ",".join(cells))
    path = folder / f"P{clip.subject:03}" / f"A{clip.action:03}_P{clip.subject:03}_G{clip.trial:03}_C{clip.view:03}.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
