"""The application: one channel opened with it, one subscription for each browser."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

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
    DecodeError,
    FireAndForgetSubscription,
    LayerError,
    Topic,
    fire_and_forget,
)
from acked.abc import FireAndForgetLayer

logger = logging.getLogger("chat")

PAGE: Final = Path(__file__).with_name("page.html")
WAITING: Final = 256
"""The most lines that wait for one slow browser; what it misses beyond that, it is told."""
LONGEST_FRAME: Final = 64 * 1024
"""Bytes in one frame of a browser; the server closes on more before it has all of it in memory."""


class Limits(msgspec.Struct, frozen=True):
    """What one browser may do; what it says faster is read later, so the browser waits."""

    characters: int = 500
    lines_a_second: float = 5.0
    burst: int = 10
    origins: frozenset[str] = frozenset()
    """Hosts of pages that may talk beside our own, as `chat.example:8443`."""


class Line(msgspec.Struct, tag="line", tag_field="kind"):
    """What somebody said; `id` is the writer's, so that nobody shows it twice."""

    id: Annotated[str, msgspec.Meta(max_length=64)]
    name: Annotated[str, msgspec.Meta(max_length=30)]
    text: str


class Missed(msgspec.Struct, tag="missed", tag_field="kind"):
    """Lines may have been missed here; None if nobody knows how many."""

    count: int | None


class Refused(msgspec.Struct, tag="refused", tag_field="kind"):
    """Your line did not get out."""

    id: str
    reason: str


TALK: Final = Topic("chat", Line)


def create_app(url: str, limits: Limits = Limits()) -> Starlette:  # noqa: B008 - it is frozen
    """Return the chat over the layer that `url` names."""
    channel = news_channel(url)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        async with channel:
            app.state.channel = channel
            yield

    routes = [
        Route("/", HTMLResponse(PAGE.read_text())),
        WebSocketRoute("/talk", partial(talk, limits=limits)),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def news_channel(url: str) -> Channel[FireAndForgetLayer]:
    """Return a channel of news over any layer: what can acknowledge is used without."""
    try:
        return Channel.from_url(url, fire_and_forget=True)
    except CapabilityError:
        return Channel(fire_and_forget(Channel.from_url(url).layer))


async def talk(websocket: WebSocket, limits: Limits) -> None:
    """Carry lines both ways between one browser and the channel, until the browser leaves."""
    if not is_welcome(websocket, limits):
        await websocket.close(1008, "this page may not talk here")  # before accept: a plain 403
        return
    await websocket.accept()
    channel: Channel[FireAndForgetLayer] = websocket.app.state.channel
    async with channel.subscribe(TALK, capacity=WAITING) as lines:
        await websocket.send_json({"kind": "welcome"})  # what is said from now on arrives
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(show, lines, websocket)
            await hear(channel, websocket, limits)
            tasks.cancel_scope.cancel()


def is_welcome(websocket: WebSocket, limits: Limits) -> bool:
    """Say whether the page that opens this socket is ours.

    Browsers let any page open a socket to any server, with the cookies of its user, and say which
    page it is. Who is no browser says nothing, and has no user's cookies to misuse.
    """
    origin = websocket.headers.get("origin")
    hosts = limits.origins | {websocket.headers.get("host")}
    return origin is None or urlsplit(origin).netloc in hosts


async def hear(channel: Channel[FireAndForgetLayer], websocket: WebSocket, limits: Limits) -> None:
    """Publish what the browser says; return when it has left, or speaks in riddles."""
    async for text in paced(texts(websocket), limits):
        try:
            line = msgspec.json.decode(text, type=Line)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            await websocket.close(1003, "say a line as JSON")
            return
        if len(line.text) > limits.characters:
            reason = f"a line has at most {limits.characters} characters"
            await send(websocket, Refused(line.id, reason))
            continue
        try:
            await channel.publish(TALK, line)
        except LayerError as error:
            logger.warning("a line was not published: %s", error)  # where our broker is: for us
            await send(websocket, Refused(line.id, "try again in a moment"))


async def texts(websocket: WebSocket) -> AsyncIterator[str]:
    """Return what the browser says, "" for a binary frame; end when it has left."""
    while True:
        frame = await websocket.receive()
        if frame["type"] == "websocket.disconnect":
            return
        yield frame.get("text") or ""


async def paced(said: AsyncIterator[str], limits: Limits) -> AsyncIterator[str]:
    """Return what was `said`, after a burst no faster than it may be."""
    allowed, before = float(limits.burst), anyio.current_time()
    async for text in said:
        now = anyio.current_time()
        allowed = min(limits.burst, allowed + (now - before) * limits.lines_a_second) - 1
        before = now
        if allowed < 0:
            await anyio.sleep(-allowed / limits.lines_a_second)
        yield text


async def show(lines: FireAndForgetSubscription[Line], websocket: WebSocket) -> None:
    """Send the browser what others say, and what it may have missed."""
    try:
        while True:
            try:
                message = await anext(lines)
            except DecodeError as error:  # anybody who reaches the broker can say anything
                logger.warning("what is no line is not shown: %s", error)
                continue
            if message.gap is not None:
                await send(websocket, Missed(message.gap.missed))
            await send(websocket, message.body)
    except AckedError as error:
        logger.warning("a browser is sent away: %s", error)
        await websocket.close(1011, "the chat is interrupted")
    except WebSocketDisconnect:
        pass  # `hear` has noticed, or will


async def send(websocket: WebSocket, what: Line | Missed | Refused) -> None:
    """Send one event as JSON."""
    await websocket.send_text(msgspec.json.encode(what).decode())
