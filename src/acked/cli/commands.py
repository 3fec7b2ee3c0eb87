"""The commands, as click knows them."""

from contextlib import AbstractContextManager
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import click
from click.core import ParameterSource

from acked.cli.dead_letters import dead_letters
from acked.cli.endings import ending_in_order
from acked.cli.outbox import outbox
from acked.cli.running import app_named, run_app
from acked.cli.supervisor import Changes, Supervisor
from acked.demo.run import run_demo
from acked.inbox import Inbox
from acked.outbox import Outbox

__all__ = ("acked",)


@click.group()
@click.version_option(package_name="acked")
def acked() -> None:
    """Acknowledgement-first messaging: when ack() returned, the broker has said yes."""


acked.add_command(dead_letters)
acked.add_command(outbox)


@acked.command()
def layers() -> None:
    """List the layers that are installed, by the scheme of their URLs."""
    found = sorted(entry_points(group="acked.layers"), key=lambda entry: entry.name)
    for entry in found:
        click.echo(f"{entry.name + '://':<20} {entry.value}")


@acked.command()
@click.option("--schema", "name", default="acked", show_default=True, help="Where the tables are.")
@click.option(
    "--of",
    "what",
    type=click.Choice(["queue", "outbox", "inbox"]),
    default="queue",
    show_default=True,
    help="Of a postgres-queue, or of what stands beside your data.",
)
@click.option(
    "--since",
    type=int,
    default=0,
    show_default=True,
    help="The version of the queue's tables that there are: 0 for none.",
)
def schema(name: str, what: str, since: int) -> None:
    """Print the SQL of tables in PostgreSQL, for who makes them by hand: in one transaction."""
    with ending_in_order():
        try:
            layer = import_module("acked.layers.postgres_queue").PostgresQueueLayer
        except ImportError as error:
            raise click.ClickException(str(error)) from error
        if what == "queue":
            click.echo(layer.schema_sql(name, since=since))
        else:
            click.echo((Outbox if what == "outbox" else Inbox).schema_sql(name))


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
    envvar="ACKED_URL",
    help="Any ack-capable layer that processes can share, where it is; with a password rather "
    "as ACKED_URL in the environment. Leaves two topics there.",
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
    """Publish orders, kill workers in mid-work, and show that nothing is lost.

    Worker processes share the orders of a file; one of them is killed with SIGKILL, the rest
    finish. One order more is a poison that kills whichever worker handles it: it alone must end
    among the dead letters. The exit status is 1 if an order was lost, or another one is there.
    """
    named_here = context.get_parameter_source("url") is ParameterSource.COMMANDLINE
    if layer and not named_here:
        url = None
    if layer and url:
        raise click.UsageError("give --layer or --url, not both")
    with ending_in_order():
        is_good = run_demo(
            path,
            layer=layer,
            url=url,
            count=count,
            workers=workers,
            lease=lease,
            as_json=as_json,
        )
    context.exit(0 if is_good else 1)


@acked.command()
@click.argument("app")
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option(
    "--health-port",
    type=click.IntRange(1, 65000),
    help="Answer GET /live and GET /ready here; process number N, from 0, on this port + N.",
)
@click.option(
    "--reload",
    "reloads",
    is_flag=True,
    help="Drain and begin again when a Python file below this folder changes; for development.",
)
@click.pass_context
def run(
    context: click.Context, app: str, processes: int, health_port: int | None, *, reloads: bool
) -> None:
    """Run the consumers of APP, as in shop:app, until SIGTERM or Ctrl-C.

    Then they drain: handlers may end, the rest is given back. A second signal ends all at once. A
    process that dies is replaced where there are several. The exit status is 0 after a drain, 1
    when a consumer could not go on, 2 when APP cannot be run, 128 + signal after a second one.
    """
    with ending_in_order():
        if reloads:
            with code_changes() as changes:
                context.exit(Supervisor(app, processes, health_port, changes).run())
        found = app_named(app)
        if processes > 1:
            context.exit(Supervisor(app, processes, health_port).run())
        run_app(found, port=health_port)


def code_changes() -> AbstractContextManager[Changes]:
    """Return what watches the code of the current folder."""
    try:
        watching = import_module("acked.cli.reloading")
    except ImportError as error:
        raise click.UsageError("--reload needs watchfiles: pip install 'acked[reload]'") from error
    found: AbstractContextManager[Changes] = watching.CodeChanges(Path.cwd())
    return found
