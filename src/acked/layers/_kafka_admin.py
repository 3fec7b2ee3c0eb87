"""The seam to aiokafka's admin client: making topics, and reading what the brokers are set to."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol, cast

from acked.layers._kafka_client import within
from acked.layers._kafka_options import KafkaOptions

__all__ = ("Admin", "Settings", "administering", "new_topic", "read_settings", "refusal")

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


_admin: Final = cast("Any", import_module("aiokafka.admin"))
_resource: Final = cast("Any", import_module("aiokafka.admin.config_resource"))
_for_code: Final = import_module("aiokafka.errors").for_code


@asynccontextmanager
async def administering(options: KafkaOptions) -> AsyncGenerator[Admin]:
    """Connect an admin client, and close it."""
    admin = cast("Admin", _admin.AIOKafkaAdminClient(**options.client()))
    try:
        await within(options.timeout, admin.start(), options, "connecting")
        yield admin
    finally:
        await asyncio.shield(admin.close())


def new_topic(name: str, partitions: int, replicas: int) -> object:
    """Return what `Admin.create_topics` takes for one topic."""
    return _admin.NewTopic(name, partitions, replicas)


def refusal(code: int) -> str | None:
    """Return the name of the broker's error number `code`, or None for success."""
    return _for_code(code).__name__ if code else None


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
