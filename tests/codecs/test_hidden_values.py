"""No error about a body quotes it: not in its words, its cause, its context or its traceback."""

import enum
import traceback
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

from acked import JSON, RAW, TEXT, Channel, DecodeError, EncodeError, Topic
from acked.codecs import Codec
from acked.codecs.pydantic import PYDANTIC
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer

pytestmark = pytest.mark.anyio

SECRET = "hunter2"


class Colour(enum.Enum):
    RED = "red"


class Tagged(msgspec.Struct, tag="a"):
    id: int


class Other(msgspec.Struct, tag="b"):
    id: int


class Exact(msgspec.Struct, forbid_unknown_fields=True):
    id: int = 0


class Careful(msgspec.Struct):
    name: str

    def __post_init__(self) -> None:
        if self.name:
            raise ValueError(f"Expected `nobody`, got `{self.name}`")


class Model(pydantic.BaseModel):
    id: int

    @pydantic.field_validator("id", mode="before")
    @classmethod
    def strict(cls, value: object) -> object:
        if isinstance(value, list):
            raise ValueError(f"a list: {value}")
        return value


BODIES: list[tuple[Any, Codec, bytes]] = [
    (Colour, JSON, b'"hunter2"'),
    (Literal["a"], JSON, b'"hunter2"'),
    (Tagged | Other, JSON, b'{"type": "hunter2"}'),
    (Exact, JSON, b'{"hunter2": 1}'),
    (Careful, JSON, b'{"name": "hunter2"}'),
    (dict[str, int], JSON, b'{"hunter2": "x"}'),
    (Annotated[str, msgspec.Meta(max_length=2)], JSON, b'"hunter2"'),
    (Model, PYDANTIC, b'{"id": "hunter2"}'),
    (Model, PYDANTIC, b'{"id": ["hunter2"]}'),
    (dict[str, Model], PYDANTIC, b'{"hunter2": {"id": 1.5}}'),
    (Model, PYDANTIC, b"hunter2"),
    (float, TEXT, b"hunter2"),
    (str, TEXT, b"hunter2\xff"),
]


def everything_said(error: BaseException) -> str:
    chain: list[str] = []
    one: BaseException | None = error
    while one is not None:
        chain += [str(one), repr(one), *map(repr, one.args), *getattr(one, "__notes__", ())]
        one = one.__cause__ or one.__context__
    return "\n".join([*chain, *traceback.format_exception(error)])


@pytest.mark.parametrize(("payload", "codec", "body"), BODIES)
async def test_an_undecodable_body_is_quoted_nowhere(
    payload: Any, codec: Codec, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    topic: Topic[Any] = Topic("t", payload, codec=codec)
    raw = Topic("t", bytes, codec=RAW)
    async with Channel(MemoryLayer()) as news:
        async with news.subscribe(topic, on_undecodable="raise") as sub:
            await news.publish(raw, body)
            with pytest.raises(DecodeError) as caught:
                await anext(sub)
        async with news.subscribe(topic, raw_after := Topic("after", int)) as skipping:
            await news.publish(raw, body)
            await news.publish(raw_after, 1)
            assert (await anext(skipping)).topic == "after"
            assert skipping.statistics().undecodable == 1
    assert caught.value.raw == body
    assert SECRET not in everything_said(caught.value)
    async with Channel(MemoryQueueLayer()) as debts:
        async with debts.subscribe(topic, group="g") as owed:
            await debts.publish(raw, body)
            with pytest.raises(DecodeError) as caught:
                await anext(owed)
            assert caught.value.delivery is not None
            await caught.value.delivery.ack()
    cause = caught.value.__cause__
    assert cause is not None
    assert SECRET not in str(cause) + repr(cause)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in caplog.text


def written_secretly(payload: object) -> object:
    raise ValueError(f"cannot write {payload!r}")


class Loud:
    content_type = "text/plain"

    def encoder(self, payload: type[Any]) -> Any:
        return written_secretly

    def decoder(self, payload: type[Any]) -> Any:
        return bytes.decode


@pytest.mark.parametrize(
    ("payload", "codec", "body"),
    [
        (str, Loud(), SECRET),
        (Model, PYDANTIC, Model.model_construct(id=SECRET)),
        (Tagged, JSON, Tagged(SECRET)),  # type: ignore[arg-type]
        (Colour | int, JSON, SECRET),
    ],
)
async def test_a_body_that_cannot_be_published_is_quoted_nowhere(
    payload: Any, codec: Codec, body: object
) -> None:
    topic: Topic[Any] = Topic("t", payload, codec=codec)
    async with Channel(MemoryLayer()) as news:
        with pytest.raises(EncodeError) as caught:
            await news.publish(topic, body)
    assert SECRET not in everything_said(caught.value)
