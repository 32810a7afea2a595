"""Windows: which frame and which body stand where, in both shapes."""

import dataclasses
import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skelanon.stream import window as window_module
from skelanon.stream.subscriber import ReceivedFrame
from skelanon.stream.window import MAX_BODIES, Window


def value(time: int, body: int, joint: int, channel: int) -> float:
    return time * 1000 + body * 100 + joint + channel / 4 + 1


def joints_of(time: int, body: int) -> np.ndarray:
    return np.array([[value(time, body, joint, c) for c in range(3)] for joint in range(25)], np.float32)


def frame(time: int, *ids: int, stream: str = "hall", epoch: int = 1) -> ReceivedFrame:
    """Every number in it says which time, body, joint and channel it is."""
    joints = np.stack([joints_of(time, body) for body in ids]) if ids else np.empty((0, 25, 3), np.float32)
    return ReceivedFrame(stream, epoch, time, 0, 0, 0, "ok" if ids else "empty", ids, joints, None, 0, 0)


def filled(length: int, *frames: ReceivedFrame) -> Window:
    window = Window(length)
    for each in frames:
        window.push(each)
    return window


def test_keypoint_is_bodies_by_frames_by_joints_by_channels() -> None:
    keypoint = filled(3, *(frame(t, 4, 2) for t in range(5))).keypoint()
    assert keypoint.shape == (2, 3, 25, 3)
    assert keypoint.dtype == np.float32
    for m, body in enumerate((4, 2)):
        for t, time in enumerate((2, 3, 4)):
            np.testing.assert_array_equal(keypoint[m, t], joints_of(time, body))


def test_nctvm_is_one_sample_of_channels_by_frames_by_joints_by_bodies() -> None:
    sample = filled(3, *(frame(t, 4, 2) for t in range(5))).nctvm()
    assert sample.shape == (1, 3, 3, 25, 2)
    assert sample.dtype == np.float32
    assert sample[0, 1, 2, 7, 0] == value(time=4, body=2, joint=7, channel=1)
    assert sample[0, 2, 0, 24, 1] == value(time=2, body=4, joint=24, channel=2)


def test_a_window_not_yet_full_begins_with_zeros() -> None:
    window = filled(4, frame(0, 1), frame(1, 1))
    assert (len(window), window.full) == (2, False)
    keypoint = window.keypoint()
    assert not keypoint[0, :2].any()
    np.testing.assert_array_equal(keypoint[0, 2:], [joints_of(0, 1), joints_of(1, 1)])
    window.push(frame(2, 1))
    window.push(frame(3, 1))
    window.push(frame(4, 1))
    assert (len(window), window.full) == (4, True)


def test_an_empty_window() -> None:
    window = Window(5)
    assert (window.ids, len(window), window.full) == ((), 0, False)
    assert window.keypoint().shape == (0, 5, 25, 3)
    assert window.nctvm().shape == (1, 3, 5, 25, 2)
    assert not window.nctvm().any()


def test_a_body_is_zero_where_it_was_not_seen_and_gone_when_never_seen() -> None:
    window = filled(3, frame(0, 1), frame(1, 2), frame(2))
    assert window.ids == (1, 2)
    keypoint = window.keypoint()
    assert [keypoint[0, t].any() for t in range(3)] == [True, False, False]
    assert [keypoint[1, t].any() for t in range(3)] == [False, True, False]
    window.push(frame(3))
    assert [*window.ids] == [2]
    window.push(frame(4, 1))
    assert [*window.ids] == [1]
    assert [window.keypoint()[0, t].any() for t in range(3)] == [False, False, True]


def test_nctvm_takes_the_most_complete_bodies_then_the_newest() -> None:
    window = filled(3, frame(0, 1), frame(1, 2, 3, 5), frame(2, 2, 3), frame(3, 4))
    assert window.ids == (2, 3, 5, 4)  # 1 has left the window
    last = {body: 3 if body == 4 else 2 if body in (2, 3) else 1 for body in window.ids}
    sample = window.nctvm(bodies=4)
    shown = [body for m in range(4) for body in last if (sample[0, 0, :, 0, m] == value(last[body], body, 0, 0)).any()]
    assert shown == [2, 3, 4, 5]
    np.testing.assert_array_equal(window.nctvm(), sample[..., :2])


def test_of_equal_bodies_the_one_nearest_the_origin_comes_first() -> None:
    for near, far in ((5, 9), (9, 5)):
        window = Window(3)
        for _ in range(3):
            both = frame(0, 5, 9)
            joints = np.stack([np.full((25, 3), 0.1 if body == near else 2.0, np.float32) for body in both.ids])
            window.push(dataclasses.replace(both, joints=joints))
        assert window.nctvm()[0, 0, 0, 0].tolist() == pytest.approx([0.1, 2.0]), (near, far)


def test_frames_yet_to_come_can_be_filled_by_repeating() -> None:
    window = filled(5, frame(0, 1), frame(1, 1))
    wanted = np.stack([joints_of(t, 1) for t in (0, 1, 0, 1, 0)])
    np.testing.assert_array_equal(window.nctvm(1, fill="repeat")[0, ..., 0].transpose(1, 2, 0), wanted)
    full = filled(2, frame(0, 1), frame(1, 1), frame(2, 1))
    np.testing.assert_array_equal(full.nctvm(fill="repeat"), full.nctvm())
    np.testing.assert_array_equal(Window(4).nctvm(fill="repeat"), Window(4).nctvm())


def test_what_is_handed_out_does_not_change_later() -> None:
    window = filled(2, frame(0, 1), frame(1, 1))
    keypoint, sample = window.keypoint(), window.nctvm()
    before = keypoint.copy(), sample.copy()
    window.push(frame(2, 1))
    np.testing.assert_array_equal(keypoint, before[0])
    np.testing.assert_array_equal(sample, before[1])


def test_a_restart_begins_anew() -> None:
    window = filled(2, frame(0, 1), frame(1, 1), frame(0, 2, epoch=2))
    assert (window.ids, len(window), window.full) == ((2,), 1, False)
    np.testing.assert_array_equal(window.keypoint()[0, 1], joints_of(0, 2))


def test_a_window_keeps_to_one_stream_until_cleared() -> None:
    window = filled(2, frame(0, 1))
    with pytest.raises(ValueError, match="a window of stream 'hall' got a frame of 'door': use one for each"):
        window.push(frame(0, 1, stream="door"))
    assert window.ids == (1,)
    window.clear()
    window.push(frame(0, 3, stream="door"))
    assert (window.ids, len(window)) == ((3,), 1)


@pytest.mark.parametrize("length", [0, -3])
def test_a_window_has_frames(length: int) -> None:
    with pytest.raises(ValueError, match=f"a window of {length} frames: use 1 or more"):
        Window(length)


def test_ever_new_bodies_do_not_fill_memory() -> None:
    window = filled(1000, *(frame(t, 0, *range(1 + t * 30, 31 + t * 30)) for t in range(6)))
    assert len(window.ids) == MAX_BODIES
    assert {0, *range(151, 181)} <= set(window.ids)  # the newest stay, and the one that was always there


@settings(max_examples=60)
@given(st.integers(1, 5), st.lists(st.sets(st.integers(0, 3)), max_size=14))
def test_a_window_is_the_last_frames(length: int, seen: list[set[int]]) -> None:
    """Against the plainest model: a list of frames."""
    window = filled(length, *(frame(t, *ids) for t, ids in enumerate(seen)))
    kept = list(enumerate(seen))[-length:]
    assert set(window.ids) == {body for _, ids in kept for body in ids}
    expected = np.zeros((len(window.ids), length, 25, 3), np.float32)
    for t, (time, ids) in enumerate(kept, start=length - len(kept)):
        for body in ids:
            expected[window.ids.index(body), t] = joints_of(time, body)
    np.testing.assert_array_equal(window.keypoint(), expected)
    shown = window.nctvm(bodies=4)[0].transpose(3, 1, 2, 0)  # (M, T, V, C)
    assert sorted(map(bytes, shown[: len(expected)])) == sorted(map(bytes, expected))
    assert not shown[len(expected) :].any()


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(window_module).failed == 0
    assert doctest.testmod(window_module).attempted > 0
