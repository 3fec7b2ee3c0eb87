"""The one way into the demo: from the options of the command to the table."""

import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
import click
import msgspec

from acked import CapabilityError, Channel
from acked.abc import AckLayer
from acked.demo.causes import first_cause
from acked.demo.failures import Refused
from acked.demo.order_file import count_orders, shipped_orders
from acked.demo.redis_server import private_redis
from acked.demo.scenario import Plan, Result, play
from acked.demo.screen import Screen, show_table

__all__ = ("run_demo",)

SHIPPED_COUNT: Final = 20_000
"""Orders of the demo, where neither a file nor a number is given."""


def run_demo(
    path: Path | None,
    *,
    layer: str | None,
    url: str | None,
    count: int | None,
    workers: int,
    lease: float,
    as_json: bool,
) -> bool:
    """Run the demo as `acked demo --help` says, and show it; return whether no order was lost.

    Raises `Refused` or `ConfigurationError` before anything was published, `Broken` or another
    `AckedError` if the run broke off.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acked-demo-")))
        file = path or stack.enter_context(shipped_orders())
        number = count_orders(file, count if path or count else SHIPPED_COUNT)
        where = url or stack.enter_context(served(layer or "sqlite-queue", folder))
        plan = Plan(path=file, count=number, url=where, workers=workers, lease=lease)
        result = carry_out(plan, folder)
    show_table(result, is_on_stderr=as_json)
    if as_json:
        click.echo(msgspec.json.encode(result.report))
    return result.is_good


@contextmanager
def served(layer: str, folder: Path) -> Generator[str]:
    """Give the URL of a broker for this run alone, whose files are in `folder`."""
    if layer == "redis-streams":
        with private_redis(folder / "redis") as address:
            yield f"redis-streams://{address}"
    else:
        yield f"sqlite-queue://{folder}/orders.db"


def carry_out(plan: Plan, folder: Path) -> Result:
    """Run the demo with its progress on the screen."""
    channel = channel_to(plan.url)
    with Screen(plan.count) as screen:
        try:
            return anyio.run(play, plan, channel, folder, screen)
        except ExceptionGroup as group:
            first = first_cause(group)
            raise first from first.__cause__


def channel_to(url: str) -> Channel[AckLayer]:
    """Return a channel to `url`, or raise `Refused` for one that the demo can show nothing of."""
    scheme = urlsplit(url).scheme
    if scheme == "memory-queue":
        raise Refused("memory-queue:// lives in one process, and the demo needs several")
    try:
        return Channel.from_url(url)
    except CapabilityError:
        raise Refused(f"{scheme}:// has no acknowledgements; choose a layer that has") from None
