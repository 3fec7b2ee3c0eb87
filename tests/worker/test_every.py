"""`@app.every(...)`: what is due is published once, by a real fleet, in any time zone."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from acked import (
    App,
    CapabilityError,
    Channel,
    ConfigurationError,
    ConnectionLost,
    Publish,
    Router,
    Topic,
)
from acked._app.schedules import schedule_of
from acked.abc import PublishesOnce
from acked.layers.memory_queue import MemoryQueueLayer
from acked.types import Record
from tests.core.scripted import ScriptedLayer
from tests.worker.clockwork import TICKS
from tests.worker.conftest import MakeLayer

DAY = 86400.0
BERLIN = "Europe/Berlin"


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@pytest.mark.parametrize(
    ("when", "now", "last", "upcoming"),
    [
        ("0 3 * * *", "2026-01-10T03:00:00", "2026-01-10T03:00:00", "2026-01-11T03:00:00"),
        ("0 3 * * *", "2026-01-10T02:59:59.9", "2026-01-09T03:00:00", "2026-01-10T03:00:00"),
        ("*/15 * * * *", "2026-01-10T03:07:00", "2026-01-10T03:00:00", "2026-01-10T03:15:00"),
        ("30 1 * * MON", "2026-01-10T00:00:00", "2026-01-05T01:30:00", "2026-01-12T01:30:00"),
    ],
)
def test_a_cron_expression_is_due_in_utc(when: str, now: str, last: str, upcoming: str) -> None:
    schedule, zulu = schedule_of(when, None), "+00:00"
    assert utc(schedule.last(moment(now + zulu))) == last + zulu
    assert utc(schedule.next(moment(now + zulu))) == upcoming + zulu


@pytest.mark.parametrize(
    ("around", "due"),
    [  # In Berlin clocks go from 2 to 3 at 01:00 UTC, and back from 3 to 2.
        ("2026-03-29", ["2026-03-28T01:30:00", "2026-03-29T01:00:00", "2026-03-30T00:30:00"]),
        ("2026-10-25", ["2026-10-24T00:30:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00"]),
    ],
)
def test_each_day_has_one_night_also_where_an_hour_is_missing_or_twice(
    around: str, due: list[str]
) -> None:
    schedule = schedule_of("30 2 * * *", BERLIN)
    now, until = moment(f"{around}T00:00:00+00:00") - DAY, moment(f"{around}T00:00:00+00:00")
    found: list[float] = []
    while len(found) < len(due):
        now = schedule.next(now)
        found.append(now)
    assert [utc(one) for one in found] == [f"{one}+00:00" for one in due]
    step = found[0]
    while step < until + 1.5 * DAY:  # whoever looks, and whenever, finds the same
        assert schedule.last(step) == max(one for one in found if one <= step)
        if step < found[-1]:
            assert schedule.next(step) == min(one for one in found if one > step)
        step += 420.0


def test_seconds_are_due_at_the_same_moments_in_each_process() -> None:
    schedule = schedule_of(0.4, None)
    now = 1_800_000_000.1
    for _ in range(1000):
        upcoming = schedule.next(now)
        assert now < upcoming <= now + 0.4001
        assert schedule.last(upcoming) == upcoming
        now = upcoming


@pytest.mark.parametrize(
    ("when", "zone", "message"),
    [
        ("0 3 * *", None, "no cron expression"),
        ("0 0 30 2 *", None, "no cron expression"),
        ("0 3 * * *", "Mars/Olympus", "no time zone"),
        (0, None, "every"),
        (float("nan"), None, "every"),
        (60, BERLIN, "zone= is for cron"),
    ],
)
def test_what_is_never_due_is_refused(when: str | float, zone: str | None, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        App("memory-queue://").every(when, zone=zone)


def test_without_cronsim_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(ConfigurationError, match=r"acked\[cron\]"):
        Router().every("0 3 * * *")
    Router().every(60)


@pytest.mark.anyio
async def test_a_schedule_publishes_beside_the_consumers_of_an_app(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    router, got = Router(), list[int]()
    answers = iter([None, Publish(jobs, 1, key="k"), ValueError("once"), Publish(jobs, 2)])

    @router.every(0.2, name="clock")
    async def due(at: datetime) -> Publish[int] | None:
        assert at.tzinfo is UTC
        answer = next(answers, None)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    app = App(make_layer).include(router)

    @app.consumer(jobs, group="g")
    async def handle(number: int) -> None:
        got.append(number)
        if number == 2:
            assert app.is_ready
            app.stop()

    with anyio.fail_after(20):
        await app.run()
    assert got == [1, 2]


@pytest.mark.anyio
async def test_what_was_missed_is_published_once_and_told(
    make_layer: MakeLayer, jobs: Topic[int], caplog: pytest.LogCaptureFixture
) -> None:
    app = App(make_layer)

    @app.every(DAY, name="daily")
    def due(at: datetime) -> Publish[int]:
        return Publish(jobs, round(at.timestamp() // DAY))

    @app.consumer(jobs, group="g")
    async def handle(number: int) -> None:
        got.append(number)
        app.stop()

    got: list[int] = []
    today = time.time() // DAY
    async with Channel(make_layer()) as channel:
        layer = channel.layer
        assert isinstance(layer, PublishesOnce)
        missed = Record(jobs.name, b"0", "id", content_type="application/json")
        await layer.publish_once(missed, "daily", (today - 3) * DAY, begins=True)
    with caplog.at_level(logging.WARNING, "acked.schedule"), anyio.fail_after(20):
        await app.run()
    assert got == [today]
    assert "daily was due at" in caplog.text
    assert "late" in caplog.text


class AwayAtFirst(MemoryQueueLayer):
    """A broker that does not answer the first two times."""

    tries = 0

    async def publish_once(
        self, record: Record, schedule: str, moment: float, /, *, begins: bool
    ) -> float | None:
        self.tries += 1
        if self.tries < 3:
            raise ConnectionLost("nobody answers")
        return await super().publish_once(record, schedule, moment, begins=begins)


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0.01, DAY])
async def test_what_is_due_while_the_broker_is_away_is_tried_again_and_told_once(
    seconds: float, jobs: Topic[int], caplog: pytest.LogCaptureFixture
) -> None:
    """Until the next one is due: then that one is tried."""
    layer, was_ready = AwayAtFirst(), list[bool]()
    app = App(lambda: layer)

    @app.every(seconds, name="clock")
    def due(_: datetime) -> Publish[int]:
        return Publish(jobs, 1)

    async def wait_and_stop() -> None:
        while layer.tries < 4 if seconds < 1 else layer.tries < 3:
            was_ready.append(app.is_ready)
            await anyio.sleep(0.01)
        app.stop()

    with caplog.at_level(logging.WARNING, "acked.schedule"), anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_and_stop)
            await app.run()
    assert False in was_ready[1:], "while it was away"
    assert caplog.text.count("not published yet: nobody answers") == 1


@pytest.mark.anyio
async def test_a_function_that_returns_no_message_is_told(
    make_layer: MakeLayer, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(make_layer)

    @app.every(DAY, name="daily")
    async def due(_: datetime) -> Any:
        app.stop()
        return "a text"

    with caplog.at_level(logging.ERROR, "acked.schedule"), anyio.fail_after(20):
        await app.run()
    assert "returns Publish(...), not str" in caplog.text
    assert "a text" not in caplog.text


@pytest.mark.anyio
async def test_where_nobody_can_publish_once_nothing_begins() -> None:
    app = App(ScriptedLayer)
    app.every(60)(lambda _: None)
    with pytest.raises(CapabilityError, match="publishes once"):
        await app.run()


def test_two_schedules_of_one_name_are_refused() -> None:
    app = App("memory-queue://")
    for _ in range(2):
        app.every(60, name="same")(lambda _: None)
    with pytest.raises(ConfigurationError, match="'same'"):
        anyio.run(app.run)


@contextmanager
def fleet(url: str) -> Iterator[None]:
    words = ("-m", "acked", "run", "tests.worker.clockwork:app", "--processes", "3")
    environment = os.environ | {"CLOCKWORK_URL": url}
    with subprocess.Popen([sys.executable, *words], env=environment) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.mark.crash
@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgres"])
def test_three_processes_publish_once_also_while_they_are_killed(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        url = f"sqlite-queue://{tmp_path}/queue.db"
    else:
        scheme = {"redis": "redis-streams", "postgres": "postgres-queue"}[kind]
        url = f"{scheme}://{request.getfixturevalue(f'{kind}_broker').url.partition('://')[2]}"

    async def read() -> tuple[list[float], set[int]]:
        moments, publishers = list[float](), set[int]()
        async with (
            Channel.from_url(url) as channel,
            channel.subscribe(TICKS, group="reader") as ticks,
        ):
            while len(moments) < 12:
                tick = await anext(ticks)
                moments.append(datetime.fromisoformat(tick.body).timestamp())
                publishers.add(int(tick.headers["pid"]))
                await tick.ack()
                if len(moments) in {4, 8}:
                    os.kill(int(tick.headers["pid"]), signal.SIGKILL)
        return moments, publishers

    async def read_soon() -> tuple[list[float], set[int]]:
        with anyio.fail_after(60):
            return await read()

    with fleet(url):
        moments, publishers = anyio.run(read_soon)
    assert all(later > earlier for earlier, later in pairwise(moments)), "each moment once"
    assert len(publishers) >= 3, "two were killed when they had published"
