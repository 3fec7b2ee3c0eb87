"""Three browsers before the events page."""

import asyncio

import pytest
from playwright.async_api import Browser, Page, expect

from tests.orders.kit import Service

pytestmark = pytest.mark.anyio

COUNT = 30


async def visit(browser: Browser, service: Service) -> Page:
    page = await browser.new_page()
    await page.goto(service.address)
    await expect(page.locator("#live")).to_have_text("live", timeout=20_000)
    return page


async def test_three_browsers_see_every_order_placed_and_shipped(
    browser: Browser, service_on
) -> None:
    service: Service = await service_on("postgres")
    early = await service.order("who was there before")
    pages = [await visit(browser, service) for _ in range(3)]
    numbers = [await service.order(f"<b>{n}</b>") for n in range(COUNT)]
    for page in pages:
        await expect(page.locator("li.placed")).to_have_count(COUNT + 1, timeout=20_000)
    service.work(1)
    for page in pages:
        await expect(page.locator("li.shipped")).to_have_count(COUNT + 1, timeout=40_000)
        shown = await page.locator("li").evaluate_all("all => all.map(li => li.value)")
        assert shown == sorted([early, *numbers], reverse=True)
        assert await page.locator("li").first.inner_text() == f"<b>{COUNT - 1}</b>: shipped"
    await asyncio.gather(*(page.close() for page in pages))
