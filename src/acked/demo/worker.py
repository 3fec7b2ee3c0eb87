"""One worker of the demo: a consumer in a process of its own, to be killed.

Started as `python -m acked.demo.worker`; its assignment comes as one line of JSON on standard
input. It ends when the rest of standard input does.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import msgspec
from anyio.from_thread import BlockingPortal

from acked import AckSubscription, AckUnconfirmed, Channel, LeaseLost, Redelivery, Topic
from acked.demo.causes import first_cause
from acked.demo.ledger import Ledger, Stage
from acked.demo.lifeline import on_parents_end
from acked.demo.order import Order

__all__ = ("GROUP", "HANDS", "POISONED", "Assignment", "main")

GROUP: Final = "workers"
HANDS: Final = 32
"""How many orders a worker has in work at a time; as many more are fetched and wait."""
MOST: Final = 3
"""Deliveries of an order that fails."""
POISONED: Final = "killed by the poison order"
"""The last words of a worker that handled it."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told: where the orders are, and how long each takes; in seconds."""

    url: str
    topic: str
    dead: str
    """The topic of the dead letters."""
    poison: int
    """The number of the order that kills its worker."""
    lease: float
    work: float
    ledger: str = ""
    """Each worker's own."""


async def handle(
    orders: AckSubscription[Order], ledger: Ledger, *, work: float, poison: int
) -> None:
    """Do the work of one order after the other, until one of them is the poison."""
    async for delivery in orders:
        number, attempt = delivery.body.number, delivery.attempt
        if number == poison:
            die()
        ledger.note(Stage.BEGAN, number, attempt)
        await anyio.sleep(work)  # a payment service, a database, ...
        ledger.note(Stage.ASKED, number, attempt)
        try:
            await delivery.ack()
        except LeaseLost:
            # Still owed: another worker has it, or will.
            ledger.note(Stage.TOO_LATE, number, attempt)
        except AckUnconfirmed:
            continue  # nobody knows: it is acked, or comes again
        else:
            ledger.note(Stage.ACKED, number, attempt)


def die() -> None:
    """End this process as a crash in a handler would, whatever else it has in work."""
    print(POISONED, file=sys.stderr, flush=True)  # noqa: T201 - a program
    os.kill(os.getpid(), signal.SIGKILL)


async def consume(assignment: Assignment, ledger: Ledger) -> None:
    """Join the group with `HANDS` tasks until the demo lets go of this process."""
    topic = Topic(assignment.topic, Order)
    work, poison = assignment.work, assignment.poison
    async with (
        BlockingPortal() as portal,
        Channel.from_url(assignment.url) as channel,
        channel.subscribe(
            topic,
            group=GROUP,
            in_flight=2 * HANDS,
            lease=assignment.lease,
            redelivery=Redelivery(max_deliveries=MOST, dead_letter=assignment.dead),
        ) as orders,
        anyio.create_task_group() as hands,
    ):
        on_parents_end(lambda: portal.call(hands.cancel_scope.cancel))
        for _ in range(HANDS):
            hands.start_soon(partial(handle, orders, ledger, work=work, poison=poison))


def main() -> int:
    """Work until standard input ends; return the exit status."""
    assignment = msgspec.json.decode(sys.stdin.buffer.readline(), type=Assignment)
    ledger = Ledger(Path(assignment.ledger))
    try:
        anyio.run(consume, assignment, ledger)
    except Exception as error:  # noqa: BLE001 - whatever it is, its words belong on one line
        cause = first_cause(error)
        words = " ".join(str(cause).split())
        print(f"{type(cause).__name__}: {words}", file=sys.stderr)  # noqa: T201 - a program
        return 1
    finally:
        ledger.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
