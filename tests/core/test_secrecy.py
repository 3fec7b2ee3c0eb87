"""Nothing that travels is shown: not by `repr`, not by who asks for more, not by an error."""

import enum
import io
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import msgspec
import pydantic
import pytest
from rich.console import Console
from rich.pretty import pretty_repr

import acked
from acked import Channel, DecodeError, Redelivery, Topic, UnsettledWarning
from acked.codecs import JSON, MSGPACK, TEXT
from acked.codecs.pydantic import PYDANTIC
from acked.types import Codec, Leased, Record, Settlement, Verb
from tests.core.scripted import ScriptedLayer, ScriptedNews, without

pytestmark = pytest.mark.anyio

SECRET = "QZXsecretQZX"
ESC = "\n2026-11-26 ERROR forged \x1b[31mred\r"
RECORD = Record("t", f'"{SECRET}"'.encode(), "id-1", SECRET, {SECRET: SECRET})


def is_fit(text: str) -> bool:
    return "QZX" not in text and "\x1b" not in text and "\r" not in text


async def test_who_asks_for_more_than_a_repr_is_shown_no_more() -> None:
    news = ScriptedNews(capabilities=without(lossy=True))
    async with (
        Channel(ScriptedLayer(Leased(RECORD, 1))) as channel,
        channel.subscribe("t", group="g") as sub,
        Channel(news) as stream,
        stream.subscribe("t") as listening,
    ):
        news.sinks[0].offer(RECORD)
        delivery, message = await anext(sub), await anext(listening)
        settlement = Settlement(1, Verb.REJECT, 0.0, RECORD)
        told = [delivery, message, RECORD, Leased(RECORD, 1), settlement, sub, listening]
        told.append(delivery._entry)
        for one in told:
            assert "QZX" not in repr(one), one
            assert "QZX" not in pretty_repr(one), one
            screen = io.StringIO()
            Console(file=screen).print(one, {"one": [one]})
            assert "QZX" not in screen.getvalue(), one
        assert "id-1" in pretty_repr(delivery)
        await delivery.ack()


class Colour(enum.Enum):
    RED = "red"


class Cat(msgspec.Struct, tag="cat", forbid_unknown_fields=True):
    lives: Annotated[int, msgspec.Meta(le=9, title="lives")] = 9


class Dog(msgspec.Struct, tag="dog"):
    name: Annotated[str, msgspec.Meta(pattern="^[a-z]$")] = "a"


class Model(pydantic.BaseModel, extra="forbid"):
    kind: Literal["a", "b"] = "a"
    size: int = 0

    @pydantic.field_validator("size")
    @classmethod
    def _small(cls, size: int) -> int:
        if size > 9:
            raise ValueError(f"QZX{size}")
        return size


WRONG: list[tuple[Any, Codec, bytes]] = [
    *(
        (kind, codec, encode(value))
        for codec, encode in ((JSON, msgspec.json.encode), (MSGPACK, msgspec.msgpack.encode))
        for kind, value in (
            (Colour, SECRET),
            (Literal["a", "b"], SECRET),
            (Cat | Dog, {"type": SECRET}),
            (Cat, {"type": "cat", SECRET: 1}),
            (Dog, {"type": "dog", "name": SECRET}),
            (dict[str, int], {SECRET: SECRET}),
            (int, SECRET),
        )
    ),
    (object, JSON, f'{{"{SECRET}": '.encode()),
    (object, JSON, f'"{SECRET}\xff"'.encode("latin-1")),
    (object, MSGPACK, b"\xc1" + SECRET.encode()),
    (int, TEXT, SECRET.encode()),
    (Colour, TEXT, SECRET.encode()),
    (str, TEXT, SECRET.encode() + b"\xff"),
    (Model, PYDANTIC, f'{{"kind": "{SECRET}"}}'.encode()),
    (Model, PYDANTIC, f'{{"{SECRET}": 1}}'.encode()),
    (Model, PYDANTIC, b'{"size": 99}'),
    (Model, PYDANTIC, f'{{"kind": "{SECRET}'.encode()),
]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Give `error` and all that hangs on it, hidden or not: a debugger shows it all."""
    while error is not None:
        yield error
        if error.__cause__ is not error.__context__:
            yield from chain(error.__context__)
        error = error.__cause__


@pytest.mark.parametrize(("kind", "codec", "body"), WRONG, ids=lambda it: str(it)[:24])
async def test_no_error_about_a_body_quotes_it_nor_does_what_hangs_on_it(
    kind: Any, codec: Codec, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    topic = Topic("t", kind, codec=codec)
    news = ScriptedNews(capabilities=without(lossy=True))
    ids = (f"{n}{ESC}" for n in range(9))
    caplog.set_level(logging.DEBUG)
    async with (
        Channel(ScriptedLayer(*(Leased(Record("t", body, next(ids)), n) for n in (1, 2)))) as acks,
        acks.subscribe(topic, group="g") as sub,
        Channel(ScriptedLayer(Leased(Record("t", body, next(ids)), 1))) as letters,
        letters.subscribe(topic, group="g", redelivery=Redelivery(dead_letter="d")) as buries,
        Channel(news) as stream,
        stream.subscribe(topic, on_undecodable="raise") as raises,
        stream.subscribe(topic) as skips,
    ):
        for sink in news.sinks:
            sink.offer(Record("t", body, next(ids)))
        for reader in (sub, sub.batches(5), raises):
            with anyio.fail_after(5), pytest.raises(DecodeError) as caught:
                await anext(reader)
            for one in chain(caught.value):
                assert is_fit(str(one)), one
                assert is_fit(repr(one)), one
                assert is_fit("".join(map(str, getattr(one, "__notes__", ())))), one
            assert is_fit("".join(traceback.format_exception(caught.value)).replace(ESC, ""))
            if caught.value.delivery is not None:
                await caught.value.delivery.reject()
        async with anyio.create_task_group() as quiet:
            quiet.start_soon(anext, buries)
            quiet.start_soon(anext, skips)
            with anyio.move_on_after(5):
                while not (buries.statistics().dead_lettered and skips.statistics().undecodable):
                    await anyio.sleep(0.005)
            quiet.cancel_scope.cancel()
        assert (buries.statistics().dead_lettered, skips.statistics().undecodable) == (1, 1)
    assert caplog.records
    for line in caplog.messages:
        assert is_fit(line)
        assert "\n" not in line


async def test_what_a_publisher_calls_itself_forges_no_line() -> None:
    layer = ScriptedLayer(Leased(Record("t", b"1", f"id{ESC}"), 1))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery: object = await anext(sub)
        assert is_fit(repr(delivery))
        with pytest.warns(UnsettledWarning) as warned:
            delivery = None
        assert all(is_fit(str(one.message)) and "\n" not in str(one.message) for one in warned)
    assert is_fit(repr(Record("t", b"", ESC)) + pretty_repr(Record("t", b"", ESC)))


def test_no_line_of_the_library_writes_an_id_as_it_is() -> None:
    """Each is written with `!r` or `%r`: it is a publisher's word."""
    source = Path(acked.__file__).parent
    rooms = [*source.joinpath("_core").rglob("*.py"), *source.joinpath("layers").rglob("*.py")]
    found = [
        f"{file.relative_to(source)}: {line.strip()}"
        for file in rooms
        for line in file.read_text().splitlines()
        if ("record.id}" in line or "delivery.id}" in line or "self.id}" in line)
        and "encode()" not in line
        and "record.key}" not in line
        and "leased.position or" not in line
    ]
    assert found == []
