"""What the tests of extras run where nothing but one extra of `acked` is installed.

    python -S -P alone.py EXTRA [URL OF A BROKER]

It prints `ok` once what the extra is for was done; layers without their client must name theirs.
"""

import asyncio
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import acked

CLIENTS = {
    "acked.layers.redis_streams": ("redis", "redis"),
    "acked.layers.redis_pubsub": ("redis", "redis"),
    "acked.layers.kafka": ("aiokafka", "kafka"),
    "acked.layers.mqtt": ("aiomqtt", "mqtt"),
    "acked.layers.postgres_notify": ("asyncpg", "postgres"),
    "acked.layers.postgres_queue": ("asyncpg", "postgres"),
    "acked.codecs.pydantic": ("pydantic", "pydantic"),
}


async def settled(url: str) -> None:
    """Publish, take and ack one message."""
    topic = acked.Topic(f"t{uuid4().hex}", int)
    async with acked.Channel.from_url(url) as channel:
        async with channel.subscribe(topic, group="alone") as numbers:
            await channel.publish(topic, 7)
            async with await anext(numbers) as delivery:
                assert delivery.body == 7


async def heard(url: str) -> None:
    """Publish and hear one message of news."""
    topic = acked.Topic(f"t{uuid4().hex}", int)
    async with acked.Channel.from_url(url, fire_and_forget=True) as channel:
        async with channel.subscribe(topic) as numbers:
            await channel.publish(topic, 7)
            assert (await anext(numbers)).body == 7


def at(scheme: str, url: str) -> str:
    return f"{scheme}://{url.partition('://')[2]}"


async def nothing(_: str) -> None:
    await heard("memory://")
    await settled("memory-queue://")
    await settled(f"sqlite-queue:///{Path('queue.db').absolute()}")


async def redis(url: str) -> None:
    await settled(at("redis-streams", url))
    await heard(at("redis-pubsub", url))


async def postgres(url: str) -> None:
    await heard(at("postgres-notify", url))
    await settled(at("postgres-queue", url))


async def kafka(url: str) -> None:
    import_module("cramjam")  # what unpacks most of what others publish
    await settled(f"{url}?create_topics=1")


async def mqtt(url: str) -> None:
    await settled(url)


async def pydantic(_: str) -> None:
    model = import_module("pydantic").create_model("Order", id=(int, ...))
    codec = import_module("acked.codecs.pydantic").PYDANTIC
    topic = acked.Topic("orders", model, codec=codec)
    async with acked.Channel.from_url("memory-queue://") as channel:
        async with channel.subscribe(topic, group="alone") as orders:
            await channel.publish(topic, model(id=7))
            async with await anext(orders) as delivery:
                assert delivery.body.id == 7


async def cli(_: str) -> None:
    run("-c", "from acked.cli.main import main; main()", "layers")


async def reload(_: str) -> None:
    import_module("watchfiles")
    run("-c", "from acked.cli.main import main; main()", "run", "--help")


async def cron(_: str) -> None:
    acked.App("memory-queue://").every("0 3 * * *", zone="UTC")(lambda _: None)


async def conformance(_: str) -> None:
    tests = Path("test_nothing.py")
    tests.write_text("def test_nothing(): pass\n")
    laws = (
        "-q",
        "-p",
        "no:cacheprovider",
        "--acked-layer",
        "memory-queue://",
        "-k",
        "acked_message",
    )
    run("-m", "pytest", *laws, str(tests))


def run(*words: str) -> None:
    subprocess.run([sys.executable, "-S", "-P", *words], check=True, stdout=sys.stderr)


def refuses(module: str, extra: str) -> None:
    """Import what has no client here: the error says what to install."""
    words = "it was imported"
    try:
        import_module(module)
    except ImportError as error:
        words = str(error)
    assert words.endswith(f"pip install 'acked[{extra}]'"), f"{module}: {words}"


def main(extra: str, url: str) -> None:
    assert find_spec("ruff") is None, "this is not an environment of its own"
    for module, (client, needed) in CLIENTS.items():
        if find_spec(client) is None:
            refuses(module, needed)
    asyncio.run(globals()[extra](url))
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
