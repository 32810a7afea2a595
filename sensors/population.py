"""Made-up persons and what they do, as pure functions of a seed and of time.

A motion is a set of turns of bones over time: a turn at one bone carries all bones beyond it. Turned rest directions
times bone lengths give bones, the ancestor matrix gives joints, and the lowest joint stands on the floor.
Arrays inside are (axis, joint, time) = (3, 25, T), so that each product with the ancestor matrix is one call.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .body import ancestor_matrix, bone_lengths, rest_directions
from .frame import INFERRED, TRACKED, Joints, Tracking
from .joints import INDEX, JOINT_NAMES, JOINTS, ROOT

Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]

FLOOR_Y: Final = -1.0
"""Height of the floor, metres, camera axes: the sensor stands one metre above it."""
NOISE_M: Final = 0.003
"""Standard deviation of the noise on each coordinate."""
FADE_S: Final = 1.0
"""Seconds in which one activity passes into the next: also how long sitting down and falling take."""


class Activity(Enum):
    """What a person does."""

    STAND = "stand"
    WALK = "walk"
    WAVE = "wave"
    SIT = "sit"
    FALL = "fall"


Schedule = Sequence[tuple[Activity, float]]
"""Activities and how many seconds each lasts; the last one goes on for ever."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """A body and its gait style. Angles are radians.

    lengths: (25,) float64, metres: the bone that ends at each joint, left and right alike.
    cadence_hz: strides (two steps) a second. stride, arm_swing: how far thigh and arm swing from the vertical.
    lean: of the trunk, forwards. phase: 0 to 1, where on the path and in every rhythm the person starts.
    falls: -1 forwards, 1 backwards. path: centre x, z and radius x, z of the figure of eight that is walked, metres.
    seed: of what the person does when, and of the noise.
    """

    stature_m: float
    lengths: Doubles
    cadence_hz: float
    stride: float
    arm_swing: float
    lean: float
    phase: float
    falls: int
    path: tuple[float, float, float, float]
    seed: int


def population(seed: int, persons: int) -> tuple[Person, ...]:
    """The first `persons` persons of the population `seed`; the same seed gives the same persons."""
    return tuple(_person(np.random.default_rng((seed, index))) for index in range(persons))


def _person(rng: np.random.Generator) -> Person:
    stature_m = rng.uniform(1.5, 2.0)
    groups = [name.removesuffix("Left").removesuffix("Right") for name in JOINT_NAMES]
    factors = {group: min(max(rng.normal(1.0, 0.04), 0.88), 1.12) for group in dict.fromkeys(groups)}
    return Person(
        stature_m=stature_m,
        lengths=bone_lengths(stature_m) * np.array([factors[group] for group in groups]),
        cadence_hz=rng.uniform(0.75, 1.05),
        stride=rng.uniform(0.30, 0.45),
        arm_swing=rng.uniform(0.15, 0.55),
        lean=rng.uniform(0.0, 0.12),
        phase=rng.uniform(),
        falls=int(rng.choice((-1, 1))),
        path=(rng.uniform(-0.15, 0.15), rng.uniform(3.0, 3.3), rng.uniform(0.7, 1.05), rng.uniform(0.5, 0.8)),
        seed=int(rng.integers(2**32)),
    )


def skeleton_sequence(person: Person, activity: Activity, rate_hz: float, frames: int, seed: int) -> Joints:
    """(T, 25, 3) float32, metres, camera axes: `frames` frames of one activity, with the noise of a sensor."""
    joints = motion(person, activity, np.arange(frames) / rate_hz)
    return add_noise(joints, np.random.default_rng((person.seed, seed)))


def motion(person: Person, activity: Activity, times: Doubles) -> Joints:
    """(T, 25, 3) float32, metres, camera axes, without noise, at `times` (T,) in seconds, ascending from 0.

    Sitting and falling begin with half a second of standing.
    """
    onset = [(Activity.STAND, 0.5)] if activity in (Activity.SIT, Activity.FALL) else []
    return performance(person, [*onset, (activity, np.inf)], times)


def add_noise(joints: Joints, rng: np.random.Generator) -> Joints:
    """The same joints, each coordinate off by about three millimetres, like a sensor's."""
    return joints + np.float32(NOISE_M) * rng.standard_normal(joints.shape, np.float32)


def tracking_states(frames: int, rng: np.random.Generator) -> Tracking:
    """(T, 25) uint8: tracked, but for hand tips, thumbs and feet, which a sensor sometimes infers."""
    states = np.full((frames, JOINTS), TRACKED, np.uint8)
    ends = [INDEX[name + side] for name in ("HandTip", "Thumb", "Foot") for side in ("Left", "Right")]
    states[:, ends] = np.where(rng.random((frames, len(ends))) < 0.08, INFERRED, TRACKED)
    return states


def performance(person: Person, schedule: Schedule, times: Doubles) -> Joints:
    """(T, 25, 3) float32, metres, camera axes, without noise: a whole schedule, one activity passing into the next."""
    weights = _weights(schedule, times)
    walking = weights.get(Activity.WALK, np.zeros_like(times))
    stride_m = 4 * np.sin(person.stride) * (person.lengths[INDEX["KneeLeft"]] + person.lengths[INDEX["AnkleLeft"]])
    steps = np.diff(times, prepend=times[:1]) * walking * person.cadence_hz  # (T,), in strides
    strides = person.phase + np.cumsum(steps)
    x, z, heading = _path(person, strides * stride_m)

    turns = np.zeros((3, JOINTS, times.size), np.float32)
    _add(turns, 1.0, _posture(person, times))
    for activity, weight in weights.items():
        match activity:
            case Activity.WALK:
                _add(turns, weight, _walk(person, 2 * np.pi * strides))
            case Activity.WAVE:
                _add(turns, weight, _wave(person, times))
            case Activity.SIT:
                _add(turns, weight, _sit(person))
            case Activity.FALL:
                _add(turns, weight, _fall(person, weight))
    turns[YAW, ROOT] += walking * heading + (1 - walking) * np.arctan2(x, z)  # who does not walk faces the sensor

    joints = _forward_kinematics(person.lengths, turns)
    feet = joints[:, [INDEX["AnkleLeft"], INDEX["AnkleRight"]]].mean(axis=1)
    joints[0] += x - (1 - walking) * feet[0]  # who does not walk keeps both feet where they are
    joints[1] += FLOOR_Y - joints[1].min(axis=0)
    joints[2] += z - (1 - walking) * feet[2]
    return np.ascontiguousarray(joints.transpose(2, 1, 0))  # (T, 25, 3)


def _weights(schedule: Schedule, times: Doubles) -> dict[Activity, Doubles]:
    """How much of each activity there is at each time, (T,) each; they add up to one."""
    weights: dict[Activity, Doubles] = {}
    start, begun = 0.0, np.ones_like(times)
    for index, (activity, duration_s) in enumerate(schedule):
        start += duration_s
        ended = np.clip((times - start) / FADE_S, 0.0, 1.0) * (index + 1 < len(schedule))
        ended = ended * ended * (3 - 2 * ended)
        weights[activity] = weights.get(activity, 0.0) + begun - ended
        begun = ended
    return weights


def _path(person: Person, distance_m: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Place x, z and heading after a walk of `distance_m` along the figure of eight; heading 0 faces the sensor.

    On this curve the heading swings between left and right and never passes straight away from the sensor.
    """
    centre_x, centre_z, radius_x, radius_z = person.path
    angles = np.linspace(0.0, 2 * np.pi, 257)
    curve = np.stack((radius_x * np.sin(angles), radius_z * np.sin(2 * angles)))
    lengths = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(curve), axis=0)))
    a = np.interp((distance_m + person.phase * lengths[-1]) % lengths[-1], lengths, angles)
    x, z = centre_x + radius_x * np.sin(a), centre_z + radius_z * np.sin(2 * a)
    return x, z, np.arctan2(-radius_x * np.cos(a), -2 * radius_z * np.cos(2 * a))


ROLL, PITCH, YAW = range(3)
"""Turns, applied in this order: about z (what hangs goes right), about x (forwards), about y (right side forwards)."""

Turns = Mapping[tuple[str, int], ArrayLike]
"""Angle, (T,) or one for all times, by which a bone and all bones beyond it turn about an axis."""

_SIDES: Final = (("Left", -1.0), ("Right", 1.0))


def _posture(person: Person, times: Doubles) -> Turns:
    """What every activity starts from: the trunk leans, arms and head hang against it, the body sways."""
    sway = 2 * np.pi * (times * 0.25 + person.phase)
    turns: dict[tuple[str, int], ArrayLike] = {
        ("SpineBase", ROLL): 0.010 * np.sin(sway),
        ("SpineBase", PITCH): 0.012 * np.sin(1.7 * sway),
        ("SpineMid", PITCH): -person.lean,
        ("Neck", PITCH): 0.8 * person.lean,
    }
    for side, _ in _SIDES:
        turns[f"Elbow{side}", PITCH] = person.lean
        turns[f"Wrist{side}", PITCH] = 0.15 + 0.03 * np.sin(sway)
    return turns


def _walk(person: Person, phase: Doubles) -> Turns:
    """One stride for each 2 pi of `phase`: thighs swing evenly, knees bend on the way forwards, arms swing against."""
    turns: dict[tuple[str, int], ArrayLike] = {("SpineMid", YAW): 0.25 * person.arm_swing * np.sin(phase)}
    for side, angle in (("Left", phase), ("Right", phase + np.pi)):
        thigh = 0.08 + person.stride * 0.9 * (np.sin(angle) - np.sin(3 * angle) / 9)
        knee = 0.12 + 2.2 * person.stride * np.maximum(np.cos(angle + 0.15), 0.0) ** 2
        turns[f"Knee{side}", PITCH] = thigh
        turns[f"Ankle{side}", PITCH] = -knee
        turns[f"Foot{side}", PITCH] = -0.5 * (thigh - knee)
        turns[f"Elbow{side}", PITCH] = -person.arm_swing * np.sin(angle)
        turns[f"Wrist{side}", PITCH] = person.arm_swing * (0.4 - 0.4 * np.sin(angle))
    return turns


def _wave(person: Person, times: Doubles) -> Turns:
    """The right hand above the head, swinging from side to side."""
    wave = np.sin(2 * np.pi * (times * 1.3 * person.cadence_hz + person.phase))
    return {
        ("ElbowRight", ROLL): 1.6 + 0.08 * wave,
        ("WristRight", ROLL): 1.25 + 0.35 * wave,
        ("WristRight", PITCH): -0.3,
        ("HandRight", ROLL): 0.2 * wave,
    }


def _sit(person: Person) -> Turns:
    """On a chair of just the right height, hands on the thighs."""
    turns: dict[tuple[str, int], ArrayLike] = {("SpineMid", PITCH): 0.05 + person.lean}
    for side, outwards in _SIDES:
        turns[f"Knee{side}", PITCH] = 1.42
        turns[f"Knee{side}", ROLL] = 0.10 * outwards
        turns[f"Ankle{side}", PITCH] = -1.40
        turns[f"Elbow{side}", PITCH] = 0.45
        turns[f"Wrist{side}", PITCH] = 0.65
        turns[f"Wrist{side}", ROLL] = -0.15 * outwards
    return turns


def _fall(person: Person, weight: Doubles) -> Turns:
    """Lying stretched out, arms away from the body; on the way there (`weight` 0 to 1) the knees give way."""
    buckle = 1.0 - weight
    turns: dict[tuple[str, int], ArrayLike] = {
        ("SpineBase", PITCH): person.falls * 1.53,
        ("KneeRight", ROLL): 0.30,
        ("AnkleRight", ROLL): -0.55,
        ("Neck", ROLL): 0.2,
    }
    for side, outwards in _SIDES:
        turns[f"Knee{side}", PITCH] = 2.8 * buckle
        turns[f"Ankle{side}", PITCH] = -4.4 * buckle
        turns[f"Foot{side}", PITCH] = -0.8 + 1.6 * buckle
        turns[f"Elbow{side}", ROLL] = (0.9 + 0.2 * outwards) * outwards
        turns[f"Wrist{side}", ROLL] = 0.6 * outwards
        turns[f"Wrist{side}", PITCH] = -0.15
    return turns


def _add(turns: Singles, weight: ArrayLike, more: Turns) -> None:
    for (bone, axis), angle in more.items():
        turns[axis, INDEX[bone]] += np.multiply(weight, angle)


_ANCESTORS: Final = ancestor_matrix().astype(np.float32)
_CARRIED: Final = _ANCESTORS + np.eye(JOINTS, dtype=np.float32)[ROOT]  # a turn at the root carries every bone
_REST: Final = rest_directions().astype(np.float32).T[:, :, None]  # (3, 25, 1)


def _forward_kinematics(lengths: Doubles, turns: Singles) -> Singles:
    """(3, 25, T) joints relative to the root, of bones turned by `turns` (3, 25, T) from their rest directions."""
    total = _CARRIED @ turns
    sine, cosine = np.sin(total), np.cos(total)
    x, y, z = _REST
    x, y = x * cosine[ROLL] - y * sine[ROLL], x * sine[ROLL] + y * cosine[ROLL]
    y, z = y * cosine[PITCH] - z * sine[PITCH], y * sine[PITCH] + z * cosine[PITCH]
    x, z = x * cosine[YAW] + z * sine[YAW], z * cosine[YAW] - x * sine[YAW]
    bones: Singles = np.stack((x, y, z))
    bones *= lengths[:, None]
    return _ANCESTORS @ bones
