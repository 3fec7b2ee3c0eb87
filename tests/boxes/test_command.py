"""`acked outbox`: a relay as a process of its own, and its neighbours."""

import os
import signal
import subprocess
import sys

import anyio
import pytest
from click.testing import CliRunner, Result

from acked import Channel
from acked.cli.commands import acked
from acked.inbox import Inbox
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.outbox import Outbox
from tests.boxes.kit import published, sqlite_at, until_waiting
from tests.layers.postgres_kit import connected, fresh

pytestmark = pytest.mark.anyio


def invoke(*words: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(acked, list(words))


async def test_a_relay_runs_until_it_is_told_to_stop(tmp_path) -> None:
    database, queue = sqlite_at(tmp_path / "shop.db"), tmp_path / "queue.db"
    urls = {"ACKED_OUTBOX": database.url, "ACKED_URL": f"sqlite-queue://{queue}"}
    async with database.outbox() as outbox:
        async with database.begin() as connection:
            await outbox.publish("t", 1, connection=connection)
        relay = subprocess.Popen(
            [sys.executable, "-m", "acked", "outbox", "relay"],
            env=os.environ | urls,
            stderr=subprocess.PIPE,
        )
        try:
            async with Channel(SQLiteQueueLayer(queue)) as channel:
                assert [one.body for one in await published(channel, "t", 1)] == [1]
            await until_waiting(outbox, 0)
            relay.send_signal(signal.SIGTERM)
            _, words = relay.communicate(timeout=20)
        finally:
            relay.kill()
    assert (relay.returncode, words) == (0, b"")


def test_what_waits_is_told_and_what_was_set_aside_tried_again(tmp_path) -> None:
    database = sqlite_at(tmp_path / "shop.db")

    async def put_two() -> None:
        async with database.outbox() as outbox, database.begin() as connection:
            await outbox.publish("t", 1, connection=connection)
            await outbox.publish("t", 2, connection=connection)
            connection.execute("update acked_outbox set is_aside = 1 where seq = 1")

    anyio.run(put_two)
    told = invoke("outbox", "status", ACKED_OUTBOX=database.url)
    assert told.exit_code == 0
    assert told.output.startswith("waiting 1, the oldest for ")
    assert told.output.endswith("; set aside 1\n")
    assert invoke("outbox", "retry", ACKED_OUTBOX=database.url).output == "1 to be tried again\n"
    assert invoke("outbox", "status", ACKED_OUTBOX=database.url).output.startswith("waiting 2, ")


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["outbox", "status", "--database", "mysql://me:secret@host/x"], 2, "sqlite:///"),
        (["outbox", "status", "--database", "sqlite:///nowhere/x.db"], 1, "must be there"),
        (["outbox", "status"], 2, "Missing option '--database'"),
    ],
)
def test_what_cannot_be_done_is_told_without_a_password(words, status, reason) -> None:
    result = invoke(*words)
    assert result.exit_code == status
    assert reason in result.stderr
    assert "secret" not in result.output


@pytest.mark.parametrize("box", ["outbox", "inbox"])
async def test_the_printed_sql_makes_the_tables_on_postgres(box: str, postgres_broker) -> None:
    schema = fresh(box).replace("-", "_")
    printed = invoke("schema", "--of", box, "--schema", schema)
    assert printed.exit_code == 0
    async with connected(postgres_broker.url) as admin, admin.transaction():
        await admin.execute(printed.output)
    kind = {"outbox": Outbox, "inbox": Inbox}[box]
    async with kind(postgres_broker.url, schema=schema, migrate=False):
        pass
