"""300 orders through the service as it is, on each broker, while workers are killed."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from acked import Channel, Topic
from acked.codecs import RAW
from acked.outbox import Outbox
from tests.orders.kit import ROOT, Page, Service, until

pytestmark = pytest.mark.anyio

CUSTOMERS = 12
ORDERS_OF_EACH = 25
WORKERS = 2
BROKEN = {(3, 6), (8, 11)}
"""Which orders of which customer cannot be shipped."""
SEEN = """
    create table effects (n bigserial, number bigint, customer text);
    create function work() returns trigger language plpgsql as $$ begin
        if new.item = 'broken' then raise exception 'it cannot be packed'; end if;
        if new.item like 'once%' and nextval(new.item::regclass) = 1 then
            raise exception 'the printer jams';
        end if;
        perform pg_sleep(0.005);
        insert into effects (number, customer) values (new.number, new.customer);
        return new;
    end $$;
    create trigger work before update on orders for each row
        when (new.state = 'shipped') execute function work();
"""
"""The work of shipping an order, which can fail, and what it leaves."""


def item_of(customer: int, place: int) -> str:
    """Return what is ordered: one in ten fails once."""
    number = customer * ORDERS_OF_EACH + place
    if (customer, place) in BROKEN:
        return "broken"
    return f"once{number}" if number % 10 == 0 else "tea"


async def buy(service: Service, customer: int) -> None:
    """Order one thing after the other, some of them again and again."""
    for place in range(ORDERS_OF_EACH):
        item, by = item_of(customer, place), uuid4()
        tries = 3 if place % 7 == 0 else 1
        found = await asyncio.gather(
            *(service.order(f"customer {customer}", item, by=by) for _ in range(tries))
        )
        assert len(set(found)) == 1


async def kill_when(service: Service, effects: int, count: int) -> None:
    """Kill so many workers at once, in the middle of their work."""

    async def is_time() -> bool:
        is_whole = len(service.workers()) == WORKERS
        return is_whole and len(await service.fetch("select from effects")) >= effects

    await until(is_time)
    for worker in service.workers()[:count]:
        worker.kill()


@pytest.mark.crash
@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker", ["postgres", "redis", "kafka"])
async def test_each_order_is_shipped_once_and_in_the_order_of_its_customer(
    service_on, broker: str
) -> None:
    service: Service = await service_on(broker)
    items = [item_of(c, p) for c in range(CUSTOMERS) for p in range(ORDERS_OF_EACH)]
    once = [item for item in items if item.startswith("once")]
    assert len(once) == len(items) // 10
    await service.execute(SEEN + "".join(f"create sequence {item};" for item in once))
    service.work(WORKERS)
    pages = [Page(service) for _ in range(3)]
    looking = [asyncio.create_task(page.stay()) for page in pages]
    async with asyncio.TaskGroup() as tasks:
        for customer in range(CUSTOMERS):
            tasks.create_task(buy(service, customer))
        tasks.create_task(kill_when(service, 50, 1))
        tasks.create_task(kill_when(service, 150, 2))

    async def is_done() -> bool:
        return not await service.fetch("select from orders where state = 'placed'")

    await until(is_done)
    states = {row["number"]: row["state"] for row in await service.fetch("select * from orders")}
    assert len(states) == len(items)
    assert [*states.values()].count("failed") == len(BROKEN)
    effects = await service.fetch("select number, customer from effects order by n")
    shipped = [number for number, state in states.items() if state == "shipped"]
    assert sorted(row["number"] for row in effects) == sorted(shipped)
    for customer in range(CUSTOMERS):
        of_one = [row["number"] for row in effects if row["customer"] == f"customer {customer}"]
        assert of_one == sorted(of_one)

    async def all_is_shown() -> bool:
        return all(page.shown == states for page in pages)

    await until(all_is_shown)
    assert service.log.count("ended (-9)") == 3
    if broker != "postgres":  # which needs no outbox
        assert (await Outbox(service.database).status()).waiting == 0
        await what_a_relay_publishes_again_changes_nothing(service)
    await foreign_messages_are_set_aside(service)
    for one in looking:
        one.cancel()


async def foreign_messages_are_set_aside(service: Service) -> None:
    """Whatever somebody else publishes ends among the dead letters, and the group goes on."""
    (shipped,) = await service.fetch("select id from orders where state = 'shipped' limit 1")
    raw = Topic("orders", bytes, codec=RAW)
    no_json = [b"\xff no JSON", b"", b"[" * 10_000, b"NaN", b'"\\ud800"', b"\0"]
    no_order = ["no id", 7, None, {"id": str(shipped["id"])}, str(uuid4()), str(shipped["id"])]
    async with Channel.from_url(service.broker) as channel:
        for body in no_json:
            await channel.publish(raw, body)
        for body in no_order:
            await channel.publish("orders", body, key="customer 1")
        foreign = channel.dead_letters("orders.foreign")
        number = await service.order("customer 1")

        async def is_over() -> bool:
            query = f"select from orders where number = {number} and state = 'shipped'"
            found = await foreign.count()
            return bool(await service.fetch(query)) and found >= len(no_json + no_order)

        await until(is_over)
        assert await foreign.count() == len(no_json) + len(no_order)


async def what_a_relay_publishes_again_changes_nothing(service: Service) -> None:
    """One that was killed before it knew that the broker had confirmed."""
    async with Channel.from_url(service.broker) as channel:
        async with channel.subscribe("orders", group="looking on") as everything:
            async with asyncio.timeout(60), await anext(everything) as first:
                again = {"id": first.id, "key": first.key}
        await channel.publish("orders", first.body, **again)


def test_it_has_no_more_than_150_lines() -> None:
    files = [file for file in Path(ROOT / "docs/examples/orders").rglob("*") if file.is_file()]
    files = [file for file in files if "__pycache__" not in file.parts]
    assert {file.suffix for file in files} == {".py", ".html"}
    assert sum(len(file.read_text().splitlines()) for file in files) <= 150
