"""Bodies that are published for whole slots of frames: when somebody leaves does not show."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skelanon.sensors.frame import BodyFrame, no_bodies
from skelanon.stream.anonymizer import Anonymizer, Outcome
from skelanon.stream.latency import Latencies, Stopwatch

Frames = Callable[..., BodyFrame]
Runners = Callable[..., Any]  # makes a ScriptedRunner of conftest.py

FRAME_NS = 33_333_333


def published(anonymizer: Anonymizer, frames: Sequence[BodyFrame], together: int = 1) -> list[Outcome]:
    """The frames of one sensor, so many in a call."""
    watch, outcomes = Stopwatch(Latencies()), []
    for start in range(0, len(frames), together):
        outcomes += anonymizer.anonymize([(0, frame) for frame in frames[start : start + together]], watch)
    return outcomes


def stay(body_frame: Frames, frames: int, absent: int, first: int = 0) -> list[BodyFrame]:
    """A body that is there for some frames, and then an empty room."""
    there = [body_frame(7, captured_ns=(first + number) * FRAME_NS) for number in range(frames)]
    return there + [no_bodies((first + frames + number) * FRAME_NS) for number in range(absent)]


@pytest.mark.parametrize("together", [1, 5, 64])
@pytest.mark.parametrize(("frames", "shown"), [(1, 8), (7, 8), (8, 8), (9, 16), (40, 40), (41, 48)])
def test_a_body_is_there_for_whole_slots(
    body_frame: Frames, scripted_runner: Runners, frames: int, shown: int, together: int
) -> None:
    anonymizer = Anonymizer(scripted_runner(presence_frames=8), sensors=1)
    outcomes = published(anonymizer, stay(body_frame, frames, absent=60), together)
    counts = [len(outcome.frame.bodies) for outcome in outcomes]
    assert counts == [1] * shown + [0] * (len(outcomes) - shown)
    assert [outcome.frame.state for outcome in outcomes] == ["ok"] * shown + ["empty"] * (len(outcomes) - shown)
    assert len({body.id for outcome in outcomes for body in outcome.frame.bodies}) == 1
    assert {outcome.withheld for outcome in outcomes} == {0}


def test_the_model_goes_on_seeing_what_was_seen_last(body_frame: Frames, scripted_runner: Runners) -> None:
    runner = scripted_runner(presence_frames=4)
    frames = stay(body_frame, 2, absent=3)
    last = frames[1].joints.copy()
    anonymizer = Anonymizer(runner, sensors=1)
    published(anonymizer, frames[:2])
    frames[1].joints[:] = 9.0  # drivers reuse their buffers
    published(anonymizer, frames[2:])
    assert [fresh for _, fresh, _, _ in runner.calls] == [[True], [False], [False], [False]]
    assert {tuple(rows) for rows, _, _, _ in runner.calls} == {(0,)}
    for _, _, joints, _ in runner.calls[1:]:
        assert np.array_equal(joints[0, 0], last[0])


def test_nothing_tells_a_body_that_is_held_from_one_that_stands_still(
    body_frame: Frames, scripted_runner: Runners
) -> None:
    still = body_frame(7)
    still.tracking[0, :5] = (0, 1, 2, 1, 0)
    frames = [BodyFrame(number * FRAME_NS, still.joints, still.tracking, (7,)) for number in range(16)]
    leaves = [*frames[:11], *(no_bodies(frame.captured_ns) for frame in frames[11:])]
    shown = []
    for some in (frames, leaves):
        outcomes = published(Anonymizer(scripted_runner(presence_frames=16), sensors=1), some)
        shown.append(
            [(o.frame.state, o.frame.captured_ns, [(b.joints, b.tracking) for b in o.frame.bodies]) for o in outcomes]
        )
    assert shown[0] == shown[1]


def test_gaps_of_a_body_do_not_show(body_frame: Frames, scripted_runner: Runners) -> None:
    frames = stay(body_frame, 16, absent=4)
    for number in (3, 4, 5, 9):
        frames[number] = no_bodies(frames[number].captured_ns)
    frames[12].joints[0, 6] = np.nan
    outcomes = published(Anonymizer(scripted_runner(presence_frames=16), sensors=1), frames)
    assert [len(outcome.frame.bodies) for outcome in outcomes] == [1] * 16 + [0] * 4
    assert len({outcome.frame.bodies[0].id for outcome in outcomes[:16]}) == 1
    assert all(np.isfinite(np.frombuffer(outcome.frame.bodies[0].joints, "<f4")).all() for outcome in outcomes[:16])


def test_a_slot_outlasts_the_tracks_timeout(body_frame: Frames, scripted_runner: Runners) -> None:
    anonymizer = Anonymizer(scripted_runner(presence_frames=90), sensors=1, track_timeout_s=0.1)
    outcomes = published(anonymizer, stay(body_frame, 5, absent=100))
    assert [len(outcome.frame.bodies) for outcome in outcomes] == [1] * 90 + [0] * 15
    again = published(anonymizer, stay(body_frame, 1, absent=0, first=110))
    assert again[0].frame.bodies[0].id != outcomes[0].frame.bodies[0].id


def test_who_comes_back_within_the_slot_is_the_same(body_frame: Frames, scripted_runner: Runners) -> None:
    anonymizer = Anonymizer(scripted_runner(presence_frames=60), sensors=1, track_timeout_s=0.1)
    frames = [*stay(body_frame, 5, absent=40), *stay(body_frame, 5, absent=20, first=45)]
    outcomes = published(anonymizer, frames)
    assert [len(outcome.frame.bodies) for outcome in outcomes] == [1] * 60 + [0] * 10
    assert len({body.id for outcome in outcomes for body in outcome.frame.bodies}) == 1


def test_bodies_have_slots_of_their_own(body_frame: Frames, scripted_runner: Runners) -> None:
    at = [body_frame(1, 2, captured_ns=number * FRAME_NS) for number in range(3)]
    at += [body_frame(2, captured_ns=number * FRAME_NS) for number in range(3, 9)]
    at += [no_bodies(number * FRAME_NS) for number in range(9, 20)]
    for bodies_per_sample in (1, 2):
        runner = scripted_runner(presence_frames=8, bodies_per_sample=bodies_per_sample)
        outcomes = published(Anonymizer(runner, sensors=1), at)
        assert [len(outcome.frame.bodies) for outcome in outcomes] == [2] * 8 + [1] * 8 + [0] * 4


@pytest.mark.parametrize("bodies_per_sample", [1, 2])
@pytest.mark.parametrize("jump_ns", [0, 10**12, -(10**12)])
def test_a_body_outlasts_its_recording(
    body_frame: Frames, scripted_runner: Runners, bodies_per_sample: int, jump_ns: int
) -> None:
    """Five frames, then another recording of which the sensor's id, and maybe the clock, are others'."""
    runner = scripted_runner(presence_frames=12, bodies_per_sample=bodies_per_sample)
    frames = stay(body_frame, 5, absent=0, first=10**5)
    later_ns = jump_ns + (10**5 + 5) * FRAME_NS
    following = [body_frame(7, captured_ns=later_ns + number * FRAME_NS) for number in range(3)]
    following[0] = replace(following[0], discontinuity=True)
    following += [no_bodies(later_ns + number * FRAME_NS) for number in range(3, 20)]
    outcomes = published(Anonymizer(runner, sensors=1), [*frames, *following])
    ids = [{body.id for body in outcome.frame.bodies} for outcome in outcomes]
    first, second = ids[0], ids[-9] - ids[0]
    assert ids == [first] * 5 + [first | second] * 7 + [second] * 5 + [set()] * 8
    assert (len(first), len(second)) == (1, 1)


def test_without_slots_nobody_outlasts_a_recording(body_frame: Frames, scripted_runner: Runners) -> None:
    frames = [*stay(body_frame, 5, absent=0), no_bodies(7 * FRAME_NS, discontinuity=True)]
    outcomes = published(Anonymizer(scripted_runner(), sensors=1), frames)
    assert [len(outcome.frame.bodies) for outcome in outcomes] == [1] * 5 + [0]


def test_a_held_body_that_fails_the_guard_is_withheld(body_frame: Frames, scripted_runner: Runners) -> None:
    runner = scripted_runner(presence_frames=8)
    anonymizer = Anonymizer(runner, sensors=1)
    frames = stay(body_frame, 2, absent=3)
    published(anonymizer, frames[:2])
    runner.model = lambda joints: joints  # what it holds is raw
    outcomes = published(anonymizer, frames[2:])
    assert [(outcome.frame.bodies, outcome.withheld) for outcome in outcomes] == [((), 1)] * 3
