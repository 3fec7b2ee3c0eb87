"""The chat in a real browser: two pages, messages both ways, and a broker that goes away."""

import os
from pathlib import Path

import anyio
import msgspec
import pytest
from playwright.async_api import Browser, Page, expect
from websockets.asyncio.client import ClientConnection, connect

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
    server = serve("memory://")
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


async def test_a_browser_that_speaks_in_riddles_is_shown_out(serve) -> None:
    server = serve("memory://")
    await server.answers()
    async with connect(server.address.replace("http", "ws") + "/talk") as socket:
        await line(socket)
        await socket.send("no JSON")
        with anyio.fail_after(10):
            await socket.wait_closed()
        assert socket.close_code == 1003


def test_the_picture_in_the_documentation_is_there() -> None:
    assert (Path(__file__).parents[2] / "docs/how-to/chat.png").stat().st_size > 5_000
