"""Several groups, or patterns, in one subscription, as the original's documentation has it."""

import asyncio

import anyio
from _layers import options
from _stage import PATIENCE, play
from starlette_web.common.channels.base import Channel
from starlette_web.contrib.redis.channel_layers import RedisPubSubChannelLayer


class SeveralGroups(RedisPubSubChannelLayer):
    async def subscribe(self, groups):
        await self._pubsub.subscribe(*groups.split(";"))

    async def unsubscribe(self, groups):
        await self._pubsub.unsubscribe(*groups.split(";"))


class Patterns(RedisPubSubChannelLayer):
    async def subscribe(self, patterns):
        await self._pubsub.psubscribe(*patterns.split(";"))

    async def unsubscribe(self, patterns):
        await self._pubsub.punsubscribe(*patterns.split(";"))


async def heard(layer, wanted, groups):
    found = []
    async with Channel(layer) as channel, channel.subscribe(wanted) as subscriber:
        for group in groups:
            await channel.publish(group, f"to {group[-2:]}")
        with anyio.move_on_after(PATIENCE):
            async for event in subscriber:
                found.append([event.group, event.message])
                if len(found) == len(groups):
                    break
    return [[group[-2:], message] for group, message in found]


async def main(url, name):
    g1, g2 = f"{name}.g1", f"{name}.g2"
    groups, patterns = await asyncio.gather(
        heard(SeveralGroups(**options(url)), f"{g1};{g2}", [g1, g2]),
        heard(Patterns(**options(url)), f"{name}p.*;*.g9{name}", [f"{name}p.g1", f"{name}p.g2"]),
    )
    return {"groups": groups, "patterns": patterns}


play(main)
