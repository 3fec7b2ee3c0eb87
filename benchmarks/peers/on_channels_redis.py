"""channels_redis: the layer of Django's channels on Redis pub/sub, one channel in one group."""

from importlib import import_module
from typing import Any

from benchmarks.clock import Work, play
from benchmarks.peers.reading import bodies, heard


async def over_redis(work: Work) -> None:
    """Receive what the server publishes to the group; it is decoded from MessagePack."""
    layer: Any = import_module("channels_redis.pubsub").RedisPubSubChannelLayer(hosts=[work.url])
    channel = await layer.new_channel()
    await layer.group_add(work.topic, channel)
    payload: bytes = import_module("msgpack").packb({"type": "order", "order": bodies(1)[0]})
    group = f"{layer.prefix}__group__{work.topic}"
    await heard(work, group, payload, lambda: layer.receive(channel))
    await layer.flush()


WAYS = {"redis": over_redis}

if __name__ == "__main__":
    play(WAYS)
