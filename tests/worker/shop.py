"""An app for `acked run tests.worker.shop:app`; the environment says where and how."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from acked import App, Channel, Delivery, Router, Topic
from acked.abc import AckLayer

JOBS = Topic("jobs", int)
DONE = Topic("done", int)


def tell(*words: object) -> None:
    """Print a line in one write: others print, too."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


@asynccontextmanager
async def lifespan(channel: Channel[AckLayer]) -> AsyncIterator[None]:
    tell("began")
    yield
    tell("left")


app = App(os.environ.get("SHOP_URL", "memory-queue://"), lifespan=lifespan)
router = Router()
empty = App("memory-queue://")
nowhere = App("redis-streams://127.0.0.1:1")
nowhere.consumer(JOBS, group="g")(print)


@router.consumer(
    JOBS, group="g", concurrency=4, lease=2, drain=float(os.environ.get("SHOP_DRAIN", "5"))
)
async def handle(delivery: Delivery[int]) -> None:
    if delivery.body < 0 and delivery.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    tell("handling", delivery.body, os.getpid())
    await anyio.sleep(float(os.environ.get("SHOP_SECONDS", "0")))
    tell("handled", delivery.body, os.getpid())


app.include(router)
