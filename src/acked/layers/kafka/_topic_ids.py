"""Which log goes by a topic's name: the id that it was given when it was made.

A topic that is deleted and made anew keeps its name. Who read it before would go on at his offset,
past all that came below it. aiokafka asks for metadata without ids, so here is the request with
them (version 10, of Kafka 2.8), sent on a connection that aiokafka has open.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from io import BytesIO
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from acked.layers.kafka._protocols import ConsumerClient

__all__ = ("TopicIds",)

logger: Final = logging.getLogger("acked.layers.kafka")

_api: Final = cast("Any", import_module("aiokafka.protocol.api"))
_types: Final = cast("Any", import_module("aiokafka.protocol.types"))
_errors: Final = cast("Any", import_module("aiokafka.errors"))
if TYPE_CHECKING:

    class _Request:
        def __init__(self, *fields: object) -> None: ...

    class _Response:
        topics: list[tuple[Any, ...]]

else:
    _Request, _Response = _api.RequestStruct, _api.Response

TELLING: Final = 2.0
"""Seconds for the answer: without it we look again later."""
METADATA: Final = 3
WITH_IDS: Final = 10
NO_ID: Final = bytes(16)
"""Of a topic that is not there, and of all where the brokers give none."""
_Text: Final = _types.CompactString("utf-8")
_Tags: Final = ("tags", _types.TaggedFields)


class _Id:
    """Sixteen bytes."""

    encode = staticmethod(bytes)

    @staticmethod
    def decode(data: BytesIO) -> bytes:
        return data.read(len(NO_ID))


class _Passed:
    """The partitions of a topic, of which there may be thousands: only passed over."""

    @staticmethod
    def decode(data: BytesIO) -> None:
        length = _types.UnsignedVarInt32.decode
        for _ in range(length(data) - 1):
            data.seek(14, 1)  # its error, number, leader, and the leader's epoch
            for _ in ("replicas", "in sync", "offline"):
                data.seek(4 * (length(data) - 1), 1)
            _types.TaggedFields.decode(data)


class _MetadataResponse(_Response):
    API_KEY, API_VERSION = METADATA, WITH_IDS
    SCHEMA = _types.Schema(
        ("throttle_time_ms", _types.Int32),
        (
            "brokers",
            _types.CompactArray(
                *(("node_id", _types.Int32), ("host", _Text), ("port", _types.Int32)),
                *(("rack", _Text), _Tags),
            ),
        ),
        ("cluster_id", _Text),
        ("controller_id", _types.Int32),
        (
            "topics",
            _types.CompactArray(
                *(("error_code", _types.Int16), ("topic", _Text), ("topic_id", _Id)),
                *(("is_internal", _types.Boolean), ("partitions", _Passed)),
                *(("authorized_operations", _types.Int32), _Tags),
            ),
        ),
        ("authorized_operations", _types.Int32),
        _Tags,
    )


class _MetadataRequest(_Request):
    FLEXIBLE_VERSION: ClassVar = True
    API_KEY, API_VERSION, RESPONSE_TYPE = METADATA, WITH_IDS, _MetadataResponse
    SCHEMA = _types.Schema(
        ("topics", _types.CompactArray(("topic_id", _Id), ("topic", _Text), _Tags)),
        ("allow_auto_topic_creation", _types.Boolean),
        ("include_cluster_authorized_operations", _types.Boolean),
        ("include_topic_authorized_operations", _types.Boolean),
        _Tags,
    )


class _Question:
    """What aiokafka sends once it knows what the broker understands."""

    def __init__(self, topics: Iterable[str] | None) -> None:
        self._topics = topics if topics is None else [(NO_ID, one, _none()) for one in topics]

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> _MetadataRequest:
        """Do what `prepare` of aiokafka's requests does."""
        oldest, newest = versions[METADATA]
        if not oldest <= WITH_IDS <= newest:
            raise _errors.IncompatibleBrokerVersion("before Kafka 2.8 topics have no ids")
        return _MetadataRequest(self._topics, False, False, False, _none())  # noqa: FBT003 - fields


class TopicIds:
    """Tells by their ids which topics were made anew, as far as the brokers have any."""

    def __init__(self, consumer: ConsumerClient) -> None:
        self._client: Any = vars(consumer)["_client"]
        self._seen: dict[str, set[bytes]] = {}
        """All ids a topic had: a broker that comes back may name an old one for a moment."""
        self.there: frozenset[str] | None = None
        """Which topics were there, of those asked for at last; None before anybody told."""

    async def made_anew(self, topics: Iterable[str] | None) -> Collection[str]:
        """Ask who is there now; return those of `topics` that are others than when last asked.

        None asks for all but Kafka's own. Where topics came or went, aiokafka is let know at once.
        """
        found = await self._found(topics)
        if found is None:
            return ()
        anew = {topic for topic, log in found.items() if self._is_another(topic, log)}
        before, self.there = self.there, frozenset(found)
        if anew or (before is not None and before != self.there):
            self._client.force_metadata_update()
        return anew

    def _is_another(self, topic: str, log: bytes) -> bool:
        """Note that `log` goes by the name of `topic`; return whether another one did before."""
        seen = self._seen.setdefault(topic, set())
        is_another = bool(seen) and log not in seen
        seen.add(log)
        return is_another

    async def _found(self, topics: Iterable[str] | None) -> Mapping[str, bytes] | None:
        """Return the ids of the `topics` that are there, None if nobody would tell."""
        link = self._open_connection()
        if link is None:
            return None
        try:
            async with asyncio.timeout(TELLING):
                told: _MetadataResponse = await link.send(_Question(topics))
        except (TimeoutError, _errors.KafkaError) as error:
            logger.debug("which topics were made anew is not known for now: %r", error)
            return None
        return {
            topic: log
            for _, topic, log, is_internal, *_ in told.topics
            if log != NO_ID and not (is_internal and topics is None)
        }

    def _open_connection(self) -> Any | None:
        """Return that to the coordinator, or else one on which the answer may wait for a fetch.

        None is opened for this: aiokafka forgets one whose opening is given up.
        """
        connections = cast("Mapping[tuple[object, int], Any]", vars(self._client)["_conns"])
        links = [(group, link) for (_, group), link in connections.items() if link.connected()]
        return max(links, key=itemgetter(0))[1] if links else None


def _none() -> dict[int, bytes]:
    """Return no tags."""
    return {}
