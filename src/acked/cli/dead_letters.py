"""The commands about dead letters: thin ones over `channel.dead_letters`."""

import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import click
import msgspec

from acked import Channel, DeadLetter, DeadLetterTopic
from acked.cli.endings import ending_in_order

__all__ = ("dead_letters",)

Work = Callable[[DeadLetterTopic], Awaitable[None]]
Command = Callable[..., Any]

SHOWN: Final = tuple(
    name for name in DeadLetter.__struct_fields__ if name not in {"headers", "key", "body"}
)
"""What is printed of a letter unless more is asked for: nothing that only its reader may see."""


@click.group("dead-letters")
def dead_letters() -> None:
    """Look into a topic of dead letters: list, count, replay, purge.

    Nothing is taken by looking. Where the broker is comes from ACKED_URL in the environment, or
    from --url where it has no password.
    """


def _of_a_topic(command: Command) -> Command:
    """Add what each command takes: where the broker is, the topic, the form of the output."""
    for add in (
        click.argument("topic"),
        click.option("--url", envvar="ACKED_URL", required=True, help="Where the broker is."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
    ):
        command = add(command)
    return command


def _chosen(command: Command) -> Command:
    """Add what says which letters are meant."""
    for add in (
        click.option("--dry-run", is_flag=True, help="Only say how many it would be."),
        click.option("--limit", type=click.IntRange(min=1), help="So many at most."),
        click.option("--from", "origin", help="Those that come from this topic."),
        click.option("--error", help="Those of this class of error."),
        click.option("--reason", help="Those whose reason has these words in it."),
        click.option("--id", "identity", help="The one that has this id."),
    ):
        command = add(command)
    return command


@dead_letters.command("list")
@_of_a_topic
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--show-bodies", is_flag=True, help="Print keys, headers and bodies, too.")
def list_letters(topic: str, url: str, limit: int, *, as_json: bool, show_bodies: bool) -> None:
    """List the letters in TOPIC, oldest first; with --json one to a line."""

    async def work(letters: DeadLetterTopic) -> None:
        async with aclosing(letters.list(limit=limit)) as found:
            async for letter in found:
                facts = _facts(letter, with_body=show_bodies)
                click.echo(json.dumps(facts) if as_json else _for_people(facts))

    _run(url, topic, work)


@dead_letters.command()
@_of_a_topic
def count(topic: str, url: str, *, as_json: bool) -> None:
    """Count the letters in TOPIC."""

    async def work(letters: DeadLetterTopic) -> None:
        found = await letters.count()
        click.echo(json.dumps({"count": found}) if as_json else found)

    _run(url, topic, work)


@dead_letters.command()
@_of_a_topic
@_chosen
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="So many a second.")
@click.option("--to", help="Publish them to this topic instead of where they came from.")
def replay(
    topic: str,
    url: str,
    *,
    as_json: bool,
    dry_run: bool,
    limit: int | None,
    rate: float | None,
    to: str | None,
    **words: str | None,
) -> None:
    """Publish the letters in TOPIC again, as the originals were, and remove them.

    The exit status is 1 if some could not be.
    """
    failed = 0

    async def work(letters: DeadLetterTopic) -> None:
        nonlocal failed
        result = await letters.replay(
            where=_where(**words), limit=limit, rate=rate, dry_run=dry_run, to=to
        )
        failed = result.failed
        _say(result, as_json=as_json, dry_run=dry_run)

    _run(url, topic, work)
    if failed:
        raise click.exceptions.Exit(1)


@dead_letters.command()
@_of_a_topic
@_chosen
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(
    topic: str,
    url: str,
    *,
    as_json: bool,
    dry_run: bool,
    limit: int | None,
    yes: bool,
    **words: str | None,
) -> None:
    """Remove the letters in TOPIC for good."""
    if not (yes or dry_run):
        click.confirm(f"Remove letters of {topic!r} for good?", abort=True, err=True)

    async def work(letters: DeadLetterTopic) -> None:
        result = await letters.purge(where=_where(**words), limit=limit, dry_run=dry_run)
        _say(result, as_json=as_json, dry_run=dry_run)

    _run(url, topic, work)


def _run(url: str, topic: str, work: Work) -> None:
    async def main() -> None:
        async with Channel.from_url(url) as channel:
            await work(channel.dead_letters(topic))

    with ending_in_order():
        anyio.run(main)


def _where(
    *, origin: str | None, error: str | None, reason: str | None, identity: str | None
) -> Callable[[DeadLetter], bool]:
    def is_meant(letter: DeadLetter) -> bool:
        return (
            (origin is None or letter.topic == origin)
            and (error is None or letter.error == error)
            and (reason is None or reason in letter.reason)
            and (identity is None or letter.id == identity)
        )

    return is_meant


def _facts(letter: DeadLetter, *, with_body: bool) -> dict[str, object]:
    facts: dict[str, object] = {name: getattr(letter, name) for name in SHOWN}
    if with_body:
        body = letter.body.decode("utf-8", "backslashreplace")
        facts |= {"key": letter.key, "headers": dict(letter.headers), "body": body}
    return facts


def _for_people(facts: dict[str, object]) -> str:
    died = facts["died"]
    if isinstance(died, float):
        facts["died"] = datetime.fromtimestamp(died, UTC).isoformat(timespec="seconds")
    said = (f"{name}={text!r}" for name, text in facts.items() if text or text == 0)
    return " ".join(said)


def _say(result: msgspec.Struct, *, as_json: bool, dry_run: bool) -> None:
    counts = msgspec.structs.asdict(result)
    if as_json:
        click.echo(json.dumps(counts | {"dry_run": dry_run}))
        return
    words = ", ".join(f"{name} {number}" for name, number in counts.items())
    click.echo(f"{words} (dry run: nothing was changed)" if dry_run else words)
