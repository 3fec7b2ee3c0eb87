"""The chat in a real browser: two pages, messages both ways, and a broker that goes away."""

import os
from pathlib import Path

import anyio
import msgspec
import pytest
from playwright.async_api import Browser, Page, expect
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.anyio

PICTURE = os.environ.get("ACKED_CHAT_PICTURE")
"""Where to put a picture of the chat, for the documentation."""

expect.set_options(timeout=20_000)


async def visit(browser: Browser, address: str, name: str) -> Page:
    page = await browser.new_page(viewport={"width": 460, "height": 520})
    await page.goto(f"{address}/?name={name}")
    await expect(page.locator("#state")).to_have_text("live")
    return page


async def say(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.click("#send")


async def lines(page: Page) -> list[str]:
    """Return what the page shows, notices in brackets."""
    script = "all => all.map(li => li.matches('.missed, .refused') ? `[${li.className}]` : li.lastChild.textContent)"
    return await page.locator("#lines li").evaluate_all(script)


async def test_two_pages_see_one_anothers_messages(browser: Browser, serve) -> None:
    server = serve("memory://")
    await server.answers()
    ada, ben = (
        await visit(browser, server.address, "Ada"),
        await visit(browser, server.address, "Ben"),
    )
    await say(ada, "hello Ben")
    await expect(ben.locator("#lines li").last).to_contain_text("hello Ben")
    await say(ben, "hello Ada <b>&")
    for page in (ada, ben):
        await expect(page.locator("#lines li")).to_have_count(2)
        assert await lines(page) == ["hello Ben", "hello Ada <b>&"]
    assert await ada.locator("#lines li.mine").count() == 1


def redis(broker) -> str:
    return broker.url.replace("redis://", "redis-pubsub://")


def postgres(broker) -> str:
    return "postgres-notify://" + broker.url.partition("://")[2]


def mqtt(broker) -> str:
    return broker.url


@pytest.mark.parametrize(
    ("name", "layer_url"), [("redis", redis), ("postgres", postgres), ("mqtt", mqtt)]
)
async def test_a_restarted_broker_is_survived_and_owned_up_to(
    browser: Browser, serve, private_broker, name: str, layer_url
) -> None:
    """The pages stay open, go on, say that messages may have been missed, and show none twice."""
    broker = private_broker(name)
    server = serve(layer_url(broker))
    await server.answers()
    ada, ben = (
        await visit(browser, server.address, "Ada"),
        await visit(browser, server.address, "Ben"),
    )
    await say(ada, "before")
    await expect(ben.locator("#lines li").last).to_contain_text("before")
    broker.stop()
    await say(ada, "into the void")
    if name != "mqtt":  # which waits for the broker, and keeps the line for it
        await expect(ada.locator("#lines li.refused")).to_have_count(1)
    broker.start()
    await say_until_seen(ben, ada, "after")
    await say(ada, "and on")
    for page in (ada, ben):
        await expect(page.locator("#lines li").last).to_contain_text("and on")
        shown = await lines(page)
        said = [text for text in shown if not text.startswith("[")]
        assert len(said) == len(set(said)), f"shown twice: {said}"
        assert {"before", "after 0", "and on"} - {"after 0"} <= set(said)
        if name != "mqtt":  # a broker that keeps messages leaves no gap
            assert "[missed]" in shown
            assert shown.index("before") < shown.index("[missed]") < shown.index("and on")
    if PICTURE and name == "redis":
        await ada.screenshot(path=PICTURE)


async def say_until_seen(writer: Page, reader: Page, text: str) -> None:
    """Say `text` and a number, again and again, until the broker is back and `reader` shows one."""
    for number in range(100):
        await say(writer, f"{text} {number}")
        with anyio.move_on_after(1):
            while not any(line.startswith(text) for line in await lines(reader)):
                await anyio.sleep(0.05)
            return
    raise AssertionError(f"{text!r} was never seen")


async def test_a_page_whose_server_was_away_says_so(browser: Browser, serve) -> None:
    server = serve("memory://")
    await server.answers()
    ada = await visit(browser, server.address, "Ada")
    server.stop()
    await expect(ada.locator("#state")).to_contain_text("away")
    server.start()
    await server.answers()
    await expect(ada.locator("#state")).to_have_text("live")
    assert await lines(ada) == ["[missed]"]


async def line(socket: ClientConnection) -> dict[str, object]:
    with anyio.fail_after(20):
        return msgspec.json.decode(await socket.recv())


async def test_a_slow_browser_is_told_how_many_lines_it_missed(serve) -> None:
    """One that does not read at all: bounded in the server, counted, and the others unharmed."""
    server = serve("memory://", "--rate", "1000000", "--characters", "4000")
    await server.answers()
    address = server.address.replace("http", "ws") + "/talk"
    async with (
        connect(address, max_queue=1, compression=None) as slow,
        connect(address, compression=None) as writer,
    ):
        for one in (slow, writer):
            assert (await line(one))["kind"] == "welcome"
        count, text = 10_000, "x" * 4000  # far more than the sockets and the stream hold
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                for number in range(count):
                    said = {"kind": "line", "id": str(number), "name": "w", "text": text}
                    await writer.send(msgspec.json.encode(said).decode())

            tasks.start_soon(write)
            seen = missed = 0
            while seen + missed < count:
                event = await line(writer)
                seen += event["kind"] == "line"
                missed += event["count"] if event["kind"] == "missed" else 0
        seen_slowly = missed_slowly = 0
        while seen_slowly + missed_slowly < count:
            event = await line(slow)
            seen_slowly += event["kind"] == "line"
            missed_slowly += event["count"] if event["kind"] == "missed" else 0
        assert seen_slowly + missed_slowly == count
        assert missed_slowly > 0


def socket_of(server) -> str:
    return server.address.replace("http", "ws") + "/talk"


RIDDLES = {
    "no JSON": "no JSON",
    "binary": b"\x00\xff",
    "too little": '{"kind": "line"}',
    "deep": '{"kind": "line", "x": ' + "[" * 30_000,
    "NaN": '{"kind": "line", "id": "1", "name": "w", "text": NaN}',
    "half a surrogate pair": r'{"kind": "line", "id": "1", "name": "w", "text": "\ud800"}',
    "a list": "[]",
}


@pytest.mark.parametrize("riddle", RIDDLES.values(), ids=RIDDLES)
async def test_a_browser_that_speaks_in_riddles_is_shown_out(
    serve, riddle: str | bytes, capfd
) -> None:
    server = serve("memory://")
    await server.answers()
    async with connect(socket_of(server)) as socket:
        await line(socket)
        await socket.send(riddle)
        with anyio.fail_after(10):
            await socket.wait_closed()
        assert socket.close_code == 1003
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("origin", "welcome"), [("http://evil.example", False), ("null", False), (None, True)]
)
async def test_a_page_of_somebody_else_may_not_talk(
    serve, origin: str | None, welcome: bool
) -> None:
    server = serve("memory://")
    await server.answers()
    if welcome:
        for ours in (None, server.address):
            async with connect(socket_of(server), origin=ours) as socket:
                assert (await line(socket))["kind"] == "welcome"
        return
    with pytest.raises(InvalidStatus) as refused:
        async with connect(socket_of(server), origin=origin):
            pass
    assert refused.value.response.status_code == 403


def said(text: str, name: str = "w") -> str:
    return msgspec.json.encode(
        {"kind": "line", "id": text[:9], "name": name, "text": text}
    ).decode()


async def test_what_is_too_long_reaches_nobody(serve) -> None:
    server = serve("memory://")
    await server.answers()
    async with connect(socket_of(server)) as reader, connect(socket_of(server)) as writer:
        for one in (reader, writer):
            await line(one)
        await writer.send(said("x" * 501))
        assert (await line(writer))["kind"] == "refused"
        await writer.send(said("y" * 500))
        assert (await line(reader))["text"] == "y" * 500
        await writer.send(said("z" * 15 * 1024 * 1024))
        with anyio.fail_after(10):
            await writer.wait_closed()
        assert writer.close_code == 1009
        async with connect(socket_of(server)) as another:
            await line(another)
            await another.send(said("short", name="n" * 31))
            with anyio.fail_after(10):
                await another.wait_closed()
            assert another.close_code == 1003


async def test_who_talks_too_fast_is_heard_later(serve) -> None:
    server = serve("memory://", "--rate", "20")
    await server.answers()
    async with connect(socket_of(server)) as reader, connect(socket_of(server)) as writer:
        for one in (reader, writer):
            await line(one)
        began = anyio.current_time()
        for number in range(30):
            await writer.send(said(str(number)))
        heard = [(await line(reader))["text"] for _ in range(30)]
        assert heard == [str(number) for number in range(30)]
        assert anyio.current_time() - began >= 0.9  # ten at once, the others at twenty a second


async def test_a_foreign_message_closes_no_page(serve, redis_broker) -> None:
    server = serve(redis(redis_broker))
    await server.answers()
    async with connect(socket_of(server)) as socket, Redis.from_url(redis_broker.url) as client:
        await line(socket)
        await client.publish("chat", b"\xff no line")
        await socket.send(said("still here"))
        assert (await line(socket))["text"] == "still here"


def test_the_picture_in_the_documentation_is_there() -> None:
    assert (Path(__file__).parents[2] / "docs/how-to/chat.png").stat().st_size > 5_000
