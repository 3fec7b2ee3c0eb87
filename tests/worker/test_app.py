"""An app in this process: its consumers begin, go on and end together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from acked import App, CapabilityError, Channel, ConfigurationError, LayerError, Router, Topic
from acked.abc import AckLayer
from tests.core.scripted import ScriptedLayer
from tests.worker.conftest import MakeLayer

pytestmark = pytest.mark.anyio


async def test_the_consumers_of_all_routers_run_within_the_lifespan(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    story: list[str] = []
    other = Topic(f"{jobs.name}-other", int)
    router = Router()

    @asynccontextmanager
    async def lifespan(channel: Channel[AckLayer]) -> AsyncIterator[None]:
        await channel.publish(jobs, 1)
        await channel.publish(other, 2)
        story.append("began")
        yield
        await channel.publish(jobs, 3)  # it is open still
        story.append("left")

    app = App(make_layer, lifespan=lifespan)

    def saw(words: str) -> None:
        story.append(words)
        if len(story) == 3:
            assert app.is_live
            assert app.is_ready
            app.stop()

    @app.consumer(jobs, group="g")
    async def one(number: int) -> None:
        saw(f"job {number}")

    @router.consumer(other, group="g", batch=2, wait=0)
    async def several(numbers: list[int]) -> None:
        saw(f"others {numbers}")

    app.include(router)
    for _ in range(2):
        assert not app.is_live
        assert not app.is_ready
        with anyio.fail_after(10):
            await app.run()
        assert (story[0], story[-1]) == ("began", "left")
        assert set(story[1:-1]) <= {"job 1", "job 3", "others [2]"}
        story.clear()


async def test_an_app_may_be_given_the_url_of_its_layer() -> None:
    begun, seen = Topic("begun", int), list[int]()

    @asynccontextmanager
    async def lifespan(channel: Channel[AckLayer]) -> AsyncIterator[None]:
        await channel.publish(begun, 1)
        yield

    app = App("memory-queue://", lifespan=lifespan)

    @app.consumer(begun, group="g")
    async def one(number: int) -> None:
        seen.append(number)
        app.stop()

    with anyio.fail_after(10):
        await app.run()
    assert seen == [1]


async def test_what_ends_one_consumer_ends_all_and_is_raised_bare(jobs: Topic[int]) -> None:
    layer = ScriptedLayer(LayerError("the stream is of another kind"))
    app = App(lambda: layer)
    for group in "ab":
        app.consumer(jobs, group=group)(print)
    with anyio.fail_after(10), pytest.raises(LayerError, match="of another kind"):
        await app.run()
    assert not app.is_live


async def test_stopping_before_anything_was_opened_is_no_start(jobs: Topic[int]) -> None:
    layer = ScriptedLayer()

    @asynccontextmanager
    async def lifespan(_: Channel[AckLayer]) -> AsyncIterator[None]:
        with pytest.raises(ConfigurationError, match="is running"):
            await app.run()
        app.stop()
        yield

    app = App(lambda: layer, lifespan=lifespan)
    app.consumer(jobs, group="g")(print)
    with anyio.fail_after(10):
        await app.run()
    assert layer.story == ["opened", "closed"]


async def test_what_cannot_be_is_refused_before_any_consumer_begins(jobs: Topic[int]) -> None:
    with pytest.raises(ConfigurationError, match="no consumers"):
        await App(ScriptedLayer).run()
    layer = ScriptedLayer()
    app = App(lambda: layer)
    app.consumer(jobs, group="g")(print)
    app.consumer(jobs, group="g", overflow=1)(print)  # type: ignore[call-overload]
    with pytest.raises(CapabilityError, match="overflow="):
        await app.run()
    assert layer.receives == []
