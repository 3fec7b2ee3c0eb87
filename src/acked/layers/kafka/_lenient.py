"""Reading records whose headers have names that are no UTF-8, which end aiokafka's own parsing.

aiokafka loses its place at such a record. So what was being read is read again, by its parser in
Python, with names as `surrogateescape` has them; after a while its fast one goes on. That parser
is private to aiokafka, and can be had in no other way.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from acked.layers.kafka._protocols import ConsumerClient
from acked.layers.kafka._unpacking import fetch_with, records_of

__all__ = ("LenientParsing",)

_memory: Final = cast("Any", import_module("aiokafka.record.memory_records"))
_batches: Final = cast("Any", import_module("aiokafka.record.default_records"))
if TYPE_CHECKING:

    class _Batch:
        _buffer: bytearray

        def __init__(self, raw: bytearray) -> None: ...

        def _maybe_uncompress(self) -> None: ...

else:
    _Batch = _batches._DefaultRecordBatchPy  # noqa: SLF001 - see the head

CURRENT: Final = 2
"""The format that has headers."""
SECONDS: Final = 5.0
"""For which parsing stays lenient: longer than a fetch takes, and it is several times slower."""


class _LenientBytes(bytes):
    """Bytes that become text, whatever they are."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Decode them so that they can be encoded again."""
        return bytes(self).decode(encoding, "surrogateescape" if errors == "strict" else errors)


class _LenientBuffer(bytearray):
    """What a batch is read from."""

    def __getitem__(self, key: Any) -> Any:
        found = cast("object", super().__getitem__(key))
        return _LenientBytes(found) if isinstance(found, bytearray) else found


class LenientBatch(_Batch):
    """aiokafka's batch, with names of headers that may be anything."""

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        if not isinstance(self._buffer, _LenientBuffer):
            self._buffer: bytearray = _LenientBuffer(self._buffer)


class LenientRecords:
    """aiokafka's batches of one fetch: whatever is not of the current format is as it was."""

    def __init__(self, fetched: bytes) -> None:
        self._records = _memory._MemoryRecordsPy(fetched)  # noqa: SLF001 - see the head

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def next_batch(self) -> Any:
        """Do what aiokafka's `next_batch` does."""
        raw = self._records._next_slice  # noqa: SLF001 - see the head
        batch = self._records.next_batch()
        if raw is None or raw[self._records.MAGIC_OFFSET] < CURRENT:
            return batch
        return LenientBatch(bytearray(raw))


class LenientParsing:
    """Switches one consumer to lenient parsing, and back."""

    def __init__(self, consumer: ConsumerClient) -> None:
        self._consumer = consumer
        self._until: float | None = None

    def start(self) -> None:
        """Parse what the consumer, which has just started, fetches: fast, and within bounds."""
        fetch_with(self._consumer, records_of)

    def begin(self, now: float) -> None:
        """Parse leniently what is fetched from now on."""
        fetch_with(self._consumer, LenientRecords)
        self._until = now + SECONDS

    def end_if_due(self, now: float) -> None:
        """Parse fast again: what of these records is still to be read brings it back."""
        if self._until is not None and now >= self._until:
            fetch_with(self._consumer, records_of)
            self._until = None
