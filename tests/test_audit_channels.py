"""Side channels: each tells what is hidden in it, by its own name, and nothing where nothing is hidden."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs skelanon[train]")

from numpy.typing import NDArray

from skelanon.audit.attackers.attacker import Lesson
from skelanon.audit.attackers.channel import ChannelAttacker
from skelanon.audit.channels import CHANNELS, channel_features
from skelanon.audit.published import Published
from skelanon.audit.statistics import wilson
from skelanon.audit.view import View
from skelanon.sensors.body import ancestor_matrix, bone_lengths, rest_directions
from skelanon.sensors.joints import INDEX

Floats = NDArray[np.float32]
Plant = Callable[[dict[str, Any], int], None]

CLASSES, LEARNED, TRIED = 8, 200, 160
BODY = ancestor_matrix() @ (rest_directions() * bone_lengths()[:, None])
LABELS = np.random.default_rng(1).permutation(np.arange(LEARNED + TRIED) % CLASSES)
HERE = np.array([0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 13, 14])
"""Frames with the main body. The second body is there in the first six frames and in 9."""


def sequence(rng: np.random.Generator, place: NDArray[np.float64] | None = None) -> dict[str, Any]:
    """The arrays of one sequence: a main body and a second one, of random poses, ids and times that say nothing."""
    frames = int(rng.integers(16, 30))
    here = np.concatenate([HERE, np.arange(15, frames)])
    other = np.array([0, 1, 2, 3, 4, 5, 9])
    root = rng.normal((0.2, 0.0, 3.0), 0.2) if place is None else place
    root = root + rng.normal(0, 0.01, (frames, 1, 3))
    pose = BODY + rng.normal(0, 0.02, (frames, 25, 3))
    poses = root.astype(np.float32) + pose.astype(np.float32)  # rounds as a model does
    ids = rng.integers(0, 2**32, 2, dtype=np.uint32)
    rows = sorted([(number, 0) for number in here] + [(number, 1) for number in other], key=lambda row: row[0])
    frame, body = np.array(rows).T
    return {
        "joints": np.where(body[:, None, None] == 0, poses[frame], poses[frame] + np.float32(1.3)),
        "frame": frame,
        "body": body,
        "id": ids[body],
        "tracking": rng.choice(3, (len(rows), 25), p=(0.1, 0.2, 0.7)).astype(np.uint8),
        "captured_ns": 1_700_000_000_000_000_000 + (np.arange(frames) * (1e9 / 30)).astype(np.int64),
    }


def release(sequences: list[dict[str, Any]]) -> Published:
    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([one[name] for one in sequences])

    return Published(
        joined("joints"),
        np.cumsum([0, *(len(one["joints"]) for one in sequences)]),
        joined("frame"),
        joined("id"),
        joined("tracking"),
        np.cumsum([0, *(len(one["captured_ns"]) for one in sequences)]),
        joined("captured_ns"),
    )


def planted(plant: Plant, seed: int = 0) -> Published:
    rng = np.random.default_rng(seed)
    sequences = [sequence(rng) for _ in LABELS]
    for one, label in zip(sequences, LABELS, strict=True):
        plant(one, int(label))
    return release(sequences)


def accuracy(features: dict[str, Floats], channel: str, labels: NDArray[np.int64] = LABELS, seed: int = 0) -> float:
    """Of an attacker that learned on the first sequences, on the others."""
    nothing = np.zeros((len(labels), 1, 25, 3), np.float32)
    view = View(nothing, nothing[:, :, 0], {channel: features[channel]})
    train, kept, test = np.split(np.arange(len(labels)), (LEARNED - 20, LEARNED))
    attacker = ChannelAttacker(channel, seed)
    attacker.learn(Lesson(view[train], labels[train], view[kept], labels[kept], CLASSES))
    return float((attacker.tell(view[test]).argmax(1) == labels[test]).mean())


def highest_by_chance() -> float:
    prior = np.bincount(LABELS[LEARNED:]).max() / TRIED
    return wilson(prior, TRIED).high


def nothing(one: dict[str, Any], label: int) -> None:
    pass


def main(one: dict[str, Any]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.flatnonzero(one["body"] == 0)
    return found


def in_ids(one: dict[str, Any], label: int) -> None:
    one["id"] = np.where(one["body"] == 0, one["id"] // 8 * 8 + label, one["id"]).astype(np.uint32)


def in_remainders(one: dict[str, Any], label: int) -> None:
    one["id"] = np.where(one["body"] == 0, one["id"] // 22 * 11 + label, one["id"]).astype(np.uint32)


def in_timestamps(one: dict[str, Any], label: int) -> None:
    one["captured_ns"] = one["captured_ns"] // 8 * 8 + label


def in_tracking(one: dict[str, Any], label: int) -> None:
    one["tracking"][:, :3] = 2 - (label >> np.arange(3) & 1)


def in_gaps(one: dict[str, Any], label: int) -> None:
    stay = np.ones(len(one["frame"]), np.bool_)
    stay[main(one)[label]] = False
    for name in ("joints", "frame", "body", "id", "tracking"):
        one[name] = one[name][stay]


def in_duration(one: dict[str, Any], label: int) -> None:
    count = len(one["captured_ns"]) // 8 * 8 + 8 + label
    one["captured_ns"] = 1_700_000_000_000_000_000 + (np.arange(count) * (1e9 / 30)).astype(np.int64)
    last = len(one["frame"]) - 1
    more = np.arange(one["frame"][last] + 1, count)  # the main body stays to the end
    one["tracking"][:] = 2  # or shares of the frames would be told from each other
    for name in ("joints", "body", "id", "tracking"):
        one[name] = np.concatenate([one[name], np.repeat(one[name][last:], len(more), 0)])
    one["frame"] = np.concatenate([one["frame"], more])


def in_place(one: dict[str, Any], label: int) -> None:
    one["joints"] = one["joints"] - one["joints"][main(one)[0], 0] + np.float32(0.4 * label)


def in_last_bits(one: dict[str, Any], label: int) -> None:
    words = one["joints"].reshape(-1, 75).view(np.uint32)
    words[:, 40] = words[:, 40] & ~np.uint32(7) | np.uint32(label)


def in_order(one: dict[str, Any], label: int) -> None:
    """Whether the main body comes first in frames 1, 2 and 3, where both are."""
    for number, swap in zip((1, 2, 3), label >> np.arange(3) & 1, strict=True):
        pair = np.flatnonzero(one["frame"] == number)
        for name in ("joints", "body", "id", "tracking"):
            one[name][pair] = one[name][pair[::-1]] if swap else one[name][pair]


PLANTS = [
    ("ids", in_ids), ("ids", in_remainders), ("order", in_order), ("timestamps", in_timestamps),
    ("tracking states", in_tracking), ("gaps", in_gaps), ("duration", in_duration), ("place and stride", in_place),
    ("last bits", in_last_bits),
]  # fmt: skip


@pytest.fixture(scope="module")
def silent() -> dict[str, Floats]:
    """Features of a release in which nothing is hidden."""
    return channel_features(planted(nothing))


@pytest.mark.parametrize(("channel", "plant"), PLANTS)
def test_a_channel_tells_what_is_hidden_in_it(channel: str, plant: Plant, silent: dict[str, Floats]) -> None:
    features = channel_features(planted(plant))
    assert accuracy(features, channel) > 0.9
    for other in set(CHANNELS) - {channel, "place and stride", "last bits"}:  # these change with what is not there
        changed = (features[other] != silent[other]).any(1)
        assert not changed.any() or accuracy(features, other) <= highest_by_chance(), other


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_channel_in_which_nothing_is_hidden_tells_nothing(channel: str, silent: dict[str, Floats]) -> None:
    means = [accuracy(silent, channel, np.random.default_rng(seed).permutation(LABELS), seed) for seed in (0, 1)]
    assert np.mean(means) <= highest_by_chance()


def test_last_bits_do_not_tell_the_place() -> None:
    """Coordinates that are small beside the root's end in zeros, as float32 rounds."""
    rng = np.random.default_rng(0)
    places = np.column_stack([0.15 * np.arange(CLASSES) - 0.5, np.zeros(CLASSES), 2 + 0.3 * np.arange(CLASSES)])
    features = channel_features(release([sequence(rng, places[label]) for label in LABELS]))
    assert accuracy(features, "place and stride") > 0.9
    assert accuracy(features, "last bits") <= highest_by_chance()


def test_last_bits_of_single_frames_tell() -> None:
    def in_third_frame(one: dict[str, Any], label: int) -> None:
        words = one["joints"].reshape(-1, 75).view(np.uint32)
        words[main(one)[2]] = words[main(one)[2]] & ~np.uint32(7) | np.uint32(label)

    assert accuracy(channel_features(planted(in_third_frame)), "last bits") > 0.9


def test_numbers_are_estimated_from_a_channel(silent: dict[str, Floats]) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 300)).astype(np.float32)  # so many that most are not looked at
    wanted = (features[:, 7] + 1.7).astype(np.float64)
    nothing = np.zeros((300, 1, 25, 3), np.float32)
    view = View(nothing, nothing[:, :, 0], {"ids": features})
    train, kept, test = np.split(np.arange(300), (180, 200))
    attacker = ChannelAttacker("ids", 0)
    attacker.learn(Lesson(view[train], wanted[train], view[kept], wanted[kept], 0))
    estimates = attacker.tell(view[test])
    assert estimates.shape == (100, 1)
    assert np.corrcoef(estimates[:, 0], wanted[test])[0, 1] > 0.9


def test_features_are_finite_where_little_or_nothing_was_published() -> None:
    full = sequence(np.random.default_rng(0))
    rows = ("joints", "frame", "body", "id", "tracking")
    nobody = full | {name: full[name][:0] for name in rows}
    no_frames = nobody | {"captured_ns": full["captured_ns"][:0]}
    one_row = full | {name: full[name][:1] for name in rows} | {"captured_ns": full["captured_ns"][:1]}
    for sequences in ([full, nobody, no_frames, one_row], [nobody, no_frames], [no_frames, no_frames]):
        features = channel_features(release(sequences))
        assert tuple(features) == CHANNELS
        for name, values in features.items():
            assert values.dtype == np.float32, name
            assert values.shape == (len(sequences), features[name].shape[1]), name
            assert np.isfinite(values).all(), name


@pytest.mark.parametrize("channel", CHANNELS)
def test_an_attacker_survives_features_that_never_change(channel: str) -> None:
    same = [sequence(np.random.default_rng(0))] * len(LABELS)
    assert accuracy(channel_features(release(same)), channel) <= highest_by_chance()


def test_regular_times_do_not_tell_the_duration() -> None:
    rng = np.random.default_rng(0)
    features = channel_features(release([sequence(rng) for _ in range(12)]))
    assert len(np.unique(features["duration"][:, 0])) > 5
    assert (features["timestamps"] == features["timestamps"][0]).all()


def test_order_counts_places_within_frames() -> None:
    one = sequence(np.random.default_rng(0))
    in_order(one, 0b101)
    (order,) = channel_features(release([one]))["order"]
    # both are there in frames 0 1 2 3 5; the main body is second in 1 and 3
    assert order[:5].tolist() == [0, 1, 0, 1, 0]
    assert order[8] == 0  # in the last of them
    assert order[9] == order[10] == pytest.approx(2 / 5)  # place, and being the last
    assert order[11] == 4  # changes
    assert order[12] == 2  # bodies


def test_gaps_are_where_the_main_body_is_missing() -> None:
    one = sequence(np.random.default_rng(0))
    (gaps,) = channel_features(release([one]))["gaps"]
    # 4, 9, 12; in 4 and 9 the second body is there
    assert gaps[:5].tolist() == [3, 3, 1, 0, 0]
    assert gaps[5] == 1
    assert gaps[6:].tolist() == [4, 9, 12, -1]


def test_stride_has_length_and_rhythm() -> None:
    """Ankles that part by up to 0.6 m, 1.5 times a second: the distance between them has twice that rhythm."""
    one = sequence(np.random.default_rng(0))
    times = np.arange(90) / 30
    joints = np.repeat(BODY[None].astype(np.float32), 90, 0)
    swing = 0.3 * np.sin(2 * np.pi * 1.5 * times)
    for joint, way in ((INDEX["AnkleLeft"], 1), (INDEX["AnkleRight"], -1)):
        joints[:, joint] = np.array([0, -0.9, 0]) + np.outer(way * swing, [0, 0, 1])
    one |= {
        "joints": joints, "frame": np.arange(90), "id": np.ones(90, np.uint32), "tracking": np.ones((90, 25), np.uint8),
        "captured_ns": (times * 1e9).astype(np.int64),
    }  # fmt: skip
    (place,) = channel_features(release([one]))["place and stride"]
    longest, pace, rhythm, strength = place[-4:]
    assert longest == pytest.approx(0.6, abs=0.01)
    assert pace == 0
    assert rhythm == pytest.approx(3.0, abs=0.15)
    assert strength > 0.05
