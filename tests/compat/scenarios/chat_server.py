"""A chat as the original's documentation writes it, without the web server.

`broadcast` is made at import time; one task connects it, another one disconnects it; each
websocket has a task that publishes what its user says and one that shows what everybody says.
Beside it an event stream (an async generator, begun by one task and closed by another), as
server-sent events and GraphQL subscriptions are.
"""

import asyncio
import sys

import anyio
from _stage import make_topics, play
from broadcaster import Broadcast

URL, ROOM = sys.argv[1:3]

broadcast = Broadcast(URL)


class WebSocket:
    def __init__(self):
        self.shown = []
        self._says = asyncio.Queue()

    def say(self, text):
        self._says.put_nowait(text)

    def close(self):
        self._says.put_nowait(None)

    async def iter_text(self):
        while (text := await self._says.get()) is not None:
            yield text

    async def send_text(self, text):
        assert isinstance(text, str)
        self.shown.append(text)


async def chatroom(websocket):
    async with anyio.create_task_group() as tasks:

        async def listen_to_the_user():
            async for text in websocket.iter_text():
                await broadcast.publish(channel=ROOM, message=text)
            tasks.cancel_scope.cancel()

        tasks.start_soon(listen_to_the_user)
        await show_what_is_said(websocket)


async def show_what_is_said(websocket):
    async with broadcast.subscribe(channel=ROOM) as subscriber:
        async for event in subscriber:
            await websocket.send_text(event.message)


async def event_stream():
    async with broadcast.subscribe(ROOM) as subscriber:
        while True:
            event = await subscriber.get()
            yield event


async def until(is_true):
    while not is_true():
        await asyncio.sleep(0.01)


async def main(url, room):
    if url.startswith("kafka"):
        await make_topics(url, room)
    await asyncio.create_task(broadcast.connect())

    ann, bob = WebSocket(), WebSocket()
    served = [asyncio.create_task(chatroom(one)) for one in (ann, bob)]
    await until(lambda: len(broadcast._subscribers.get(room, ())) == 2)
    stream = event_stream()
    first = asyncio.create_task(anext(stream))
    await until(lambda: len(broadcast._subscribers.get(room, ())) == 3)

    ann.say("hello")
    await until(lambda: "hello" in bob.shown)
    bob.say("hi ann")
    await until(lambda: len(ann.shown) == len(bob.shown) == 2)
    streamed = (await first).message
    await asyncio.create_task(stream.aclose())
    ann.close()
    await served[0]
    bob.say("anybody?")
    await until(lambda: len(bob.shown) == 3)
    bob.close()
    await served[1]

    found = {"ann": ann.shown, "bob": bob.shown, "stream": streamed}
    found["left"] = sorted(broadcast._subscribers)
    await asyncio.create_task(broadcast.disconnect())
    return found


play(main)
