"""What is compressed is not unpacked beyond a bound: a few kilobytes of zeros may become gigabytes.

aiokafka unpacks a batch whole, whatever comes out. Anybody who can publish chooses how a batch is
compressed, and the broker passes it on as it is. So each is unpacked once into a bounded buffer
first, if it could be too large at all; one that is too large is read as a batch of no records.
"""

import gzip
import io
import logging
import struct
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, cast

from acked.layers.kafka._protocols import ConsumerClient

__all__ = ("fetch_with", "read_bounded", "records_of")

logger = logging.getLogger("acked.layers.kafka")

MOST_UNPACKED: Final = 64 * 1024 * 1024
"""Bytes of one batch. Brokers take 1 MiB by default, as it is compressed."""
CHUNK: Final = 1024 * 1024

_MIB: Final = 1024 * 1024
records_of: Final = cast("Any", import_module("aiokafka.record.memory_records")).MemoryRecords
"""aiokafka's own way to make batches of what it fetches."""
if TYPE_CHECKING:

    class _PartitionRecords:
        _records_iterator: Iterator[object]

        def __init__(self, *arguments: object) -> None: ...

else:
    _PartitionRecords = import_module("aiokafka.consumer.fetcher").PartitionRecords
_FETCH: Final = "_proc_fetch_request"

_LENGTH: Final = struct.Struct(">qi")
_MAGIC_AT, _ATTRIBUTES_AT, _RECORDS_AT = 16, 22, 61
_CODEC: Final = 0x07
CURRENT: Final = 2
"""The format of records since Kafka 0.11; brokers from 4.0 on write no other."""
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_TIMES: Final[Mapping[int, int]] = {_GZIP: 1032, _SNAPPY: 22, _LZ4: 255, _ZSTD: 32_768}
"""By how much each can shrink what it is given, at the very most."""


def fetch_with(consumer: ConsumerClient, records: Callable[[bytes], Any]) -> None:
    """Let `consumer` make batches of what it fetches by `records`; private to aiokafka."""
    fetcher: Any = vars(consumer)["_fetcher"]
    original: Any = getattr(fetcher.__class__, _FETCH)

    def bounded(fetched: bytes) -> Any:
        return read_bounded(bytes(fetched), records)

    words: dict[str, Any] = {
        **original.__globals__,
        "MemoryRecords": bounded,
        "PartitionRecords": BareRecords,
    }
    ours = FunctionType(original.__code__, words, _FETCH, original.__defaults__)
    setattr(fetcher, _FETCH, MethodType(ours, fetcher))


def read_bounded(fetched: bytes, records: Callable[[bytes], Any]) -> Any:
    """Return the batches of `fetched`, as `records` makes them, none of which unpacks too large."""
    batches = _too_large(fetched)
    return BoundedRecords(records(fetched), batches) if any(batches) else records(fetched)


class BoundedRecords:
    """aiokafka's batches of one fetch, of which some have no records."""

    def __init__(self, records: Any, are_too_large: list[bool]) -> None:
        self._records = records
        self._are_too_large = iter(are_too_large)
        self.place = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def next_batch(self) -> Any:
        """Do what aiokafka's `next_batch` does."""
        batch = self._records.next_batch()
        if batch is None or not next(self._are_too_large, False):
            return batch
        logger.error(
            "the records of %s at offsets %s to %s are set aside: unpacked they are more than %d "
            "MiB; whoever published them can stop consumers that have no bound",
            self.place,
            batch.base_offset,
            batch.next_offset - 1,
            MOST_UNPACKED // _MIB,
        )
        return _NoRecords(batch)


class BareRecords(_PartitionRecords):
    """aiokafka's records of one partition in one fetch, as they were parsed.

    It would make each a `ConsumerRecord`, which takes as long as all else that is done for it.
    """

    def __init__(self, place: Any, records: Any, *others: Any) -> None:
        if isinstance(records, BoundedRecords):
            records.place = f"{place.topic!r}, partition {place.partition}"
        super().__init__(place, records, *others)

    def __iter__(self) -> Any:
        return self._records_iterator

    def _consumer_record(self, _: object, record: Any) -> Any:
        return record


class _NoRecords:
    """A batch whose records nobody reads: where it begins and ends is known all the same."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> "_NoRecords":
        return self

    def __next__(self) -> Any:
        raise StopIteration


def _too_large(fetched: bytes) -> list[bool]:
    """Return for each batch in `fetched` whether it is too large unpacked."""
    found: list[bool] = []
    begin, end = 0, len(fetched)
    while begin + _RECORDS_AT <= end:
        _, length = _LENGTH.unpack_from(fetched, begin)
        following = begin + _LENGTH.size + length
        if length <= 0 or following > end:
            break
        codec = fetched[begin + _ATTRIBUTES_AT] & _CODEC
        if codec and fetched[begin + _MAGIC_AT] >= CURRENT:
            packed = memoryview(fetched)[begin + _RECORDS_AT : following]
            found.append(not _is_within(codec, packed))
        else:
            found.append(False)
        begin = following
    return found


def _is_within(codec: int, packed: memoryview) -> bool:
    if len(packed) * _TIMES.get(codec, 0) <= MOST_UNPACKED:
        return True
    if codec == _GZIP:
        return _gzip_is_within(packed)
    if codec in {_LZ4, _ZSTD}:
        return _is_within_buffer("lz4" if codec == _LZ4 else "zstd", packed)
    return False


def _gzip_is_within(packed: memoryview) -> bool:
    size = 0
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
        try:
            while chunk := file.read(CHUNK):
                size += len(chunk)
                if size > MOST_UNPACKED:
                    return False
        except (OSError, EOFError, ValueError):
            pass  # aiokafka says so, when it unpacks it
    return True


def _is_within_buffer(name: str, packed: memoryview) -> bool:
    try:
        codec: Any = getattr(import_module("cramjam"), name)
    except ImportError:
        return True  # aiokafka says what to install
    usual = min(16 * len(packed), MOST_UNPACKED)
    return any(_fits(codec, packed, size) for size in (usual, MOST_UNPACKED))


def _fits(codec: Any, packed: memoryview, size: int) -> bool:
    try:
        codec.decompress_into(packed, bytearray(size))
    except Exception:  # noqa: BLE001 - its own, by which too much cannot be told from broken
        return False
    return True
