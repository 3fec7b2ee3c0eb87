"""A real browser for tests that ask for one, whichever room they are in."""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("ACKED_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"

# No sandbox: the tests may run as root. The rest keeps it from talking to anybody but the example.
QUIETLY = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def browser() -> AsyncGenerator[object]:
    """Debian's Chromium, headless; missing, it is a skip, or an error where CI requires it."""
    if not Path(CHROMIUM).exists():
        reason = "no chromium here: `apt-get install chromium`, or set ACKED_CHROMIUM"
        (pytest.fail if "chromium" in os.environ.get("ACKED_REQUIRE", "") else pytest.skip)(reason)
    assert asyncio.get_running_loop()
    from playwright.async_api import async_playwright  # not where only brokers are tested

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIETLY)
        yield browser
        await browser.close()
