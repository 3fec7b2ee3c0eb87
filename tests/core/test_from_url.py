"""Channels from URLs: the scheme names the layer, the type says its kind."""

import string
import traceback
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from acked import AckedError, CapabilityError, Channel, ConfigurationError
from acked._core import urls
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer
from tests.core.scripted import ScriptedLayer

pytestmark = pytest.mark.anyio


async def test_an_ack_capable_url_publishes_and_consumes() -> None:
    async with Channel.from_url("memory-queue://") as channel:
        assert isinstance(channel.layer, MemoryQueueLayer)
        await channel.publish("t", {"a": 1})
        async with channel.subscribe("t", group="g") as sub:
            delivery = await anext(sub)
            assert delivery.body == {"a": 1}
            await delivery.ack()


async def test_a_fire_and_forget_url_says_so_in_the_call() -> None:
    async with Channel.from_url("memory://", fire_and_forget=True) as channel:
        assert isinstance(channel.layer, MemoryLayer)
        async with channel.subscribe("t") as sub:
            await channel.publish("t", 1)
            assert (await anext(sub)).body == 1


def test_the_other_kind_is_refused_with_what_to_say_instead() -> None:
    with pytest.raises(CapabilityError, match="fire_and_forget=True"):
        Channel.from_url("memory://")
    with pytest.raises(CapabilityError, match="leave fire_and_forget= out"):
        Channel.from_url("memory-queue://", fire_and_forget=True)


def test_an_unknown_option_is_named_and_credentials_are_not() -> None:
    with pytest.raises(ConfigurationError, match="unknown option 'colour'") as caught:
        Channel.from_url("memory-queue://user:secret@name?colour=red")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "fire_and_forget"),
    [
        *[("memory-queue", False), ("redis-streams", False), ("rediss-streams", False)],
        *[("kafka", False), ("mqtt", False), ("mqtts", False), ("nobody-s", False)],
        *[("memory", True), ("redis-pubsub", True), ("postgres-notify", True)],
    ],
)
def test_no_part_of_a_password_is_shown_whatever_its_letters(
    scheme: str, fire_and_forget: bool, monkeypatch
) -> None:
    monkeypatch.setattr(urls, "entry_points", cache(urls.entry_points))  # it reads many files
    refused = 0
    for letter in (*string.printable, "\u2100", "\ud800"):
        for password in (f"zebra{letter}xylophone", f"{letter}xylophone", f"12{letter}]xylophone"):
            for query in ("", "?colour=red", "?timeout=0", "?timeout=soon"):
                url = f"{scheme}://user:{password}@localhost/0{query}"
                try:
                    shown = repr(Channel.from_url(url, fire_and_forget=fire_and_forget))  # type: ignore[call-overload]
                except AckedError as error:
                    refused += 1
                    shown = everything_shown(error)
                assert "xylophone" not in shown
                assert "zebra" not in shown
    assert refused > 3 * 4 * 4  # for / ? # [ at least


def everything_shown(error: BaseException) -> str:
    """Return error and traceback with the variables of our frames, as some loggers show them."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    told.stack = traceback.StackSummary.from_list(
        [frame for frame in told.stack if "/tests/" not in frame.filename]
    )
    return "".join(told.format())


def test_a_file_of_a_name_that_is_no_url_is_said_to_be_none() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read; .*%5B and %5D"):
        Channel.from_url("sqlite-queue://[orders.db")


class _Pigeons(ScriptedLayer):
    @classmethod
    def from_url(cls, url: str) -> "_Pigeons":
        return cls()


def _installed(monkeypatch: pytest.MonkeyPatch, **named: str) -> None:
    points = [EntryPoint(n.replace("_", "-"), v, "acked.layers") for n, v in named.items()]
    monkeypatch.setattr(urls, "entry_points", lambda group: EntryPoints(points))


async def test_a_third_party_registers_its_layer_as_an_entry_point(monkeypatch) -> None:
    _installed(monkeypatch, pigeon_post=f"{__name__}:_Pigeons")
    async with Channel.from_url("pigeon-post://loft") as channel:
        assert isinstance(channel.layer, ScriptedLayer)


def test_a_layer_whose_client_is_missing_says_what_to_install(monkeypatch) -> None:
    _installed(monkeypatch, redis_streams="acked.no_such_module:Layer [redis]")
    with pytest.raises(ConfigurationError, match=r"pip install 'acked\[redis\]'"):
        Channel.from_url("redis-streams://localhost")
