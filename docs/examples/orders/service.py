"""Two programs over one database: `web` takes orders and shows news, `shipping` works them off."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from acked import App, Channel, Delivery, Gap, Redelivery, Reject, Topic
from acked.abc import AckLayer
from acked.inbox import Inbox
from acked.outbox import Outbox

DATABASE: Final = os.environ["ORDERS_DATABASE"]  # postgresql://user:password@host/shop
BROKER: Final = os.environ["ORDERS_BROKER"]  # redis-streams://, kafka:// or postgres-queue://
IN_DATABASE: Final = BROKER.startswith("postgres-queue:")
TABLE: Final = """select pg_advisory_xact_lock(1); create table if not exists orders (
    id uuid primary key, number bigint generated always as identity unique, customer text not null,
    item text not null, quantity int not null, state text not null default 'placed')"""
Text = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00-\x1f]{1,64}\Z")]


class Order(msgspec.Struct, forbid_unknown_fields=True):
    customer: Text
    item: Text
    quantity: Annotated[int, msgspec.Meta(ge=1, le=1000)]


class Event(NamedTuple):
    number: int
    customer: str
    state: str


PLACED: Final = Topic("orders", UUID)  # what was ordered is in the database alone
DEAD: Final = Topic("orders.dead", UUID)
NEWS: Final = Topic("orders.news", Event)
FIVE_TIMES: Final = Redelivery(max_deliveries=5, dead_letter=DEAD.name)
news: Final = Channel.from_url(f"postgres-notify:{DATABASE.split(':', 1)[1]}", fire_and_forget=True)
placed: Final = Channel.from_url(BROKER) if IN_DATABASE else Outbox(DATABASE)
inbox: Final = Inbox(DATABASE)
pool: "asyncpg.Pool[asyncpg.Record]"


@asynccontextmanager
async def opened(program: FastAPI | Channel[AckLayer]) -> AsyncGenerator[None]:
    """Open what both programs need; who has a channel publishes on it what was placed."""
    global pool
    relay = isinstance(program, Channel) and isinstance(placed, Outbox) and placed.relaying(program)
    async with asyncpg.create_pool(DATABASE, min_size=1, max_size=16) as pool:
        await pool.execute(TABLE)
        async with inbox, news, relay or placed:
            yield


PAGE: Final = Route("/", HTMLResponse(Path(__file__).with_name("page.html").read_text()))
web: Final = FastAPI(lifespan=opened, routes=[PAGE], openapi_url=None, max_body_size=4096)
shipping: Final = App(BROKER, lifespan=opened)


@web.put("/orders/{order_id}")
async def place(order_id: UUID, request: Request) -> dict[str, int]:
    """Place an order by the id that its customer drew: once, however often it is sent."""
    try:
        async with asyncio.timeout(5):
            order = msgspec.json.decode(await request.body(), type=Order)
    except (TimeoutError, ClientDisconnect, ValueError, msgspec.DecodeError):
        raise HTTPException(400, "send customer, item, quantity", {"Connection": "close"}) from None
    row = order_id, order.customer, order.item, order.quantity
    new = """insert into orders (id, customer, item, quantity) values ($1, $2, $3, $4)
        on conflict do nothing returning number"""
    same = "select number from orders where (id, customer, item, quantity) = ($1, $2, $3, $4)"
    async with pool.acquire() as mine, mine.transaction():
        if (number := await mine.fetchval(new, *row)) is not None:
            await placed.publish(PLACED, order_id, key=order.customer, connection=mine)
            await news.publish(NEWS, Event(number, order.customer, "placed"), connection=mine)
        elif (number := await mine.fetchval(same, *row)) is None:
            raise HTTPException(409, "another order has this id")
    return {"number": number}


@web.get("/events", response_class=EventSourceResponse)
async def events() -> AsyncIterable[Event]:
    """Tell a page how all stands, and then what happens."""
    latest = "select number, customer, state from orders order by number desc limit 500"
    async with news.subscribe(NEWS, capacity=256) as heard:
        for row in reversed(await pool.fetch(latest)):
            yield Event(*row)
        async for item in heard.with_gaps():
            if isinstance(item, Gap):
                return  # the page comes again, and is told how all stands
            yield item.body


@shipping.consumer(
    PLACED, group="shipping", concurrency=32, ordered_by="key", lease=5.0, redelivery=FIVE_TIMES
)
async def ship(delivery: Delivery[UUID]) -> None:
    """Ship an order, behind the earlier ones of its customer."""
    await settle(delivery, "shipped")


@shipping.consumer(DEAD, group="shipping", redelivery=Redelivery(dead_letter="orders.foreign"))
async def give_up(delivery: Delivery[UUID]) -> None:
    """Show that an order failed."""
    await settle(delivery, "failed")


async def settle(delivery: Delivery[UUID], state: str) -> None:
    """Do the work, tell the pages and settle the message: all of it once, or nothing."""
    update = """update orders set state = $2 where id = $1 and state = 'placed'
        returning number, customer, state"""
    async with pool.acquire() as mine, mine.transaction():
        if not IN_DATABASE and not await inbox.first_time(delivery, connection=mine):
            return
        if (row := await mine.fetchrow(update, delivery.body, state)) is None:
            raise Reject("no such order is owed")
        await news.publish(NEWS, Event(*row), connection=mine)
        if IN_DATABASE:
            await delivery.ack(connection=mine)
