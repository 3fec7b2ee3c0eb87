"""The numbers are not the engine's: a layer that lies is found out."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from acked import Channel, Receipt, Record
from acked.demo.failures import Broken
from acked.demo.scenario import Plan, play
from acked.layers.sqlite_queue import SQLiteQueueLayer

pytestmark = [pytest.mark.anyio, pytest.mark.crash]

BILLS = Path(__file__).parents[2] / "src" / "acked" / "demo" / "orders.jsonl"


class Silent:
    """A watcher that looks away."""

    def show(self, *, published: int, acked: int) -> None: ...

    def say(self, words: str) -> None: ...


class LyingLayer(SQLiteQueueLayer):
    """Gives a receipt for order 5, and forgets it."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        kept = [record for record in records if b'"number":5,' not in record.body]
        receipts = {receipt.id: receipt for receipt in await super().publish(kept)}
        return [receipts.get(r.id) or Receipt(r.id, r.topic) for r in records]


def plan(url: str) -> Plan:
    return Plan(path=BILLS, count=20, url=url, workers=2, lease=0.5)


async def test_an_accepted_order_that_never_arrives_is_counted_as_lost(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    result = await play(
        plan(f"sqlite-queue://{path}"), Channel(LyingLayer(path)), tmp_path, Silent()
    )
    assert (result.report.accepted, result.report.acked, result.report.lost) == (20, 19, 1)
    assert not result.is_good


async def test_a_worker_that_fails_ends_the_demo_with_its_words(tmp_path: Path) -> None:
    channel = Channel(SQLiteQueueLayer(tmp_path / "queue.db"))
    with pytest.raises(ExceptionGroup) as caught:
        await play(plan("nothing://"), channel, tmp_path, Silent())
    broken = caught.value.exceptions[0]
    assert isinstance(broken, Broken)
    assert broken.exit_code == 1
    first = r"worker \d failed: ConfigurationError: no layer is called 'nothing'"
    assert re.search(first, str(broken))
