"""The note beside a commit: what it says comes back, and it charges for deaths and for no more."""

from hypothesis import given
from hypothesis import strategies as st

from acked.layers.kafka._commit_metadata import (
    MetadataLimit,
    packed,
    read_metadata,
    spare_records,
    written_metadata,
)
from acked.layers.kafka._custody import Custody, CustodyNote, note_of, note_room, numbers_of

ROOM = MetadataLimit().room
FIRST = 1000
offsets = st.integers(FIRST, FIRST + 5000)
pairs = st.dictionaries(offsets, st.integers(1, 300), max_size=40).map(
    lambda counts: sorted(counts.items())
)
notes = st.builds(
    CustodyNote,
    st.integers(1, 2**21 - 1),
    offsets,
    st.lists(offsets, max_size=3).map(sorted),
    pairs.map(lambda some: some[:8]),
    pairs,
)


def custody(me: int, note: CustodyNote | None = None) -> Custody:
    return Custody(me, note or CustodyNote(), FIRST)


def left(one: Custody, unsettled=(), last: int = FIRST, room: int = 10_000) -> CustodyNote:
    """Return what the next owner reads."""
    numbers, one.reach = one.note(FIRST, unsettled.__contains__, last, room)
    text, _ = written_metadata(FIRST, FIRST - 1, unsettled, 20_000, numbers)
    return note_of(read_metadata(FIRST, text).note, FIRST)


@given(notes)
def test_a_note_is_read_as_it_was_written(note: CustodyNote) -> None:
    assert note_of(numbers_of(note, FIRST, 10_000), FIRST) == note


@given(notes, st.integers(0, 130))
def test_what_fits_of_a_note_is_true(note: CustodyNote, room: int) -> None:
    numbers = numbers_of(note, FIRST, room)
    assert len(packed(numbers)) <= room
    if numbers:
        read = note_of(numbers, FIRST)
        assert (read.owner, read.reach, read.alone) == (note.owner, note.reach, note.alone)
        assert set(read.deaths) <= set(note.deaths)
        assert set(read.failures) <= set(note.failures)
        assert not read.failures or read.deaths == note.deaths
    else:
        assert room < 20


@given(st.lists(st.integers(0, 2**40), max_size=12))
def test_whatever_numbers_stand_there_can_be_read(numbers: list[int]) -> None:
    one = Custody(1, note_of(numbers, FIRST), FIRST)
    attempt, failures, _ = one.charged(FIRST)
    assert attempt >= 1 + failures


@given(notes, st.lists(st.integers(1, 50), max_size=300), st.integers(100, 4096))
def test_a_note_takes_no_room_from_what_is_settled(
    note: CustodyNote, distances: list[int], characters: int
) -> None:
    room = MetadataLimit(characters).room
    owed, offset = [], FIRST
    for distance in distances[: spare_records(0, 0, room - note_room(room))]:
        owed.append(offset)
        offset += distance
    numbers = numbers_of(note, FIRST, note_room(room))
    text, kept = written_metadata(FIRST, offset, owed, room, numbers)
    assert kept == offset
    assert len(text) <= characters


def test_who_died_is_charged_for_what_it_had_handed_out() -> None:
    first = custody(1)
    first.open_to(FIRST + 9)
    note = left(first)
    reach = first.reach
    assert reach >= FIRST + 9
    second = custody(2, note)
    assert second.charged(reach) == (2, 0, 0)
    assert second.charged(reach + 1) == (1, 0, 0)
    assert second.is_uncharged(reach + 1)
    assert not second.is_uncharged(reach)
    assert second.reach < FIRST, "nothing is handed out without a note"
    third = custody(3, left(second))  # it died, too, and had handed out nothing
    assert third.charged(reach) == (2, 0, 0)


def test_who_left_or_lives_on_is_charged_nothing() -> None:
    one = custody(1)
    one.open_to(FIRST + 9)
    one.handle(FIRST, alone=True)
    note = left(one, [FIRST])
    assert custody(2, note).charged(FIRST) == (2, 0, 1)
    assert custody(1, note).charged(FIRST) == (1, 0, 0), "of a membership that ended"
    assert one.close()
    assert not one.close()
    assert custody(2, left(one, [FIRST])).charged(FIRST) == (1, 0, 0)
    assert one.reach < FIRST, "until it is noted again"


def test_what_ended_owners_alone_is_counted_until_it_is_nacked() -> None:
    one = custody(1)
    one.open_to(FIRST + 1)
    one.handle(FIRST, alone=True)
    two = custody(2, left(one, [FIRST]))
    two.open_to(FIRST + 1)
    two.handle(FIRST, alone=True)
    assert two.released(FIRST), "the note is to be taken back at once"
    assert not two.released(FIRST)
    assert custody(3, left(two, [FIRST])).charged(FIRST) == (3, 0, 1)
    two.handle(FIRST, alone=True)
    three = custody(3, left(two, [FIRST]))
    assert three.charged(FIRST) == (3, 0, 2)
    assert three.nacked(FIRST), "and so is the count"
    three.close()
    assert custody(4, left(three, [FIRST])).charged(FIRST) == (4, 1, 0)


def test_what_is_settled_is_in_no_note() -> None:
    one = custody(1)
    one.open_to(FIRST + 9)
    one.handle(FIRST, alone=True)
    assert not one.nacked(FIRST + 1)
    assert not one.nacked(FIRST + 8)
    note = left(one, [FIRST + 5, FIRST + 8], last=FIRST + 7)
    assert (note.alone, note.failures) == ([], [(FIRST + 8, 1)])


@given(st.lists(st.integers(0, 100), min_size=1, max_size=40))
def test_no_death_is_forgotten_however_many_there_were(handed: list[int]) -> None:
    """Some are charged to more records than they had: never to fewer."""
    note, reaches = CustodyNote(), list[int]()
    for number, further in enumerate(handed):
        one = custody(1 + number, note)
        one.open_to(FIRST + further)
        note = left(one, room=note_room(ROOM))
        reaches.append(one.reach)
    last = custody(99, note)
    for offset in range(FIRST, FIRST + 140, 7):
        assert last.charged(offset)[0] >= 1 + sum(reach >= offset for reach in reaches)
    assert last.charged(FIRST)[0] == 1 + len(handed)
    assert last.charged(max(reaches) + 1)[0] == 1


@given(st.integers(1, 2000), st.integers(1, 8), st.integers(1, 3))
def test_at_a_steady_pace_no_commit_is_made_for_a_note(
    size: int, commits: int, sparse: int
) -> None:
    """So many are handed out at once, so many commits come before the next."""
    one, offset, extra = custody(1), FIRST - 1, 0
    for turn in range(60):
        offset += size * sparse
        if offset > one.reach:
            extra += turn > 30
            one.open_to(offset)
            left(one)
        one.handed_out(offset)
        for _ in range(commits):
            left(one)
    assert not extra
    assert one.reach - offset <= 3 * size * sparse + 32


def test_without_room_for_a_note_everything_is_handed_out() -> None:
    one = custody(1)
    one.open_to(FIRST)
    assert left(one, room=3) == CustodyNote()
    assert not one.is_noted
    assert one.reach > 2**40
