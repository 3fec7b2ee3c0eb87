"""What the demo says and returns where not all went well; only a good run ends with 0."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest
from click.testing import CliRunner, Result

import acked.demo.scenario
from acked import Channel, Topic
from acked.abc import AckLayer
from acked.cli.commands import acked as command
from acked.demo.failures import Broken
from acked.demo.ledger import Ledger, LedgerReader
from acked.demo.order import Order
from acked.demo.order_file import shipped_orders
from acked.demo.scenario import Plan, play
from acked.demo.scenario import Result as Played
from acked.demo.screen import show_table
from acked.demo.tally import Report
from acked.demo.worker import handle
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.types import Outcome
from tests.cli.running import helpers_of, said, started
from tests.cli.test_accounting import LyingLayer, Silent
from tests.cli.test_demo import wait_until
from tests.core.scripted import ScriptedLayer, leased

GOOD = Report(
    accepted=9,
    acked=9,
    redelivered=0,
    duplicates=0,
    lost=0,
    recovery_seconds=None,
    dead_letters=1,
    innocent_dead_letters=0,
)
BAD = msgspec.structs.replace(GOOD, dead_letters=3, innocent_dead_letters=2)


def demo(*words: str) -> Result:
    return CliRunner().invoke(command, ["demo", "--count", "20", "--lease", "0.5", *words])


def over(layer: AckLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo itself use `layer`, while its workers use the URL."""
    monkeypatch.setattr("acked.demo.run.channel_to", lambda _url: Channel(layer))


@pytest.mark.crash
def test_a_good_run_ends_with_0(tmp_path: Path) -> None:
    result = demo("--json", "--url", f"sqlite-queue://{tmp_path}/queue.db")
    assert result.exit_code == 0
    assert said(result.stdout).acked == 20
    assert "every accepted order was acked; nothing was lost" in result.stderr


@pytest.mark.crash
def test_a_lost_order_ends_it_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "queue.db"
    over(LyingLayer(path), monkeypatch)
    result = demo("--url", f"sqlite-queue://{path}")
    assert result.exit_code == 1
    assert "NOT every accepted order was acked once and for all" in result.stdout


@pytest.mark.crash
def test_a_worker_that_fails_ends_it_with_its_words_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over(SQLiteQueueLayer(tmp_path / "queue.db"), monkeypatch)
    result = demo("--url", "nothing://")
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: worker ")
    assert "failed: ConfigurationError: no layer is called 'nothing'" in last


@pytest.mark.parametrize(
    ("played", "row"),
    [
        (Played(GOOD, 0, 0, 3, 0, 1), r"still owed\W+3 "),
        (Played(GOOD, 0, 0, 0, 4, 1), r"broken\W+4 "),
        (Played(GOOD, 0, 5, 0, 0, 1), r"acked\W+9 .*and 5 whose yes did not reach a worker"),
        (Played(GOOD, 0, 0, 0, 0, 1), r"time to recover\W+nothing to recover"),
        (Played(BAD, 0, 0, 0, 0, 1), r"innocent\W+2 "),
        (Played(BAD, 0, 0, 0, 0, 1), "NOT the poison order alone is among the dead letters"),
    ],
    ids=["owed", "broken", "unheard", "quiet", "innocent", "verdict"],
)
def test_the_table_tells_what_was_not_as_usual(
    played: Played, row: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show_table(played, is_on_stderr=False)
    out, err = capsys.readouterr()
    assert len([line for line in out.splitlines() if re.search(row, line)]) == 1
    assert err == ""


def test_a_run_with_a_broken_promise_is_not_good() -> None:
    assert Played(GOOD, 0, 0, 0, 0, 1).is_good
    assert not Played(GOOD, 0, 0, 0, 1, 1).is_good


def test_a_run_without_its_dead_letter_or_with_others_is_not_good() -> None:
    assert not Played(GOOD, 0, 0, 0, 0, 0).is_good
    assert not Played(BAD, 0, 0, 0, 0, 3).is_good


@pytest.mark.anyio
@pytest.mark.crash
async def test_workers_that_get_nothing_end_it_with_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where several processes cannot share what a URL names: each has a queue of its own."""
    monkeypatch.setattr(acked.demo.scenario, "FIRST_ORDER", 0.5)
    channel = Channel(SQLiteQueueLayer(tmp_path / "ours.db"))
    with shipped_orders() as path, pytest.raises(ExceptionGroup) as caught:
        url = f"sqlite-queue://{tmp_path}/theirs.db"
        plan = Plan(path=path, count=20, url=url, workers=2, lease=0.5)
        await play(plan, channel, tmp_path, Silent())
    (broken,) = caught.value.exceptions
    assert isinstance(broken, Broken)
    assert "no worker got an order within 0.5 s" in str(broken)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("outcome", "stages"),
    [
        (Outcome.CONFIRMED, ["began", "asked", "acked"]),
        (Outcome.LOST, ["began", "asked", "late"]),
        (Outcome.UNKNOWN, ["began", "asked"]),
    ],
    ids=["confirmed", "lost", "unconfirmed"],
)
async def test_a_worker_notes_an_ack_only_where_it_returned(
    tmp_path: Path, outcome: Outcome, stages: list[str]
) -> None:
    ledger, reader = Ledger(tmp_path / "ledger"), LedgerReader(tmp_path / "ledger")
    layer = ScriptedLayer(leased(1, msgspec.json.encode(Order(7, {}))))
    layer.outcome = outcome
    async with (
        Channel(layer) as channel,
        channel.subscribe(Topic("t", Order), group="g") as orders,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(partial(handle, orders, ledger, work=0.0, poison=9))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    entries = list(reader.new_entries())
    assert [entry.stage for entry in entries] == stages
    assert {entry.number for entry in entries} == {7}
    ledger.close()
    reader.close()


@pytest.fixture
def path_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a `redis-server` of a test's own before all others."""

    def put(program: str) -> None:
        server = tmp_path / "bin" / "redis-server"
        server.parent.mkdir()
        server.write_text(f"#!/bin/sh\n{program}\n")
        server.chmod(0o755)
        monkeypatch.setenv("PATH", f"{server.parent}:{os.environ['PATH']}")

    return put


@pytest.mark.crash
def test_a_server_that_does_not_start_ends_it_with_words(
    path_with: Callable[[str], None],
) -> None:
    path_with("exit 1")
    result = demo("--layer", "redis-streams")
    assert result.exit_code == 1
    assert "redis-server does not start; try it by hand" in result.stderr


@pytest.mark.crash
def test_an_interrupt_while_the_server_starts_leaves_nothing_behind(
    path_with: Callable[[str], None], tmp_path: Path
) -> None:
    path_with("exec sleep 60")  # it never answers
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with started("demo", "--layer", "redis-streams", temporary=temporary) as process:
        wait_until(lambda: any(one.name() == "sleep" for one in helpers_of(process)))
        helpers = helpers_of(process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130
    assert [one for one in helpers if one.is_running()] == []
    assert list(temporary.iterdir()) == []


def test_a_process_that_does_not_leave_is_ended_where_it_stands() -> None:
    program = (
        "import time, acked.demo.lifeline as lifeline; lifeline.GRACE = 0.1\n"
        "lifeline.on_parents_end(lambda: print('asked', flush=True)); time.sleep(60)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        input="",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (1, "asked\n")
