"""Fault 29: what is raised, and what comes out."""

from _stage import play
from starlette_web.common.channels.base import Channel
from starlette_web.common.channels.layers.local_memory import InMemoryChannelLayer


class Refusing(InMemoryChannelLayer):
    async def subscribe(self, group, **kwargs):
        raise PermissionError(group)


async def fail_to_subscribe():
    async with Channel(Refusing()) as channel, channel.subscribe("secret"):
        pass


async def fail_in_the_block():
    async with Channel(InMemoryChannelLayer()):
        raise LookupError


async def fail_to_subscribe_and_catch():
    async with Channel(Refusing()) as channel:
        try:
            async with channel.subscribe("secret"):
                pass
        except Exception as error:
            return type(error).__name__


async def raised(what):
    try:
        return await what
    except BaseException as error:
        return type(error).__name__


async def main():
    return {
        "subscribe": await raised(fail_to_subscribe_and_catch()),
        "block": await raised(fail_in_the_block()),
    }


play(main)
