"""Whatever is on the wire is a message: nothing raises, and what was sent by us arrives equal.

Here are the parsers that take whole text or bytes from others. Those of Kafka (batches, records, the
note beside an offset) and of MQTT (packets, properties) are fuzzed in their rooms, as are whole
messages at real brokers in `test_hostile`.
"""

import math
import sqlite3
from pathlib import Path

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from acked.layers._shared.headers import UNREADABLE, column_of, headers_in
from acked.layers.postgres_notify._envelope import Unpacker, pack, pack_bare
from acked.layers.postgres_queue import PostgresQueueLayer
from acked.layers.redis_pubsub._envelope import LENGTH_BYTES, MAGIC, packed, unpacked
from acked.layers.redis_streams._records import fields_of, leased_again, leased_first, letter_of
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.types import Leased, Record, Settlement, Start, Verb
from tests.layers.postgres_kit import connected, fresh

pytestmark = pytest.mark.anyio

MANY = settings(max_examples=500, deadline=None)
INPUTS = 500

texts = st.text(max_size=20)
headers = st.dictionaries(texts, texts, max_size=3)
records = st.builds(
    Record,
    st.just("t"),
    st.binary(max_size=60),
    st.text(min_size=1, max_size=20),
    st.none() | texts,
    headers,
    st.text(min_size=1, max_size=20),
    st.floats(allow_nan=False, allow_infinity=False),
)
json_ish = st.one_of(
    st.sampled_from(
        [
            b"[]",
            b"{}",
            b'["i",1e999]',
            b'["",0]',
            b'["\\ud800",1]',
            b'{"id":"","timestamp":0,"content_type":""}',
        ]
    ),
    st.binary(max_size=40),
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=8,
    ).map(lambda value: repr(value).replace("'", '"').encode("utf-8", "surrogatepass")),
)


def is_sound(record: Record) -> bool:
    """Whether the engine can have it: an id, and a time that is one."""
    return bool(record.id) and math.isfinite(record.timestamp) and isinstance(record.body, bytes)


@MANY
@given(st.binary(max_size=80), json_ish, st.integers(-2, 2), st.binary(max_size=8))
def test_any_payload_of_pubsub_is_a_message(
    other: bytes, head: bytes, off: int, body: bytes
) -> None:
    size = max(0, len(head) + off).to_bytes(LENGTH_BYTES, "big")
    for payload in (other, MAGIC + other, MAGIC + size + head + body):
        assert is_sound(unpacked("t", payload, lambda: "made up"))


@MANY
@given(records)
def test_what_pubsub_carries_arrives_equal(record: Record) -> None:
    found = unpacked("t", packed(record), lambda: "made up")
    assert (found.body, found.key, dict(found.headers)) == (
        record.body,
        record.key,
        dict(record.headers),
    )


@MANY
@given(texts, json_ish, texts)
def test_any_text_of_a_notify_is_a_message(other: str, head: bytes, body: str) -> None:
    unpacker, said = Unpacker(), head.decode("utf-8", "replace")
    for payload in (other, f"acked:t{said}\n{body}", f"acked:b{said}\n{body}", f"acked:t{other}"):
        carried = payload.encode("utf-8", "replace").decode()
        assert is_sound(unpacker.unpack("t", carried))


@MANY
@given(records)
def test_what_a_notify_carries_arrives_equal(record: Record) -> None:
    for way in (pack, pack_bare):
        found = Unpacker().unpack("t", way(record))
        assert (found.body, found.key, dict(found.headers)) == (
            record.body,
            record.key,
            dict(record.headers),
        )


NAMED = [b"body", b"id", b"content_type", b"timestamp", b"key", b"h:", b"h:\xff", b""]
pieces = st.sampled_from([*NAMED, b"nan", b"inf", b"-1e400", b"1_0"]) | st.binary(max_size=20)


@MANY
@given(st.lists(pieces, max_size=15), st.integers(1, 2**52), pieces, pieces, pieces)
@example([], 1, b"1", b"x", b"nan")
def test_any_fields_of_a_stream_are_a_message(
    fields: list[bytes], count: int, name: bytes, kind: bytes, timestamp: bytes
) -> None:
    usual = [b"body", b"1", b"id", name, b"content_type", kind, b"timestamp", timestamp]
    for one in (fields, usual, usual + fields):
        (first,) = leased_first("t", [(b"1-0", one)])
        for leased in (first, leased_again("t", b"1-0", count, one)):
            assert isinstance(leased, Leased)
            assert is_sound(leased.record)
            letter_of(leased.record)  # and it can be buried


@MANY
@given(records)
def test_what_a_stream_carries_arrives_equal(record: Record) -> None:
    (leased,) = leased_first("t", [(b"1-0", fields_of(record))])
    assert leased.record == record


@MANY
@given(st.text(max_size=40) | json_ish.map(lambda raw: raw.decode("utf-8", "replace")), headers)
def test_any_column_of_headers_is_headers(column: str, sent: dict[str, str]) -> None:
    for name, value in headers_in(column).items():
        assert name == UNREADABLE or column.startswith(("{", " ", "\n", "\r", "\t"))
        assert isinstance(value, str)
    assert dict(headers_in(column_of(sent))) == sent


def strange(number: int) -> str:
    """Return the headers that somebody else writes into a table."""
    return ["", "{", "[]", '{"a":1}', '{"a":null}', "\\", '"', '{"a":"b"}', "1e999", "\ufeff{}"][
        number % 10
    ] + ("" if number % 3 else " ")


async def everything(feed, count: int) -> list[Leased]:
    got: list[Leased] = []
    with anyio.fail_after(60):
        while len(got) < count:
            got += await feed.receive(count - len(got))
    await feed.settle([Settlement(one.token, Verb.ACK) for one in got])
    return got


async def test_rows_of_somebody_else_in_a_queue_file_stop_no_reader(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    async with SQLiteQueueLayer(path) as layer:
        async with layer.consume(
            ["t"], "g", in_flight=INPUTS, lease=30.0, start=Start.EARLIEST
        ) as feed:
            await layer.publish([Record("t", b"ours", "0")])
            await everything(feed, 1)
            db = sqlite3.connect(path, isolation_level=None, timeout=10)
            rows = [
                ("t", "\\" * (n % 4), None, strange(n), "", 1.0, b"%d" % n) for n in range(INPUTS)
            ]
            db.executemany(
                "INSERT INTO message (topic, id, key, headers, content_type, timestamp, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            db.close()
            got = await everything(feed, INPUTS)
    assert [one.record.body for one in got] == [b"%d" % n for n in range(INPUTS)]


@pytest.mark.postgres
async def test_rows_of_somebody_else_in_postgres_stop_no_reader(postgres_broker) -> None:
    topic = fresh()
    async with PostgresQueueLayer(postgres_broker.url) as layer:
        async with layer.consume(
            [topic], "g", in_flight=INPUTS, lease=30.0, start=Start.EARLIEST
        ) as feed:
            async with connected(postgres_broker.url) as somebody:
                rows = [
                    (topic, "\\" * (n % 4), None, strange(n), "\\0", float("nan"), b"%d" % n)
                    for n in range(INPUTS)
                ]
                await somebody.executemany(
                    "INSERT INTO acked.message "
                    "(grp, seq, id, key, headers, content_type, published, body) SELECT id, "
                    "nextval('acked.message_seq'), $2, $3, $4, $5, $6, $7 "
                    "FROM acked.grp WHERE topic = $1 AND gets",
                    rows,
                )
            got = await everything(feed, INPUTS)
    assert [one.record.body for one in got] == [b"%d" % n for n in range(INPUTS)]
