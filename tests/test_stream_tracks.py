"""Tracks: sticky slots, random ids, time-outs, rows shared by sensors."""

from skelanon.stream.tracks import Rows, Tracks

SECOND = 1_000_000_000


class Resets(list[int]):
    """Rows that were reset, in order."""


def make(size: int = 1) -> tuple[Tracks, Resets, Rows]:
    resets = Resets()
    rows = Rows(resets.append)
    return Tracks(rows, size, SECOND), resets, rows


def test_a_body_keeps_its_id_and_row_while_it_is_seen() -> None:
    tracks, resets, _ = make()
    first = tracks.update([72057594037931101], 0)[0]
    for frame in range(1, 100):
        again = tracks.update([72057594037931101], frame * SECOND)[0]
        assert again is first
    assert resets == [0]


def test_ids_are_random_and_new_for_each_track() -> None:
    ids = set()
    for _ in range(50):
        tracks, _, _ = make()
        ids.update(track.public_id for track in tracks.update([1, 2], 0))
        assert 1 not in ids
    assert len(ids) == 100


def test_a_body_unseen_for_longer_than_the_timeout_starts_anew() -> None:
    tracks, resets, _ = make()
    before = tracks.update([5], 0)[0].public_id
    assert tracks.update([5], SECOND)[0].public_id == before  # just within
    assert tracks.update([5], 2 * SECOND + 1)[0].public_id != before
    assert resets == [0, 0]


def test_an_ended_track_frees_its_row_for_the_next_body() -> None:
    tracks, resets, _ = make()
    tracks.update([1, 2], 0)
    tracks.update([2], 2 * SECOND)  # 1 has ended, and 2 was unseen for as long: it starts anew
    assert len(tracks) == 1
    tracks.update([2, 3], 2 * SECOND + 1)
    assert len(tracks) == 2
    assert set(resets) == {0, 1}


def test_two_bodies_share_a_sample_and_keep_their_slots() -> None:
    tracks, resets, _ = make(size=2)
    one, two, three = tracks.update([1, 2, 3], 0)
    assert (one.sample is two.sample, one.slot, two.slot) == (True, 0, 1)
    assert (three.sample is one.sample, three.slot) == (False, 0)
    for tick in range(1, 5):
        tracks.update([2, 3], tick * SECOND // 2)
    (two_again, newcomer) = tracks.update([2, 9], 2 * SECOND + 2)
    assert two_again is two
    assert (newcomer.sample is two.sample, newcomer.slot) == (True, 0)  # the free slot beside 2
    assert resets == [0, 1]  # the state that 2 shares was not touched


def test_clear_ends_everything_and_resets_on_return() -> None:
    tracks, resets, _ = make(size=2)
    before = {track.public_id for track in tracks.update([1, 2], 0)}
    tracks.clear()
    assert len(tracks) == 0
    after = {track.public_id for track in tracks.update([1, 2], 1)}
    assert before.isdisjoint(after)
    assert resets == [0, 0]


def test_sensors_never_share_a_row() -> None:
    _, resets, rows = make()
    ours, theirs = Tracks(rows, 1, SECOND), Tracks(rows, 1, SECOND)
    used = [t.sample.row for t in ours.update([1, 2], 0)] + [t.sample.row for t in theirs.update([1, 2], 0)]
    assert sorted(used) == [0, 1, 2, 3]
    ours.clear()
    assert {t.sample.row for t in theirs.update([1, 2, 3], 1)} == {2, 3, 0}
    assert resets == [0, 1, 2, 3, 0]
