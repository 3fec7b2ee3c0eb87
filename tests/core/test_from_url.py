"""Channels from URLs: the scheme names the layer, the type says its kind."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from acked import CapabilityError, Channel, ConfigurationError
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
