"""Tracks: sticky slots, random ids, time-outs, rows shared by sensors."""

from skelanon.stream.tracks import MAX_TRACKS, Rows, Tracks

SECOND = 1_000_000_000


def make(size: int = 1) -> Tracks:
    return Tracks(Rows(), size, SECOND)


def test_a_body_keeps_its_id_and_row_while_it_is_seen() -> None:
    tracks = make()
    first = tracks.update([72057594037931101], 0)[0]
    for frame in range(1, 100):
        again = tracks.update([72057594037931101], frame * SECOND)[0]
        assert again is first


def test_ids_are_random_and_new_for_each_track() -> None:
    ids: set[int] = set()
    for _ in range(50):
        tracks = make()
        ids.update(track.public_id for track in tracks.update([1, 2], 0))
        assert 1 not in ids
    assert len(ids) == 100


def test_a_body_unseen_for_longer_than_the_timeout_starts_anew() -> None:
    tracks = make()
    before = tracks.update([5], 0)[0]
    assert tracks.update([5], SECOND)[0] is before  # just within
    before.sample.fresh = False
    after = tracks.update([5], 2 * SECOND + 1)[0]
    assert after.public_id != before.public_id
    assert after.sample.fresh


def test_an_ended_track_frees_its_row_for_the_next_body() -> None:
    tracks = make()
    tracks.update([1, 2], 0)
    tracks.update([2], 2 * SECOND)  # 1 has ended, and 2 was unseen for as long: it starts anew
    assert len(tracks) == 1
    tracks.update([2, 3], 2 * SECOND + 1)
    assert len(tracks) == 2


def test_two_bodies_share_a_sample_and_keep_their_slots() -> None:
    tracks = make(size=2)
    one, two, three = tracks.update([1, 2, 3], 0)
    assert (one.sample is two.sample, one.slot, two.slot) == (True, 0, 1)
    assert (three.sample is one.sample, three.slot) == (False, 0)
    for tick in range(1, 5):
        tracks.update([2, 3], tick * SECOND // 2)
    two.sample.fresh = False
    (two_again, newcomer) = tracks.update([2, 9], 2 * SECOND + 2)
    assert two_again is two
    assert (newcomer.sample is two.sample, newcomer.slot) == (True, 0)  # the free slot beside 2
    assert not newcomer.sample.fresh  # the state that 2 shares goes on


def test_parting_ends_everything_and_resets_on_return() -> None:
    tracks = make(size=2)
    before = {track.public_id for track in tracks.update([1, 2], 0)}
    tracks.part(0)
    assert len(tracks) == 0
    after = {track.public_id for track in tracks.update([1, 2], 1)}
    assert before.isdisjoint(after)


def test_sensors_never_share_a_row() -> None:
    rows = Rows()
    ours, theirs = Tracks(rows, 1, SECOND), Tracks(rows, 1, SECOND)
    used = [t.sample.row for t in ours.update([1, 2], 0)] + [t.sample.row for t in theirs.update([1, 2], 0)]
    assert sorted(used) == [0, 1, 2, 3]
    ours.part(0)
    assert {t.sample.row for t in theirs.update([1, 2, 3], 1)} == {2, 3, 0}


def test_a_clock_that_is_set_back_ends_all_tracks() -> None:
    tracks = make()
    before = tracks.update([1], 100 * SECOND)[0].public_id
    assert tracks.update([1], 100 * SECOND - SECOND // 2)[0].public_id == before  # a small step back is none
    assert tracks.update([1], 50 * SECOND)[0].public_id != before


def test_a_flood_of_ids_under_a_clock_that_stands_still_is_bounded() -> None:
    tracks = make(size=2)
    for number in range(0, 6 * 200, 6):
        assert len({track.public_id for track in tracks.update(range(number, number + 6), 0)}) == 6
    assert len(tracks) == MAX_TRACKS
