"""Bodies survive the way there and back; what does not fit raises."""

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked import JSON, MSGPACK, RAW, ConfigurationError
from acked.codecs import Codec, JsonCodec
from acked.codecs.pydantic import PYDANTIC


class Order(msgspec.Struct):
    id: int
    note: str
    cents: float | None = None


class Model(pydantic.BaseModel):
    id: int
    note: str


orders = st.builds(
    Order,
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=repr)
@given(order=orders)
def test_a_struct_round_trips(codec: Codec, order: Order) -> None:
    assert codec.decoder(Order)(codec.encoder(Order)(order)) == order


@given(st.binary())
def test_raw_bytes_are_handed_through(body: bytes) -> None:
    assert RAW.decoder(bytes)(RAW.encoder(bytes)(body)) == body


def test_raw_copies_what_could_still_change() -> None:
    body = bytearray(b"abc")
    encoded = RAW.encoder(bytes)(body)  # type: ignore[arg-type]
    body[0] = 0
    assert encoded == b"abc"


def test_raw_is_for_bytes_only() -> None:
    with pytest.raises(ConfigurationError, match="carries bytes, not str"):
        RAW.encoder(str)
    with pytest.raises(ConfigurationError):
        RAW.decoder(str)
    with pytest.raises(TypeError, match="expected bytes, got str"):
        RAW.encoder(bytes)("text")  # type: ignore[arg-type]


def test_pydantic_models_round_trip_and_are_validated() -> None:
    model = Model(id=1, note="é")
    assert PYDANTIC.decoder(Model)(PYDANTIC.encoder(Model)(model)) == model
    with pytest.raises(pydantic.ValidationError):
        PYDANTIC.decoder(Model)(b'{"id": "x"}')


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=repr)
@pytest.mark.parametrize("wrong", [b"", b"{", b"\xff\xff", b'{"id": "one", "note": ""}'])
def test_what_does_not_fit_raises(codec: Codec, wrong: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        codec.decoder(Order)(wrong)


def test_json_can_be_lenient_about_numbers_in_strings() -> None:
    body = b'{"id": "7", "note": ""}'
    assert JsonCodec(strict=False).decoder(Order)(body).id == 7
    with pytest.raises(msgspec.ValidationError):
        JSON.decoder(Order)(body)


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=repr)
def test_an_untyped_topic_takes_any_value(codec: Codec) -> None:
    value = {"a": [1, None, "x"]}
    assert codec.decoder(object)(codec.encoder(object)(value)) == value


def test_content_types_and_reprs_name_the_codec() -> None:
    assert [c.content_type for c in (JSON, MSGPACK, RAW, PYDANTIC)] == [
        "application/json",
        "application/msgpack",
        "application/octet-stream",
        "application/json",
    ]
    assert [repr(c) for c in (JSON, MSGPACK, RAW, PYDANTIC)] == [
        "JsonCodec(strict=True)",
        "MsgpackCodec()",
        "RawCodec()",
        "PydanticCodec()",
    ]


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_an_empty_body_is_none_where_the_type_admits_it(codec: Codec) -> None:
    """A message that has none, as a tombstone; elsewhere it does not decode."""
    assert codec.decoder(Order | None)(b"") is None
    assert codec.decoder(dict[str, int] | None)(codec.encoder(dict)({"a": 1})) == {"a": 1}
    with pytest.raises(msgspec.DecodeError, match="truncated"):
        codec.decoder(Order)(b"")
