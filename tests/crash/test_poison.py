"""One message kills its process: it alone is given up, whatever else the process had fetched."""

from pathlib import Path

import pytest

from compose.lifecycle import Broker
from tests.crash.poison import KILLER, run

pytestmark = pytest.mark.anyio

COUNT = 200


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def the_killer_alone_is_given_up(url: str) -> None:
    account = await run(url, COUNT)
    assert account.buried == [KILLER]
    assert len(account.handled) == COUNT - 1
    assert account.deaths == 4


@pytest.mark.timeout(120)
async def test_the_killer_alone_is_given_up_on_sqlite(tmp_path: Path) -> None:
    await the_killer_alone_is_given_up(f"sqlite-queue://{tmp_path}/queue.db")


@pytest.mark.timeout(120)
@pytest.mark.redis
async def test_the_killer_alone_is_given_up_on_redis_streams(redis_broker: Broker) -> None:
    await the_killer_alone_is_given_up(redis_broker.url.replace("redis://", "redis-streams://"))


@pytest.mark.timeout(120)
@pytest.mark.postgres
async def test_the_killer_alone_is_given_up_on_postgres(postgres_broker: Broker) -> None:
    await the_killer_alone_is_given_up(
        postgres_broker.url.replace("postgresql://", "postgres-queue://")
    )


@pytest.mark.timeout(180)
@pytest.mark.kafka
async def test_the_killer_alone_is_given_up_on_kafka(kafka_broker: Broker) -> None:
    """Its broker keeps no count, and takes ten seconds to see that a member is dead."""
    await the_killer_alone_is_given_up(f"{kafka_broker.url}?create_topics=1")
