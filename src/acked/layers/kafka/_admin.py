"""The seam to aiokafka's admin client: making topics, removing groups, reading settings."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol, cast

from acked.errors import LayerError
from acked.layers.kafka._client import started, with_password_of, within
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._protocols import ProducerClient
from acked.layers.kafka._topic_choice import TopicChoice

__all__ = (
    "Admin",
    "Settings",
    "administering",
    "batch_limit",
    "forget_group",
    "new_topic",
    "read_settings",
)

Configuration = Mapping[str, str | None]
"""Settings by name, as text. Empty where the broker would not tell."""


class Admin(Protocol):
    """What we use of `AIOKafkaAdminClient`."""

    async def start(self) -> None:
        """Do what aiokafka's `start` does."""
        ...

    async def close(self) -> None:
        """Do what aiokafka's `close` does."""
        ...

    async def create_topics(self, new_topics: Sequence[object], *, timeout_ms: int) -> Any:
        """Do what aiokafka's `create_topics` does."""
        ...

    async def find_coordinator(self, group_id: str) -> int:
        """Do what aiokafka's `find_coordinator` does."""
        ...

    async def describe_cluster(self) -> Mapping[str, Any]:
        """Do what aiokafka's `describe_cluster` does."""
        ...

    async def describe_topics(self, topics: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """Do what aiokafka's `describe_topics` does."""
        ...

    async def describe_configs(self, config_resources: Sequence[object]) -> Sequence[Any]:
        """Do what aiokafka's `describe_configs` does."""
        ...


class Settings(NamedTuple):
    """What the brokers are set to, and what the topics are."""

    brokers: int
    broker: Configuration
    """Of one of them: they are meant to be alike."""
    topics: Mapping[str, Configuration]
    replicas: Mapping[str, int]
    """By topic, the copies of the partition that has the fewest."""
    hosts: Sequence[str] = ()
    """Where the brokers say that they are."""


_admin: Final = cast("Any", import_module("aiokafka.admin"))
_resource: Final = cast("Any", import_module("aiokafka.admin.config_resource"))
_errors: Final = cast("Any", import_module("aiokafka.errors"))
_protocol: Final = cast("Any", import_module("aiokafka.protocol.admin"))
_commit: Final = cast("Any", import_module("aiokafka.protocol.commit"))
_for_code: Final = _errors.for_code
AGAIN: Final = 0.1
"""Seconds between two tries."""
TELLING: Final = 2.0
"""Seconds for an answer that we can do without."""
LEAVING: Final = 5.0
"""Seconds in which a member that has just left is still seen in its group."""


@asynccontextmanager
async def administering(options: KafkaOptions) -> AsyncGenerator[Admin]:
    """Connect an admin client, and close it."""
    admin = cast("Admin", _admin.AIOKafkaAdminClient(**options.client()))
    with_password_of(vars(admin)["_client"], options)
    try:
        await started(admin.start, options)
        yield admin
    finally:
        await asyncio.shield(admin.close())


def new_topic(name: str, partitions: int, replicas: int) -> object:
    """Return what `Admin.create_topics` takes for one topic."""
    return _admin.NewTopic(name, partitions, replicas)


async def forget_group(options: KafkaOptions, topics: Sequence[str], group: str) -> None:
    """Delete `group`; see `KafkaLayer.remove_group`."""
    doing = f"removing group {group!r}"
    async with administering(options) as admin:
        given_up = time.monotonic() + LEAVING
        while not await within(options.timeout, _forgotten(admin, topics, group), options, doing):
            if time.monotonic() > given_up:
                raise LayerError(
                    f"group {group!r} is in use; close its consumers before removing it"
                )
            await asyncio.sleep(AGAIN)


async def _forgotten(admin: Admin, topics: Sequence[str], group: str) -> bool:
    """Delete `group` and return True, or False while it has members."""
    send = vars(admin)["_client"].send  # aiokafka has these requests, and no method for them
    while True:
        try:
            coordinator = await admin.find_coordinator(group)
            committed = await send(coordinator, _commit.OffsetFetchRequest(group, None))
            _raise_for(committed.error_code)
            known = {topic for topic, _ in committed.topics}
            others = sorted(known.difference(topics, TopicChoice(topics).among(known)))
            if others:
                raise LayerError(
                    f"group {group!r} has committed in topic {others[0]!r}, too, and Kafka removes "
                    "a group with all its topics; name them all"
                )
            reply = await send(coordinator, _protocol.DeleteGroupsRequest([group]))
            ((_, code),) = reply.results
            _raise_for(code)
        except _errors.GroupIdNotFound:
            return True
        except _errors.NonEmptyGroup:
            return False
        except _errors.KafkaError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(AGAIN)  # a broker that has just come up, or a coordinator moving
        else:
            return True


def _raise_for(code: int) -> None:
    if code:
        raise _for_code(code)


async def batch_limit(producer: ProducerClient, topic: str) -> int | None:
    """Return the bytes of the largest batch that `topic` takes; None if it would not say.

    It is asked of a producer's connection, for that is there.
    """
    wanted = [(_resource.ConfigResourceType.TOPIC, topic, ["max.message.bytes"])]
    client: Any = producer.client
    try:
        async with asyncio.timeout(TELLING):
            request = _protocol.DescribeConfigsRequest(wanted, include_synonyms=False)
            reply = await client.send(client.get_random_node(), request)
        ((code, _, _, _, entries),) = reply.resources
        return None if code else int(entries[0][1])
    except Exception:  # noqa: BLE001 - without it we learn of the limit when we meet it
        return None


async def read_settings(options: KafkaOptions, topics: Sequence[str]) -> Settings:
    """Ask for the settings of one broker and of `topics`."""
    async with administering(options) as admin:
        return await within(
            options.timeout, _settings(admin, topics), options, "asking for the settings"
        )


async def _settings(admin: Admin, topics: Sequence[str]) -> Settings:
    kinds, resource = _resource.ConfigResourceType, _resource.ConfigResource
    brokers = (await admin.describe_cluster())["brokers"]
    (of_broker,) = await _described(admin, [resource(kinds.BROKER, str(brokers[0]["node_id"]))])
    of_topics = await _described(admin, [resource(kinds.TOPIC, topic) for topic in topics])
    found = await admin.describe_topics(list(topics)) if topics else ()
    return Settings(
        len(brokers),
        of_broker,
        dict(zip(topics, of_topics, strict=True)),
        {one["topic"]: _fewest(one["partitions"]) for one in found if one["partitions"]},
        [one["host"] for one in brokers],
    )


def _fewest(partitions: Iterable[Mapping[str, Any]]) -> int:
    return min(len(partition["replicas"]) for partition in partitions)


async def _described(admin: Admin, resources: Sequence[Any]) -> list[Configuration]:
    """Return the settings of `resources`, in their order."""
    if not resources:
        return []
    told: dict[str, Configuration] = {}
    for response in await admin.describe_configs(resources):
        for code, _, _, name, entries in response.resources:
            told[name] = {} if code else {entry[0]: entry[1] for entry in entries}
    return [told.get(resource.name, {}) for resource in resources]
