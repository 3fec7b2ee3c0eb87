"""What `publish` accepts a subscriber gets, equal; what a codec cannot do is told at first use."""

import dataclasses
import datetime as dt
import decimal
import enum
import math
import uuid
from typing import Any, Literal, NamedTuple, Protocol, TypedDict, cast

import msgspec
import pydantic
import pytest

from acked import JSON, MSGPACK, RAW, TEXT, Channel, ConfigurationError, EncodeError, Topic
from acked.codecs import Codec, JsonCodec
from acked.codecs.pydantic import PYDANTIC
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer

pytestmark = pytest.mark.anyio

UNREADABLE = (ValueError, msgspec.DecodeError)
"""What a decoder raises is its library's: from msgspec 0.21 on both are one."""


class Typed(TypedDict):
    id: int
    name: str


class HasId(Protocol):
    id: int


class Opened(msgspec.Struct):
    id: int


class Closed(msgspec.Struct):
    id: int


class Plain:
    pass


class Model(pydantic.BaseModel):
    id: int


class Aliased(pydantic.BaseModel):
    number: int = pydantic.Field(alias="n")


class OneWay(pydantic.BaseModel):
    number: int = pydantic.Field(serialization_alias="written", validation_alias="read")


class MaybePrice(pydantic.BaseModel):
    price: float | None


class Within(msgspec.Struct):
    models: dict[str, list[Model]]


class Tree(msgspec.Struct):
    left: "Tree | None" = None
    price: float | None = None


class ByIdentity(msgspec.Struct, eq=False):
    price: float


class Pair(NamedTuple):
    left: int
    right: str


@dataclasses.dataclass
class Data:
    at: dt.date


class Switch(enum.Enum):
    ON = "ON"
    OFF = "OFF"


CANNOT = [
    (HasId, JSON, "HasId is a Protocol"),
    (Opened | Closed, JSON, "must be tagged"),
    (Opened | Closed, MSGPACK, "must be tagged"),
    (str | dt.datetime, JSON, "more than one str-like"),
    (Plain, MSGPACK, "Plain is no type that msgspec decodes into"),
    (Model, JSON, "codec=PYDANTIC"),
    (Within, JSON, r"Model \(in Within\) is a pydantic model"),
    (list[Model], MSGPACK, "codec=PYDANTIC"),
    (str, RAW, "carries bytes"),
    (Opened, TEXT, "one value"),
    (list[int], TEXT, "one value"),
    (int | str, TEXT, "one value"),
    (Plain, PYDANTIC, "PydanticSchemaGenerationError"),
]


# What pydantic raises is its own.
@pytest.mark.parametrize(("payload", "codec", "why"), [o for o in CANNOT if o[1] is not PYDANTIC])
def test_what_a_codec_cannot_do_each_of_its_directions_tells(
    payload: Any, codec: Codec, why: str
) -> None:
    for direction in (codec.encoder, codec.decoder):
        with pytest.raises(ConfigurationError, match=why):
            direction(payload)


@pytest.mark.parametrize(("payload", "codec", "why"), CANNOT)
async def test_what_a_codec_cannot_do_is_told_on_both_sides(
    payload: Any, codec: Codec, why: str
) -> None:
    topic: Topic[Any] = Topic("t", payload, codec=codec)
    async with Channel(MemoryQueueLayer()) as channel:
        with pytest.raises(ConfigurationError, match=why):
            await channel.publish(topic, Closed(1))
        with pytest.raises(ConfigurationError, match=why):
            await channel.publish_many(topic, [Closed(1)])
        with pytest.raises(ConfigurationError, match=why):
            channel.subscribe(topic, group="g")
        with pytest.raises(ConfigurationError, match=why):
            channel.subscribe("other", topic, group="g")
        async with channel.subscribe("t", group="g") as sub:
            await channel.publish("t", "the first")
            async with await anext(sub) as delivery:
                assert delivery.body == "the first"
    async with Channel(MemoryLayer()) as news:
        with pytest.raises(ConfigurationError, match=why):
            await news.publish(topic, Closed(1))
        with pytest.raises(ConfigurationError, match=why):
            news.subscribe(topic)


NOW = dt.datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=dt.UTC)

ARRIVES: list[tuple[object, Codec, object]] = [
    (Typed, JSON, {"id": 1, "name": "x"}),
    (Typed, MSGPACK, {"id": 1, "name": "x"}),
    (Any, JSON, {"id": [1, None]}),
    (object, JSON, {"id": [1, None]}),
    (float, JSON, 1),
    (int | None, JSON, None),
    (Tree, JSON, Tree(Tree(price=1.5))),
    (Pair, MSGPACK, Pair(1, "x")),
    (Data, JSON, Data(dt.date(2026, 1, 31))),
    (set[int], JSON, {1, 2}),
    (dict[int, str], JSON, {1: "x"}),
    (bytes, JSON, b"\xff"),
    (Literal["a", "b"], JSON, "a"),
    (dt.datetime, MSGPACK, NOW),
    (Aliased, PYDANTIC, Aliased(n=7)),
    (MaybePrice, PYDANTIC, MaybePrice(price=None)),
    (list[Model], PYDANTIC, [Model(id=1)]),
    (Switch, TEXT, Switch.ON),
    (float, TEXT, 21.5),
    (int, TEXT, -3),
    (bool, TEXT, True),
    (str, TEXT, " as it is\n"),
    (dt.datetime, TEXT, NOW),
    (decimal.Decimal, TEXT, decimal.Decimal("1.10")),
    (uuid.UUID, TEXT, uuid.UUID(int=5)),
]


@pytest.mark.parametrize(("payload", "codec", "body"), ARRIVES)
async def test_what_is_accepted_arrives_equal(payload: Any, codec: Codec, body: object) -> None:
    topic: Topic[Any] = Topic("t", payload, codec=codec)
    async with Channel(MemoryLayer()) as channel:
        async with channel.subscribe(topic) as sub:
            await channel.publish(topic, body)
            got = (await anext(sub)).body
    assert got == body
    assert type(got) is type(body) or payload is float


UNEQUAL: list[tuple[object, Codec, object, object]] = [
    (float, MSGPACK, math.nan, math.nan),
    (Tree, MSGPACK, Tree(Tree(price=math.nan)), Tree(Tree(price=math.nan))),
    (ByIdentity, JSON, ByIdentity(1), ByIdentity(1.0)),
    (object, JSON, Closed(1), {"id": 1}),
    (object, JSON, {"pair": (1, 2)}, {"pair": [1, 2]}),
]


@pytest.mark.parametrize(("payload", "codec", "body", "arrives"), UNEQUAL)
async def test_what_equals_nothing_arrives_with_the_same_values(
    payload: Any, codec: Codec, body: object, arrives: object
) -> None:
    """NaN in MessagePack, a class that compares by identity, what an untyped topic makes of one."""
    topic: Topic[Any] = Topic("t", payload, codec=codec)
    async with Channel(MemoryLayer()) as channel:
        async with channel.subscribe(topic) as sub:
            await channel.publish(topic, body)
            got = (await anext(sub)).body
    assert msgspec.msgpack.encode(got) == msgspec.msgpack.encode(arrives)


REFUSED: list[tuple[object, Codec, object]] = [
    (float, JSON, math.nan),
    (float, JSON, math.inf),
    (float | None, JSON, math.nan),
    (object, JSON, {"prices": [1.0, -math.inf]}),
    (Tree, JSON, Tree(Tree(price=math.nan))),
    (ByIdentity, JSON, ByIdentity(math.inf)),
    (Opened, JSON, Opened(cast("int", "one"))),
    (Opened, MSGPACK, Opened(cast("int", 1.5))),
    (list[int], JSON, ["x"]),
    (int, JSON, True),
    (Typed, JSON, {"id": 1}),
    (object, JSON, {1: "a key that is no str"}),
    (OneWay, PYDANTIC, OneWay(read=1)),
    (MaybePrice, PYDANTIC, MaybePrice(price=math.nan)),
    (Model, PYDANTIC, Model.model_construct(id="one")),
    (float, TEXT, [1.5]),
]


@pytest.mark.parametrize(("payload", "codec", "body"), REFUSED)
async def test_what_would_not_arrive_equal_is_refused(
    payload: Any, codec: Codec, body: object
) -> None:
    topic: Topic[Any] = Topic("t", payload, codec=codec)
    async with Channel(MemoryLayer()) as channel, channel.subscribe("t") as witness:
        with pytest.raises(EncodeError):
            await channel.publish(topic, body)
        with pytest.raises(EncodeError):
            await channel.publish_many(topic, [body])
        assert witness.statistics().buffered == 0


async def test_a_class_of_a_custom_codec_need_not_compare() -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    class PointCodec:
        content_type = "text/x-point"

        def encoder(self, payload: type[Any]) -> Any:
            return lambda point: b"%d null" % point.x

        def decoder(self, payload: type[Any]) -> Any:
            return lambda body: payload(int(body.split()[0]))

    topic = Topic("t", Point, codec=PointCodec())
    async with Channel(MemoryLayer()) as channel:
        async with channel.subscribe(topic) as sub:
            await channel.publish(topic, Point(7))
            assert (await anext(sub)).body.x == 7


async def test_who_does_not_want_it_checked_says_so() -> None:
    prices = Topic("prices", float)
    async with Channel(MemoryLayer(), verify_bodies=False) as channel:
        async with channel.subscribe("prices") as sub:
            await channel.publish(prices, math.nan)
            assert (await anext(sub)).body is None


@pytest.mark.parametrize("codec", [JSON, JsonCodec(strict=False), PYDANTIC], ids=repr)
def test_a_byte_order_mark_is_no_part_of_a_body(codec: Codec) -> None:
    decode = codec.decoder(dict[str, int])
    assert decode(b'\xef\xbb\xbf{"a": 1}') == decode(b'{"a": 1}') == {"a": 1}
    with pytest.raises(UNREADABLE):
        decode(b'\xef\xbb\xbf\xef\xbb\xbf{"a": 1}')


def test_plain_text_is_read_as_others_write_it() -> None:
    assert TEXT.decoder(float)(b" 21.5\r\n") == 21.5
    assert TEXT.decoder(Switch)(b"OFF\n") is Switch.OFF
    assert [TEXT.decoder(bool)(text) for text in (b"true", b"0", b"False")] == [True, False, False]
    assert TEXT.decoder(object)(b"ON\n") == "ON\n"
    for payload, body in ((float, b"warm"), (Switch, b"on"), (str, b"\xff"), (int, b"1.5")):
        with pytest.raises(UNREADABLE):
            TEXT.decoder(payload)(body)


@pytest.mark.anyio
async def test_plain_text_of_more_than_one_value_is_refused() -> None:
    async with Channel(MemoryLayer()) as channel:
        with pytest.raises(EncodeError, match="body of type list"):
            await channel.publish(Topic("x", object, codec=TEXT), [1, 2])
