"""`acked outbox`: relay what was committed, and look after it."""

import signal
from collections.abc import Callable
from typing import TypeVar

import anyio
import click

from acked import Channel
from acked.cli.endings import ending_in_order
from acked.outbox import Outbox

__all__ = ("outbox",)

F = TypeVar("F", bound=Callable[..., object])


def _database(command: F) -> F:
    """Add the options that say where the outbox is."""
    command = click.option(
        "--schema", default="acked", show_default=True, help="Where its table is."
    )(command)
    return click.option(
        "--database",
        envvar="ACKED_OUTBOX",
        required=True,
        help="postgresql://... or sqlite:///path; with a password rather as ACKED_OUTBOX in the "
        "environment.",
    )(command)


@click.group()
def outbox() -> None:
    """Publish what was committed beside your data."""


@outbox.command()
@click.option(
    "--to",
    "url",
    envvar="ACKED_URL",
    required=True,
    help="The ack-capable layer to publish to; with a password rather as ACKED_URL in the "
    "environment.",
)
@click.option(
    "--give-up-after",
    type=click.FloatRange(0.0),
    default=300.0,
    show_default=True,
    help="Seconds after which what the broker refuses is set aside.",
)
@_database
def relay(url: str, give_up_after: float, database: str, schema: str) -> None:
    """Relay until SIGTERM or Ctrl-C: then the page that is under way is ended, and the status is 0.

    Any number of relays may run. While the broker is away all waits. The status is 1 when something
    in the database does not pass by itself, 2 when what was asked for cannot be.
    """
    with ending_in_order():
        anyio.run(_relay, Outbox(database, schema=schema), url, give_up_after)


async def _relay(box: Outbox, url: str, give_up_after: float) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with (
            Channel.from_url(url) as channel,
            box,
            box.relaying(channel, give_up_after=give_up_after),
        ):
            await anext(signals)


@outbox.command()
@_database
def status(database: str, schema: str) -> None:
    """Say how much waits, for how long, and how much was set aside."""
    with ending_in_order():
        found = anyio.run(Outbox(database, schema=schema).status)
    click.echo(
        f"waiting {found.waiting}, the oldest for {found.oldest:.1f} s; set aside {found.set_aside}"
    )


@outbox.command()
@_database
def retry(database: str, schema: str) -> None:
    """Let what was set aside be published again."""
    with ending_in_order():
        count = anyio.run(Outbox(database, schema=schema).retry)
    click.echo(f"{count} to be tried again")
