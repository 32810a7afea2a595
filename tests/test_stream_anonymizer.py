"""The anonymizer: what is withheld, what becomes a fault, and that bodies keep their places."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelanon.export.runner import Floats
from skelanon.sensors.frame import BodyFrame, no_bodies
from skelanon.stream.anonymizer import Anonymizer, Outcome
from skelanon.stream.anonymous import AnonymousFrame, Body, without_bodies
from skelanon.stream.latency import Latencies, Stopwatch

Frames = Callable[..., BodyFrame]
Runners = Callable[..., Any]  # makes a ScriptedRunner of conftest.py


def anonymize(anonymizer: Anonymizer, *frames: BodyFrame) -> list[Outcome]:
    """One call with one frame of each of the first sensors."""
    return anonymizer.anonymize(list(enumerate(frames)), Stopwatch(Latencies()))


def joints_of(outcome: Outcome) -> Floats:
    return np.frombuffer(b"".join(body.joints for body in outcome.frame.bodies), "<f4").reshape(-1, 25, 3)


def test_bodies_of_all_sensors_go_through_one_call(body_frame: Frames, scripted_runner: Runners) -> None:
    runner = scripted_runner()
    first, second = body_frame(1, 2), body_frame(1)
    outcomes = anonymize(Anonymizer(runner, sensors=3), first, second, no_bodies(5))
    assert len(runner.calls) == 1
    assert [len(outcome.frame.bodies) for outcome in outcomes] == [2, 1, 0]
    assert [outcome.frame.state for outcome in outcomes] == ["ok", "ok", "empty"]
    expected = np.sort(first.joints * np.float32(0.9) + np.float32(0.05), axis=0)
    assert np.array_equal(np.sort(joints_of(outcomes[0]), axis=0), expected)
    assert np.allclose(joints_of(outcomes[1])[0], second.joints[0] * np.float32(0.9) + 0.05, atol=1e-6)


def test_an_empty_room_calls_no_model(scripted_runner: Runners) -> None:
    runner = scripted_runner()
    (outcome,) = anonymize(Anonymizer(runner, sensors=1), no_bodies(7))
    assert (outcome.frame.state, outcome.frame.captured_ns, runner.calls) == ("empty", 7, [])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_body_with_an_impossible_joint_is_withheld_alone(
    body_frame: Frames, scripted_runner: Runners, value: float
) -> None:
    runner = scripted_runner()
    frame = body_frame(1, 2, 3)
    frame.joints[1, 9, 1] = value
    (outcome,) = anonymize(Anonymizer(runner, sensors=1), frame)
    assert (outcome.frame.state, len(outcome.frame.bodies), outcome.withheld) == ("ok", 2, 1)
    assert np.isfinite(runner.calls[0][2]).all()  # the model never saw it


@pytest.mark.parametrize("joint", [0, 13])
def test_a_body_with_a_missing_joint_is_withheld(body_frame: Frames, scripted_runner: Runners, joint: int) -> None:
    frame = body_frame(1)
    frame.joints[0, joint] = 0.0
    runner = scripted_runner()
    (outcome,) = anonymize(Anonymizer(runner, sensors=1), frame)
    assert (outcome.frame.state, outcome.frame.bodies, outcome.withheld, runner.calls) == ("ok", (), 1, [])


def fails(_: Floats) -> Floats:
    raise MemoryError("with a joint: 1.2345")


def wrong_shape(joints: Floats) -> Floats:
    return joints[:, :, :24]


def wrong_type(joints: Floats) -> Any:
    return joints.astype(np.float64)


@pytest.mark.parametrize("model", [fails, wrong_shape, wrong_type])
def test_a_failing_model_makes_fault_frames_and_recovers(
    body_frame: Frames, scripted_runner: Runners, model: Callable[[Floats], Floats], caplog: pytest.LogCaptureFixture
) -> None:
    runner = scripted_runner()
    working = runner.model
    anonymizer = Anonymizer(runner, sensors=2)
    runner.model = model
    for _ in range(3):
        outcomes = anonymize(anonymizer, body_frame(1, 2), no_bodies(0))
        assert [(o.frame.state, o.frame.bodies, o.withheld) for o in outcomes] == [("fault", (), 2), ("empty", (), 0)]
    assert len(caplog.records) == 1  # not one for each frame
    assert "1.2345" not in caplog.text
    runner.model = working
    assert len(anonymize(anonymizer, body_frame(1, 2))[0].frame.bodies) == 2


def test_a_runner_that_returns_its_input_publishes_nothing(body_frame: Frames, scripted_runner: Runners) -> None:
    anonymizer = Anonymizer(scripted_runner(lambda joints: joints), sensors=1)
    (outcome,) = anonymize(anonymizer, body_frame(1, 2))
    assert (outcome.frame.state, outcome.frame.bodies, outcome.withheld) == ("ok", (), 2)


def test_a_runner_that_covers_up_its_input_publishes_nothing(body_frame: Frames, scripted_runner: Runners) -> None:
    def cover_up(joints: Floats) -> Floats:
        stolen = joints.copy()
        joints[:] = 7.0
        return stolen

    frame = body_frame(1, 2)
    before = frame.joints.copy()
    for bodies_per_sample in (1, 2):
        runner = scripted_runner(cover_up, bodies_per_sample=bodies_per_sample)
        (outcome,) = anonymize(Anonymizer(runner, sensors=1), frame)
        assert (outcome.frame.bodies, outcome.withheld) == ((), 2)
        assert np.array_equal(frame.joints, before)


def test_what_is_published_shares_no_memory_with_model_or_sensor(body_frame: Frames, scripted_runner: Runners) -> None:
    buffer = np.empty((1, 1, 25, 3), np.float32)

    def into_buffer(joints: Floats) -> Floats:
        buffer[:] = joints * np.float32(0.9)
        return buffer

    (outcome,) = anonymize(Anonymizer(scripted_runner(into_buffer), sensors=1), body_frame(1))
    before = outcome.frame.bodies[0].joints
    buffer[:] = 7.0
    assert np.frombuffer(before, "<f4").max() < 7.0


def test_the_published_order_says_nothing_of_the_sensors_order(body_frame: Frames, scripted_runner: Runners) -> None:
    firsts = set()
    for _ in range(40):
        (outcome,) = anonymize(Anonymizer(scripted_runner(), sensors=1), body_frame(0, 3))
        ids = [body.id for body in outcome.frame.bodies]
        assert ids == sorted(ids)
        firsts.add(joints_of(outcome)[0, 0, 0] < 0)
    assert firsts == {True, False}  # body 0 stands to the left; 40 runs alike are one in 2^39


def test_two_bodies_keep_their_slots_when_one_leaves(body_frame: Frames, scripted_runner: Runners) -> None:
    runner = scripted_runner(bodies_per_sample=2)
    anonymizer = Anonymizer(runner, sensors=1)
    both, one = body_frame(5, 6), body_frame(6, captured_ns=33_000_000)
    anonymize(anonymizer, both)
    anonymize(anonymizer, one)
    (_, fresh, joints, present), (_, fresh_later, later, present_later) = runner.calls
    assert (fresh, fresh_later) == ([True], [False])
    assert np.array_equal(joints[0], both.joints)
    assert (present.tolist(), present_later.tolist()) == ([[1.0, 1.0]], [[0.0, 1.0]])
    assert np.array_equal(later[0, 1], one.joints[0])
    assert not later[0, 0].any()


def test_a_discontinuity_starts_new_tracks(body_frame: Frames, scripted_runner: Runners) -> None:
    runner = scripted_runner()
    anonymizer = Anonymizer(runner, sensors=1)
    ids = [
        anonymize(anonymizer, frame)[0].frame.bodies[0].id
        for frame in (body_frame(1), body_frame(1, captured_ns=1), body_frame(1, captured_ns=2, discontinuity=True))
    ]
    assert ids[0] == ids[1] != ids[2]
    assert [fresh for _, fresh, _, _ in runner.calls] == [[True], [False], [True]]


def test_frames_of_one_sensor_go_in_order_of_time(body_frame: Frames, scripted_runner: Runners) -> None:
    runner = scripted_runner(bodies_per_sample=2)
    frames = [(sensor, body_frame(1, 2, captured_ns=time)) for time in range(3) for sensor in range(2)]
    outcomes = Anonymizer(runner, sensors=2).anonymize(frames, Stopwatch(Latencies()))
    ((rows, fresh, joints, _),) = runner.calls
    assert (rows, fresh) == ([0, 1, 0, 1, 0, 1], [True, True, False, False, False, False])
    assert all(np.array_equal(sample, frame.joints) for sample, (_, frame) in zip(joints, frames, strict=True))
    assert [outcome.frame.captured_ns for outcome in outcomes] == [0, 0, 1, 1, 2, 2]


def test_a_track_whose_first_call_failed_is_still_fresh(body_frame: Frames, scripted_runner: Runners) -> None:
    runner = scripted_runner()
    working, runner.model = runner.model, fails
    anonymizer = Anonymizer(runner, sensors=1)
    anonymize(anonymizer, body_frame(1))
    runner.model = working
    for time in (1, 2):
        anonymize(anonymizer, body_frame(1, captured_ns=time))
    assert [fresh for _, fresh, _, _ in runner.calls] == [[True], [True], [False]]


def test_tracking_states_pass_clamped_or_not_at_all(body_frame: Frames, scripted_runner: Runners) -> None:
    frame = body_frame(1)
    frame.tracking[0, :4] = (0, 1, 2, 255)
    (outcome,) = anonymize(Anonymizer(scripted_runner(), sensors=1), frame)
    assert outcome.frame.bodies[0].tracking == bytes([0, 1, 2, 2]) + bytes([2]) * 21
    (outcome,) = anonymize(Anonymizer(scripted_runner(), sensors=1, tracking=False), frame)
    assert outcome.frame.bodies[0].tracking == b""


def test_nobody_else_makes_an_anonymous_frame_with_bodies() -> None:
    body = Body(1, bytes(300), b"")
    with pytest.raises(TypeError, match="only the anonymizer"):
        AnonymousFrame(object(), 0, "ok", (body,))
    with pytest.raises(AttributeError, match="does not change"):
        without_bodies(0, "empty").bodies = (body,)
    with pytest.raises(TypeError, match="cannot be subclassed"):
        type("Leak", (AnonymousFrame,), {})


def test_the_seal_is_imported_by_the_anonymizer_alone() -> None:
    root = Path(__file__).resolve().parents[1]
    holders = set()
    for path in set(root.glob("*/*.py")) - set(root.glob("tests/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.alias | ast.Name | ast.Attribute):
                name = node.name if isinstance(node, ast.alias) else getattr(node, "id", getattr(node, "attr", ""))
                if name == "_SEAL":
                    holders.add(path.relative_to(root).as_posix())
    assert holders == {"stream/anonymous.py", "stream/anonymizer.py"}
