"""The commands, as click knows them."""

import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
import click
import msgspec

from acked import CapabilityError, Channel
from acked.abc import AckLayer
from acked.cli.demo import Plan, Result, run
from acked.cli.endings import Refused, ending_in_order
from acked.cli.order_file import count_orders, shipped_orders
from acked.cli.redis_server import private_redis
from acked.cli.screen import Screen, show_table

__all__ = ("acked",)

SHIPPED_COUNT: Final = 20_000
"""Orders of the demo, where neither a file nor a number is given."""


@click.group()
@click.version_option(package_name="acked")
def acked() -> None:
    """Acknowledgement-first messaging: when ack() returned, the broker has said yes."""


@acked.command()
def layers() -> None:
    """List the layers that are installed, by the scheme of their URLs."""
    found = sorted(entry_points(group="acked.layers"), key=lambda entry: entry.name)
    for entry in found:
        click.echo(f"{entry.name + '://':<20} {entry.value}")


@acked.command()
@click.option(
    "--input",
    "path",
    type=click.Path(path_type=Path),
    help="A file with one JSON object on each line; 244 restaurant bills by default.",
)
@click.option(
    "--layer",
    type=click.Choice(["sqlite-queue", "redis-streams"]),
    help="sqlite-queue needs no server (the default); redis-streams starts a Redis of its own.",
)
@click.option(
    "--url",
    help="Any ack-capable layer that processes can share, where it is. Leaves a topic there.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    help="How many orders; the file is repeated or cut.  [default: its lines, or 20000 bills]",
)
@click.option("--workers", type=click.IntRange(2, 64), default=4, show_default=True)
@click.option(
    "--lease",
    type=click.FloatRange(0.1, 3600.0),
    default=2.0,
    show_default=True,
    help="Seconds until what a dead worker held goes to another.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One line of JSON on standard output; all else goes to standard error.",
)
@click.pass_context
def demo(
    context: click.Context,
    path: Path | None,
    layer: str | None,
    url: str | None,
    count: int | None,
    workers: int,
    lease: float,
    *,
    as_json: bool,
) -> None:
    """Publish orders, kill a worker in mid-work, and show that nothing is lost.

    Worker processes share the orders of a file; one of them is killed with SIGKILL, the rest
    finish. The exit status is 1 if an order was lost.
    """
    if layer and url:
        raise click.UsageError("give --layer or --url, not both")
    with ExitStack() as stack:
        stack.enter_context(ending_in_order())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acked-demo-")))
        file = path or stack.enter_context(shipped_orders())
        number = count_orders(file, count if path or count else SHIPPED_COUNT)
        where = url or stack.enter_context(served(layer or "sqlite-queue", folder))
        plan = Plan(path=file, count=number, url=where, workers=workers, lease=lease)
        result = carry_out(plan, folder)
    show_table(result, is_on_stderr=as_json)
    if as_json:
        click.echo(msgspec.json.encode(result.report))
    context.exit(0 if result.is_good else 1)


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
        return anyio.run(run, plan, channel, folder, screen)


def channel_to(url: str) -> Channel[AckLayer]:
    """Return a channel to `url`, or raise `Refused` for one that the demo can show nothing of."""
    scheme = urlsplit(url).scheme
    if scheme == "memory-queue":
        raise Refused("memory-queue:// lives in one process, and the demo needs several")
    try:
        return Channel.from_url(url)
    except CapabilityError:
        raise Refused(f"{scheme}:// has no acknowledgements; choose a layer that has") from None
