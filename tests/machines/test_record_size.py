"""A record is as large as what its publisher chose."""

from acked._machines.record_size import HEADER_BYTES, size_of, sizes_of
from acked.types import Record


def test_all_that_a_publisher_chooses_counts() -> None:
    record = Record("t", b"1234", "id", "key", {"a": "bc", "d": ""}, "text/plain")
    assert size_of(record) == 4 + 2 + 3 + (1 + 2) + 1 + 10 + 2 * HEADER_BYTES


def test_what_has_nothing_beside_its_body_is_as_large_as_that() -> None:
    plain, keyed = Record("t", b"1234", "id"), Record("t", b"", "id", "key", {}, "x")
    assert sizes_of([plain, keyed]) == [4, 2 + 3 + 1]
