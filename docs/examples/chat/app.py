"""The application: one channel opened with it, one subscription for each browser."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from acked import (
    AckedError,
    CapabilityError,
    Channel,
    FireAndForgetSubscription,
    LayerError,
    Topic,
    fire_and_forget,
)
from acked.abc import FireAndForgetLayer

PAGE: Final = Path(__file__).with_name("page.html")
WAITING: Final = 256
"""The most lines that wait for one slow browser; what it misses beyond that, it is told."""


class Line(msgspec.Struct, tag="line", tag_field="kind"):
    """What somebody said; `id` is the writer's, so that nobody shows it twice."""

    id: str
    name: str
    text: str


class Missed(msgspec.Struct, tag="missed", tag_field="kind"):
    """Lines may have been missed here; None if nobody knows how many."""

    count: int | None


class Refused(msgspec.Struct, tag="refused", tag_field="kind"):
    """Your line did not get out."""

    id: str
    reason: str


TALK: Final = Topic("chat", Line)


def create_app(url: str) -> Starlette:
    """Return the chat over the layer that `url` names."""
    channel = news_channel(url)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        async with channel:
            app.state.channel = channel
            yield

    routes = [Route("/", HTMLResponse(PAGE.read_text())), WebSocketRoute("/talk", talk)]
    return Starlette(routes=routes, lifespan=lifespan)


def news_channel(url: str) -> Channel[FireAndForgetLayer]:
    """Return a channel of news over any layer: what can acknowledge is used without."""
    try:
        return Channel.from_url(url, fire_and_forget=True)
    except CapabilityError:
        return Channel(fire_and_forget(Channel.from_url(url).layer))


async def talk(websocket: WebSocket) -> None:
    """Carry lines both ways between one browser and the channel, until the browser leaves."""
    await websocket.accept()
    channel: Channel[FireAndForgetLayer] = websocket.app.state.channel
    async with channel.subscribe(TALK, capacity=WAITING) as lines:
        await websocket.send_json({"kind": "welcome"})  # what is said from now on arrives
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(show, lines, websocket)
            await hear(channel, websocket)
            tasks.cancel_scope.cancel()


async def hear(channel: Channel[FireAndForgetLayer], websocket: WebSocket) -> None:
    """Publish what the browser says; return when it has left, or speaks in riddles."""
    async for text in websocket.iter_text():
        try:
            line = msgspec.json.decode(text, type=Line)
        except msgspec.DecodeError:
            await websocket.close(1003, "say a line as JSON")
            return
        try:
            await channel.publish(TALK, line)
        except LayerError as error:
            await send(websocket, Refused(line.id, str(error)))


async def show(lines: FireAndForgetSubscription[Line], websocket: WebSocket) -> None:
    """Send the browser what others say, and what it may have missed."""
    try:
        async for message in lines:
            if message.gap is not None:
                await send(websocket, Missed(message.gap.missed))
            await send(websocket, message.body)
    except AckedError as error:
        await websocket.close(1011, str(error)[:100])
    except WebSocketDisconnect:
        pass  # `hear` has noticed, or will


async def send(websocket: WebSocket, what: Line | Missed | Refused) -> None:
    """Send one event as JSON."""
    await websocket.send_text(msgspec.json.encode(what).decode())
