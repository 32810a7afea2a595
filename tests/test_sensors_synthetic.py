"""The made-up population: human bodies that do what they are said to do, the same in every run."""

import numpy as np
import pytest

from skelanon.configs.schema import SyntheticSettings
from skelanon.sensors.frame import BodyFrame, Joints
from skelanon.sensors.joints import BONES, INDEX, JOINT_NAMES, PARENTS
from skelanon.sensors.population import (
    FLOOR_Y,
    NOISE_M,
    Activity,
    Person,
    motion,
    performance,
    population,
    skeleton_sequence,
    tracking_states,
)
from skelanon.sensors.synthetic import LOOP_FRAMES, LOOP_S, Synthetic

RATE_HZ = 30.0
TIMES = np.arange(300) / RATE_HZ
CROWD = population(seed=11, persons=12)
FEET = [INDEX["FootLeft"], INDEX["FootRight"]]


def joint(joints: Joints, name: str) -> Joints:
    """(T, 3): one joint over time."""
    return joints[:, INDEX[name]]


def lengths(joints: Joints) -> Joints:
    """(T, 24): length of each bone."""
    bones = joints[:, BONES] - joints[:, [PARENTS[bone] for bone in BONES]]
    length: Joints = np.linalg.norm(bones, axis=2)
    return length


def forwards(joints: Joints) -> Joints:
    """(T, 2): x and z of the direction that the shoulders face, unit length."""
    across = joint(joints, "ShoulderRight") - joint(joints, "ShoulderLeft")
    ahead = np.stack((across[:, 2], -across[:, 0]), axis=1)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    return ahead


def walked(joints: Joints) -> Joints:
    """(T - 1, 2): velocity of the root over the floor, m/s."""
    return np.diff(joint(joints, "SpineBase")[:, [0, 2]], axis=0) * RATE_HZ


def body(frame: BodyFrame | None) -> BodyFrame:
    assert frame is not None
    return frame


def settings(**changes: object) -> SyntheticSettings:
    return SyntheticSettings.model_validate({"kind": "synthetic", "fast": True, **changes})


@pytest.fixture(params=CROWD, ids=[f"person{i}" for i in range(len(CROWD))])
def person(request: pytest.FixtureRequest) -> Person:
    assert isinstance(request.param, Person)
    return request.param


def test_a_population_is_its_seed() -> None:
    again = population(seed=11, persons=3)
    for one, other in zip(CROWD, again, strict=False):
        np.testing.assert_array_equal(one.lengths, other.lengths)
        assert (one.cadence_hz, one.path, one.seed) == (other.cadence_hz, other.path, other.seed)
    assert len({person.stature_m for person in [*CROWD, *population(seed=12, persons=12)]}) == 24


def test_persons_differ_in_proportions_and_not_only_in_size() -> None:
    relative = np.array([person.lengths / person.stature_m for person in CROWD])[:, BONES]
    assert (relative.std(axis=0) / relative.mean(axis=0) > 0.01).all()


def test_has_human_proportions(person: Person) -> None:
    standing = motion(person, Activity.STAND, TIMES)
    head = joint(standing, "Head")[:, 1] - FLOOR_Y
    legs = joint(standing, "SpineBase")[:, 1] - FLOOR_Y
    reach = sum(person.lengths[INDEX[name]] for name in ("ElbowLeft", "WristLeft", "HandLeft"))
    assert 1.5 <= person.stature_m <= 2.0
    assert 0.88 < head.mean() / person.stature_m < 1.02
    assert 0.45 < legs.mean() / person.stature_m < 0.62
    assert 0.30 < reach / person.stature_m < 0.43
    for name, length in zip(JOINT_NAMES, person.lengths, strict=True):
        if name.endswith("Left"):
            assert length == person.lengths[INDEX[name.replace("Left", "Right")]]


def test_who_stands_faces_the_sensor_with_the_left_side_at_its_left(person: Person) -> None:
    standing = motion(person, Activity.STAND, TIMES)
    for name in ("Shoulder", "Hip", "Hand", "Foot"):
        assert (joint(standing, f"{name}Left")[:, 0] < joint(standing, f"{name}Right")[:, 0]).all()
    upwards = ["FootLeft", "AnkleLeft", "KneeLeft", "SpineBase", "SpineMid", "SpineShoulder", "Neck", "Head"]
    heights = standing[:, [INDEX[name] for name in upwards], 1]
    assert (np.diff(heights, axis=1) > 0).all()
    assert (joint(standing, "FootLeft")[:, 2] < joint(standing, "AnkleLeft")[:, 2]).all()


@pytest.mark.parametrize("activity", [Activity.STAND, Activity.WALK, Activity.WAVE, Activity.SIT])
def test_the_lowest_foot_is_on_the_floor_and_nothing_is_below(person: Person, activity: Activity) -> None:
    joints = motion(person, activity, TIMES)
    np.testing.assert_allclose(joints[:, FEET, 1].min(axis=1), FLOOR_Y, atol=1e-5)
    assert joints[..., 1].min() > FLOOR_Y - 1e-5


@pytest.mark.parametrize("activity", list(Activity))
def test_bones_keep_their_lengths_but_for_the_noise(person: Person, activity: Activity) -> None:
    own = person.lengths[list(BONES)]
    exact = lengths(motion(person, activity, TIMES))
    np.testing.assert_allclose(exact, np.broadcast_to(own, exact.shape), atol=1e-5)
    noisy = lengths(skeleton_sequence(person, activity, RATE_HZ, 300, seed=0))
    np.testing.assert_allclose(noisy.mean(axis=0), own, atol=0.002)
    assert (noisy.std(axis=0) < 2 * NOISE_M).all()


def test_noise_is_small_and_from_the_seed(person: Person) -> None:
    one, same, other = (skeleton_sequence(person, Activity.WALK, RATE_HZ, 300, seed=s) for s in (1, 1, 2))
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    noise = one - motion(person, Activity.WALK, TIMES)
    assert noise.std() == pytest.approx(NOISE_M, rel=0.05)
    assert abs(noise.mean()) < NOISE_M / 20


def test_walks_through_the_view_where_it_is_heading(person: Person) -> None:
    walking = motion(person, Activity.WALK, TIMES)
    root, velocity = joint(walking, "SpineBase"), walked(walking)
    speed = np.linalg.norm(velocity, axis=1)
    assert 0.5 < speed.mean() < 2.0
    assert np.abs(root[:, 0]).max() < 1.5
    assert 2.0 < root[:, 2].min() < root[:, 2].max() < 4.5
    ahead = (forwards(walking)[1:] * velocity).sum(axis=1) / speed
    assert ahead.min() > 0.8
    assert forwards(walking)[:, 0].min() < -0.5
    assert forwards(walking)[:, 0].max() > 0.5  # it turns to both sides


def test_the_standing_foot_stays_while_the_body_walks_on(person: Person) -> None:
    walking = motion(person, Activity.WALK, TIMES)
    ankles = walking[:, [INDEX["AnkleLeft"], INDEX["AnkleRight"]]]
    slip = np.linalg.norm(np.diff(ankles[:, :, [0, 2]], axis=0), axis=2) * RATE_HZ  # (T - 1, 2)
    ratio = np.median(slip.min(axis=1)) / np.linalg.norm(walked(walking), axis=1).mean()
    assert ratio < 0.4


def test_arms_swing_against_the_legs(person: Person) -> None:
    walking = motion(person, Activity.WALK, TIMES)
    ahead = forwards(walking)

    def reach(name: str) -> Joints:
        from_root = joint(walking, name) - joint(walking, "SpineBase")
        distance: Joints = (from_root[:, [0, 2]] * ahead).sum(axis=1)
        return distance

    for side, opposite in (("Left", "Right"), ("Right", "Left")):
        assert np.corrcoef(reach(f"Wrist{side}"), reach(f"Knee{side}"))[0, 1] < -0.5
        assert np.corrcoef(reach(f"Wrist{side}"), reach(f"Knee{opposite}"))[0, 1] > 0.5


def test_waves_with_the_right_hand_above_the_head(person: Person) -> None:
    waving = motion(person, Activity.WAVE, TIMES)
    hand, head = joint(waving, "HandRight"), joint(waving, "Head")
    assert (hand[:, 1] > head[:, 1]).mean() > 0.6
    assert (hand[:, 1] > joint(waving, "ShoulderRight")[:, 1]).all()
    assert (joint(waving, "HandLeft")[:, 1] < joint(waving, "ElbowLeft")[:, 1]).all()
    assert np.ptp(hand[:, 0]) > 0.1


def test_sits_down_with_the_feet_where_they_were(person: Person) -> None:
    sitting = motion(person, Activity.SIT, TIMES)
    hips, knees = joint(sitting, "HipLeft"), joint(sitting, "KneeLeft")
    assert hips[0, 1] - knees[0, 1] > 0.3
    assert abs(hips[-1, 1] - knees[-1, 1]) < 0.12
    assert hips[-1, 2] - knees[-1, 2] > 0.3  # knees towards the sensor
    assert joint(sitting, "Head")[-1, 1] - joint(sitting, "SpineBase")[-1, 1] > 0.35 * person.stature_m
    feet = sitting[:, [INDEX["AnkleLeft"], INDEX["AnkleRight"]]][:, :, [0, 2]].mean(axis=1)
    np.testing.assert_allclose(feet, np.broadcast_to(feet[0], feet.shape), atol=1e-4)


def test_falls_from_standing_to_lying_on_the_floor(person: Person) -> None:
    falling = motion(person, Activity.FALL, TIMES)
    heights = falling[..., 1] - FLOOR_Y
    assert heights[0].max() > 0.85 * person.stature_m
    assert heights[-1].max() < 0.35
    assert heights.min() > -1e-5
    stretched = np.linalg.norm(joint(falling, "Head")[-1] - joint(falling, "AnkleLeft")[-1])
    assert stretched > 0.8 * person.stature_m


def test_passes_from_one_activity_to_the_next_without_a_jump(person: Person) -> None:
    schedule = [(activity, 2.0) for a in Activity for activity in (a, Activity.WALK)]
    joints = performance(person, schedule, np.arange(700) / RATE_HZ)
    assert np.linalg.norm(np.diff(joints, axis=0), axis=2).max() * RATE_HZ < 9.0


def test_motion_does_not_depend_on_the_rate(person: Person) -> None:
    for activity in Activity:
        coarse, fine = motion(person, activity, TIMES[::2]), motion(person, activity, TIMES)
        np.testing.assert_allclose(coarse, fine[::2], atol=1e-4)


def test_most_joints_are_tracked_and_some_hand_tips_inferred() -> None:
    states = tracking_states(1000, np.random.default_rng(0))
    assert states.dtype == np.uint8
    assert set(np.unique(states)) == {1, 2}
    assert 0.02 < (states[:, INDEX["HandTipLeft"]] == 1).mean() < 0.2
    assert (states[:, INDEX["SpineBase"]] == 2).all()


def test_the_sensor_gives_the_same_frames_for_the_same_seed() -> None:
    def first(seed: int) -> Joints:
        with Synthetic(settings(seed=seed)) as sensor:
            return body(sensor.read(0)).joints

    np.testing.assert_array_equal(first(1), first(1))
    assert (first(1) != first(2)).any()


def test_persons_leave_one_at_a_time_and_come_back_as_new_tracks() -> None:
    loops, frames = 2, round(LOOP_S * RATE_HZ)
    with Synthetic(settings(persons=3)) as sensor:
        seen = [body(sensor.read(0)).track_ids for _ in range(loops * frames)]
    counts = [len(ids) for ids in seen]
    assert set(counts) == {2, 3}
    assert counts.count(3) > 0.8 * len(seen)
    tracks = {track for ids in seen for track in ids}
    assert len(tracks) == 3 * (loops + 1)
    assert min(tracks) > 2**53
    for track in tracks:  # one uninterrupted stay each
        stay = [index for index, ids in enumerate(seen) if track in ids]
        assert stay[-1] - stay[0] + 1 == len(stay)


def test_a_track_keeps_its_body_and_moves_smoothly() -> None:
    last: dict[int, Joints] = {}
    with Synthetic(settings(persons=2, seed=5)) as sensor:
        for _ in range(2 * LOOP_FRAMES):
            frame = body(sensor.read(0))
            for track, joints in zip(frame.track_ids, frame.joints, strict=True):
                if track in last:
                    assert np.abs(joints - last[track]).max() < 0.35
                last[track] = joints


def test_an_empty_room_gives_frames_without_bodies() -> None:
    with Synthetic(settings(persons=0, frames=5)) as sensor:
        assert [body(sensor.read(0)).track_ids for _ in range(5)] == [()] * 5


def test_nobody_can_write_into_what_the_sensor_will_show_again() -> None:
    with Synthetic(settings()) as sensor, pytest.raises(ValueError, match="read-only"):
        body(sensor.read(0)).joints[0, 0, 0] = 0.0


def test_keeps_to_its_rate_and_to_the_time_out() -> None:
    now = 50.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    sensor = Synthetic(settings(fast=False, rate_hz=10.0), monotonic=lambda: now, sleep=sleep, now_ns=lambda: 7)
    with sensor:
        frames = [sensor.read(timeout_ms=1000) for _ in range(11)]
        assert now == pytest.approx(51.0)
        assert {body(frame).captured_ns for frame in frames} == {7}
        assert sensor.read(timeout_ms=40) is None
        assert now == pytest.approx(51.04)
        assert sensor.read(timeout_ms=1000) is not None
        assert now == pytest.approx(51.1)


@pytest.mark.parametrize("rate_hz", [0.01, 5.0, 1000.0])
def test_any_rate_will_do(rate_hz: float) -> None:
    with Synthetic(settings(rate_hz=rate_hz, persons=6)) as sensor:
        frames = [body(sensor.read(0)) for _ in range(2 * LOOP_FRAMES)]
    assert max(len(frame.track_ids) for frame in frames) == 6
