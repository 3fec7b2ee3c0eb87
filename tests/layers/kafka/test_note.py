"""The note beside a committed offset: what it says is true, and what fits is kept."""

from hypothesis import given
from hypothesis import strategies as st

from acked.layers.kafka._commit_metadata import LIMIT, read_metadata, written_metadata

offsets = st.integers(min_value=0, max_value=2**40)


@given(offsets, st.sets(st.integers(0, 500)), st.integers(0, 500))
def test_a_note_that_fits_says_exactly_what_is_settled(
    committed: int, unsettled: set[int], highest: int
) -> None:
    owed = sorted(committed + distance for distance in unsettled)
    note = read_metadata(committed, written_metadata(committed, committed + highest, owed))
    for offset in range(committed, committed + 600):
        assert note.covers(offset) == (offset <= committed + highest and offset not in owed)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_a_note_that_does_not_fit_forgets_from_the_end_and_never_calls_owed_settled(
    distances: list[int],
) -> None:
    owed, offset = [], 1000
    for distance in distances * (4000 // len(distances)):
        offset += distance
        owed.append(offset)
    text = written_metadata(1000, offset + 1, owed)
    assert len(text) <= LIMIT
    note = read_metadata(1000, text)
    assert not any(note.covers(one) for one in owed)
    assert note.highest > owed[1000]


def test_nothing_settled_beyond_the_offset_needs_no_note() -> None:
    assert written_metadata(10, 9, [10, 11]) == ""


def test_other_metadata_reads_as_an_empty_note() -> None:
    for text in ("", "mine", "acked1:", "acked1:!", "acked1:ß", "acked1:AAA"):
        assert not read_metadata(10, text).covers(10)
