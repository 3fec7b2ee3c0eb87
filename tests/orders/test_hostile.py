"""What somebody hostile sends to the order service: he gains nothing, and nobody else loses."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import psutil
import pytest

from tests.orders.kit import MODULE, PAGES_AND_MORE, PASSWORD, Page, Service, until

pytestmark = pytest.mark.anyio

SECRET = "4111-1111-1111-1111"
GOOD = {"customer": "ann", "item": "tea", "quantity": 1}


def order(**fields: object) -> bytes:
    return json.dumps(GOOD | fields).encode()


NO_ORDERS = {
    "nothing": b"",
    "no JSON": f"{SECRET}".encode(),
    "cut short": order()[:-1],
    "deep": b"[" * 4000,
    "deep in a field": b'{"customer": ' + b"[" * 4000,
    "deep in an unknown field": b'{"x": ' + b'{"x":' * 800,
    "NaN": order(quantity=float("nan")),
    "infinity": order(quantity=float("inf")),
    "a huge number": b'{"customer": "a", "item": "b", "quantity": ' + b"9" * 3000 + b"}",
    "too large a number": order(quantity=1001),
    "less than nothing": order(quantity=-1),
    "a number as text": order(quantity=SECRET),
    "a bool": order(quantity=True),
    "a list": json.dumps([GOOD]).encode(),
    "null": b"null",
    "one field more": order(state="shipped"),
    "one field less": b'{"customer": "ann", "item": "tea"}',
    "half a surrogate pair": order(customer="\ud800"),
    "NUL": order(item="tea\0"),
    "a line feed": order(customer="ann\nERROR forged"),
    "no UTF-8": order(customer="X").replace(b"X", b"\xff"),
    "a surrogate in UTF-8": order(customer="X").replace(b"X", b"\xed\xa0\x80"),
    "nobody": order(customer=""),
    "too long a name": order(customer="a" * 65),
}


async def test_what_is_no_order_is_refused_without_a_word_of_it(service_on) -> None:
    service: Service = await service_on("postgres")
    for words, body in NO_ORDERS.items():
        status, text = await service.ask("PUT", f"/orders/{uuid4()}", body)
        assert (status, words) == (400, words)
        assert SECRET not in text
    for path in (f"/orders/{SECRET}", "/orders/", f"/orders/{uuid4()}/x", "/docs", "/openapi.json"):
        status, _ = await service.ask("PUT", path, order())
        assert status in (404, 405, 422)
    assert await service.fetch("select from orders") == []
    await service.order("\u202eann \U0001f600 'quoted'; drop table orders")
    assert len(await service.fetch("select from orders")) == 1
    assert SECRET not in service.log
    assert "Traceback" not in service.log


async def test_an_id_is_one_order_whoever_sends_it_again(service_on) -> None:
    service: Service = await service_on("postgres")
    by = uuid4()
    numbers = await asyncio.gather(*(service.order("ann", by=by) for _ in range(20)))
    assert len(set(numbers)) == 1
    for other in (order(quantity=2), order(item="gold"), order(customer="eve")):
        status, text = await service.ask("PUT", f"/orders/{by}", other)
        assert (status, text) == (409, '{"detail":"another order has this id"}')
    assert await service.order("ann", by=by) == numbers[0]
    (row,) = await service.fetch("select customer, item, quantity from orders")
    assert dict(row) == GOOD
    queued = await service.fetch("select from acked.message")
    assert len(queued) == 1


@asynccontextmanager
async def connected(service: Service, *sent: bytes) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        for part in sent:
            writer.write(part)
        yield reader
    finally:
        writer.close()


async def test_what_is_too_large_or_too_slow_takes_neither_memory_nor_a_place(service_on) -> None:
    service: Service = await service_on("postgres")
    head = f"PUT /orders/{uuid4()} HTTP/1.1\r\nHost: shop\r\n".encode()
    slow = connected(service, head, b"Content-Length: 99\r\n\r\n{")
    gone = connected(service, head, b"Content-Length: 99\r\n\r\n{")
    async with slow as waiting, asyncio.timeout(60):
        async with gone:
            pass
        declared = b"Content-Length: 99999999999\r\n\r\n"
        async with connected(service, head, declared, b"x" * 100_000) as reader:
            assert (await reader.readline()).split()[1] == b"413"
        endless = [
            b"Transfer-Encoding: chunked\r\n\r\n",
            *[b"400\r\n" + b"x" * 1024 + b"\r\n"] * 20,
        ]
        async with connected(service, head, *endless) as reader:
            assert (await reader.readline()).split()[1] == b"413"
        assert (await waiting.readline()).split()[1] == b"400"
        await waiting.read()  # to the end: the connection is closed
    await service.order("ann")
    assert "Traceback" not in service.log


async def test_another_site_can_neither_order_nor_read(service_on) -> None:
    """A browser asks first, for it is a PUT; and what may not be read has no word that allows it."""
    service: Service = await service_on("postgres")
    evil = {"Origin": "https://evil.example"}
    asked = {"Access-Control-Request-Method": "PUT"}
    status, _ = await service.ask("OPTIONS", f"/orders/{uuid4()}", **evil, **asked)
    assert status == 405
    for method in ("POST", "GET"):  # what it may send without asking
        status, _ = await service.ask(method, f"/orders/{uuid4()}", order(), **evil)
        assert status == 405
    head = b"GET /events HTTP/1.1\r\nHost: shop\r\nOrigin: https://evil.example\r\n\r\n"
    async with connected(service, head) as reader, asyncio.timeout(60):
        answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"access-control-" not in answer.lower()
    assert await service.fetch("select from orders") == []


async def test_pages_without_end_are_refused_and_take_no_memory(service_on) -> None:
    service: Service = await service_on("postgres")
    process = psutil.Process(service.web.pid)
    look = b"GET /events HTTP/1.0\r\n\r\n"

    async def status(reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(60):
            return (await reader.readline()).split()[1]

    before = 0
    for _ in range(3):
        writers, found = [], []
        for _ in range(PAGES_AND_MORE + 20):
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(look)
            writers.append(writer)
            found.append(await status(reader))
        assert set(found) == {b"200", b"503"}
        assert found.count(b"200") < PAGES_AND_MORE
        for writer in writers:
            writer.close()

        async def lets_in() -> bool:
            async with connected(service, look) as reader:
                return await status(reader) == b"200"

        await until(lets_in)
        before = before or process.memory_info().rss
    assert process.memory_info().rss - before < 16 * 1024 * 1024
    assert "Traceback" not in service.log


async def test_a_page_that_does_not_read_is_sent_away_and_foreign_news_are_no_news(
    service_on,
) -> None:
    service: Service = await service_on("postgres")
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.settimeout(60)
        await asyncio.to_thread(lazy.connect, ("127.0.0.1", service.port))
        lazy.sendall(b"GET /events HTTP/1.0\r\n\r\n")
        assert (await asyncio.to_thread(lazy.recv, 12)).endswith(b" 200")
        page = Page(service)
        looking = asyncio.create_task(page.stay())
        await service.order("ann")
        await service.execute(
            "select pg_notify('orders.news', 'no news'), pg_notify('orders.news', '[1, 2, 3]'),"
            "pg_notify('orders.news', repeat('[', 7000))"
        )
        for first in range(0, 20_000, 1000):
            await service.execute(
                f"""select pg_notify('orders.news', format('[%s, "%s", "placed"]', n, repeat('x', 500)))
                from generate_series({first + 1000}, {first + 1999}) n"""
            )
        number = await service.order("ben")

        async def is_shown() -> bool:
            return page.shown.get(number) == "placed"

        await until(is_shown)
        while await asyncio.to_thread(lazy.recv, 1 << 20):
            pass  # to the end: its page would come again, and be told how all stands
    looking.cancel()
    assert "Traceback" not in service.log


@pytest.mark.parametrize(
    "words", [["uvicorn", f"{MODULE}:web"], ["acked", "run", f"{MODULE}:shipping"]]
)
def test_nobody_is_told_the_password(words: list[str], tmp_path) -> None:
    """Not even by the traceback of a start that failed."""
    nowhere = f"postgresql://acked:{PASSWORD}@127.0.0.1:1/shop"
    queue = nowhere.replace("postgresql:", "postgres-queue:")
    service = Service(nowhere, queue, tmp_path)
    process = service.start(*words)
    assert process.wait(60) != 0
    assert "refused" in service.log.lower() or "connect" in service.log.lower()
    assert PASSWORD not in service.log
