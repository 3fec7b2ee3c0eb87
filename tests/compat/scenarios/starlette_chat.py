"""A chat over websockets, as the original's documentation and its own tests have it.

`shared`: one channel, opened by the application's lifespan and used by every websocket's tasks.
`own`: each websocket opens a channel in one task, uses it from others, and closes it by an event.
"""

import asyncio
import contextlib
import math
import sys

import anyio
from _layers import make_layer
from _stage import play
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette_web.common.channels.base import Channel

MODE, URL, ROOM = sys.argv[1:4]


class Conversation:
    """One websocket's tasks."""

    def __init__(self, websocket):
        self.websocket = websocket
        self.channel = None
        self.closing = anyio.Event()

    async def serve(self):
        await self.websocket.accept()
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.keep)
            await tasks.start(self.show)
            await self.websocket.send_text("ready")
            async for text in self.websocket.iter_text():
                tasks.start_soon(self.say, text)
            self.closing.set()
            tasks.cancel_scope.cancel()

    async def keep(self, task_status):
        if MODE == "shared":
            self.channel = self.websocket.app.state.channel
            task_status.started()
            return
        async with Channel(make_layer(URL)) as self.channel:
            task_status.started()
            await self.closing.wait()

    async def show(self, task_status):
        async with self.channel.subscribe(ROOM, max_buffer_size=math.inf) as subscriber:
            task_status.started()
            async for event in subscriber:
                await self.websocket.send_text(event.message)

    async def say(self, text):
        await self.channel.publish(ROOM, text)


async def chat(websocket):
    await Conversation(websocket).serve()


@contextlib.asynccontextmanager
async def lifespan(app):
    async with Channel(make_layer(URL)) as app.state.channel:
        yield
        left[:] = sorted(app.state.channel._subscribers)


left = []
app = Starlette(routes=[WebSocketRoute("/", chat)], lifespan=lifespan)


class Browser:
    """The other end of a websocket of the application."""

    def __init__(self):
        self.says, self.hears = asyncio.Queue(), asyncio.Queue()
        self.says.put_nowait({"type": "websocket.connect"})
        scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "app": app}
        self.served = asyncio.create_task(app(scope, self.says.get, self.hears.put))

    async def open(self):
        assert (await self.hears.get())["type"] == "websocket.accept"
        assert await self.heard() == "ready"

    def say(self, text):
        self.says.put_nowait({"type": "websocket.receive", "text": text})

    async def heard(self):
        return (await self.hears.get())["text"]

    async def close(self):
        self.says.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.served


async def main(*_):
    async with app.router.lifespan_context(app):
        ann, bob = Browser(), Browser()
        for one in (ann, bob):
            await one.open()
        ann.say("hello")
        heard = [await ann.heard(), await bob.heard()]
        bob.say("hi ann")
        heard += [await ann.heard(), await bob.heard()]
        await bob.close()
        ann.say("anybody?")
        heard.append(await ann.heard())
        await ann.close()
    return {"heard": heard, "left": left}


play(main)
