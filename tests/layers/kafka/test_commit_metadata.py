"""What stands beside a committed offset: what it says is true, and what fits is kept."""

from hypothesis import given, settings
from hypothesis import strategies as st

from acked.layers.kafka._commit_metadata import (
    LIMIT,
    MetadataLimit,
    read_metadata,
    spare_records,
    written_metadata,
)

ROOM = MetadataLimit().room
offsets = st.integers(min_value=0, max_value=2**40)


@given(offsets, st.sets(st.integers(0, 500)), st.integers(0, 500))
def test_what_fits_says_exactly_what_is_settled(
    committed: int, unsettled: set[int], highest: int
) -> None:
    owed = sorted(committed + distance for distance in unsettled)
    text, kept = written_metadata(committed, committed + highest, owed, ROOM)
    metadata = read_metadata(committed, text)
    assert kept == committed + highest
    for offset in range(committed, committed + 600):
        assert metadata.covers(offset) == (offset <= committed + highest and offset not in owed)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=20),
    st.integers(1, 2500),
    st.integers(0, LIMIT),
)
def test_what_does_not_fit_is_left_out_from_the_end_and_nothing_owed_is_called_settled(
    distances: list[int], count: int, characters: int
) -> None:
    owed, offset = [], 1000
    for distance in distances * (count // len(distances)):
        offset += distance
        owed.append(offset)
    text, kept = written_metadata(1000, offset + 1, owed, MetadataLimit(characters).room)
    assert len(text) <= characters
    metadata = read_metadata(1000, text)
    assert metadata.highest == kept
    assert not any(metadata.covers(one) for one in owed)
    settled = set(range(1000, kept + 1, 97)) - set(owed)
    assert all(map(metadata.covers, settled))


@settings(deadline=None)
@given(st.data(), st.integers(0, 300), st.lists(st.integers(1, 200), max_size=300))
def test_of_what_may_be_read_every_settlement_is_kept(
    data: st.DataObject, characters: int, distances: list[int]
) -> None:
    """Whatever is settled in whatever order, and however little room there is."""
    room = MetadataLimit(characters).room
    committed, last, unsettled, settled = 1000, 999, list[int](), set[int]()
    for distance in distances:
        if spare_records(len(unsettled), last - committed, room) > 0:
            last += distance
            unsettled.append(last)
        elif unsettled:
            done = data.draw(st.sampled_from(unsettled))
            unsettled.remove(done)
            settled.add(done)
            head = unsettled[0] if unsettled else last + 1
            committed = max([committed, *(one + 1 for one in settled if one < head)])
            if max(settled) >= committed:
                _, kept = written_metadata(committed, max(settled), unsettled, room)
                assert kept == max(settled)
    assert spare_records(0, 0, room) > 0


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: "acked2:" + raw.hex()))
def test_whatever_stands_there_can_be_read(text: str) -> None:
    metadata = read_metadata(10, text)
    assert metadata.highest >= 9
    assert all(offset >= 10 for offset in metadata.unsettled)


def test_nothing_settled_beyond_the_offset_needs_no_metadata() -> None:
    assert written_metadata(10, 9, [10, 11], ROOM) == ("", 9)


def test_metadata_of_others_says_nothing() -> None:
    for text in ("", "mine", "acked2:", "acked2:!", "acked2:ß", "acked2:AAA"):
        assert not read_metadata(10, text).covers(10)


def test_a_limit_that_was_refused_shrinks_to_nothing() -> None:
    limit = MetadataLimit()
    assert limit.refused(100)
    assert limit.characters == 50
    assert not limit.refused(0)
    assert MetadataLimit(3).room == 0
