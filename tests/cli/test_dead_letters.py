"""The commands about dead letters, as an operator types them."""

import json
import time
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result

from acked import Channel, Redelivery
from acked.cli.commands import acked
from acked.layers.sqlite_queue import SQLiteQueueLayer

DEAD = Redelivery(dead_letter="orders.dead")


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    """A queue file with two dead letters, of a declined card and of a lost address."""

    async def fill() -> None:
        async with Channel(SQLiteQueueLayer(path)) as channel:
            await channel.publish("orders", "secret-1", key="k", id="one", headers={"from": "web"})
            await channel.publish("orders", "secret-2", id="two")
            async with channel.subscribe("orders", group="billing", redelivery=DEAD) as orders:
                await (await anext(orders)).reject(LookupError("the card was declined"))
                await (await anext(orders)).reject("no address")

    path = tmp_path / "queue.db"
    anyio.run(fill)
    return path


def invoke(queue: Path, *words: str, answer: str = "") -> Result:
    environment = {"ACKED_URL": f"sqlite-queue://{queue}"}
    return CliRunner().invoke(acked, ["dead-letters", *words], env=environment, input=answer)


def test_they_are_counted_and_listed_without_their_contents(queue: Path) -> None:
    assert invoke(queue, "count", "orders.dead").stdout == "2\n"
    assert json.loads(invoke(queue, "count", "orders.dead", "--json").stdout) == {"count": 2}
    listed = invoke(queue, "list", "orders.dead")
    assert listed.exit_code == 0
    assert listed.stdout.count("\n") == 2
    assert "secret" not in listed.stdout
    assert "web" not in listed.stdout
    assert "the card was declined" in listed.stdout


def test_a_program_reads_a_letter_to_a_line(queue: Path) -> None:
    first, second = invoke(queue, "list", "orders.dead", "--json", "--show-bodies").stdout.split(
        "\n"
    )[:2]
    letter = json.loads(first)
    assert (letter["topic"], letter["group"], letter["id"]) == ("orders", "billing", "one")
    assert (letter["key"], letter["headers"]) == ("k", {"from": "web"})
    assert (letter["body"], letter["error"], letter["attempt"]) == ('"secret-1"', "LookupError", 1)
    assert time.time() - letter["died"] < 600
    assert letter["consumer"]
    assert json.loads(second)["error"] == ""
    assert invoke(queue, "list", "orders.dead", "--limit", "1").stdout.count("\n") == 1


def test_those_that_are_meant_are_replayed(queue: Path) -> None:
    words = ["replay", "orders.dead", "--error", "LookupError", "--json"]
    dry = json.loads(invoke(queue, *words, "--dry-run").stdout)
    assert dry == {"replayed": 1, "skipped": 1, "failed": 0, "dry_run": True}
    assert invoke(queue, "count", "orders.dead").stdout == "2\n"
    assert json.loads(invoke(queue, *words).stdout) == dry | {"dry_run": False}
    assert invoke(queue, "count", "orders.dead").stdout == "1\n"
    elsewhere = invoke(queue, "replay", "orders.dead", "--to", "orders.again", "--rate", "100")
    assert elsewhere.stdout == "replayed 1, skipped 0, failed 0\n"
    assert invoke(queue, "count", "orders.again").stdout == "1\n"


def test_purging_asks_first(queue: Path) -> None:
    assert invoke(queue, "purge", "orders.dead", answer="n\n").exit_code == 1
    assert invoke(queue, "count", "orders.dead").stdout == "2\n"
    purged = invoke(queue, "purge", "orders.dead", "--reason", "address", answer="y\n")
    assert purged.stdout.endswith("purged 1, skipped 1\n")
    assert invoke(queue, "purge", "orders.dead", "--yes").stdout == "purged 1, skipped 0\n"
    assert invoke(queue, "count", "orders.dead").stdout == "0\n"


def test_what_cannot_be_done_is_refused_in_one_line(queue: Path) -> None:
    result = invoke(queue, "replay", "orders.dead", "--to", "orders.dead")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    no_url = CliRunner().invoke(acked, ["dead-letters", "count", "t"], env={"ACKED_URL": None})
    assert no_url.exit_code == 2
