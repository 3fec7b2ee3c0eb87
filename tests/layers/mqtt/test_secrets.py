"""MQTT: what a URL hides stays hidden, and what a publisher calls itself forges no log."""

import logging
import string
import traceback
from urllib.parse import quote

import anyio
import pytest

from acked import Channel, ConfigurationError, Redelivery
from acked.errors import AckedError
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._address import address_of
from acked.layers.mqtt._findings import findings
from acked.types import Record, Severity
from tests.layers.mqtt.kit import feed_at, foreign_client

pytestmark = pytest.mark.anyio

LEFT, RIGHT = "Tulip77", "Orchid99"
PASSWORDS = [LEFT + one + RIGHT for one in string.printable]


def what_is_said(error: BaseException) -> str:
    """All that a log with tracebacks shows, values of local variables aside."""
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize("password", PASSWORDS, ids=ascii)
@pytest.mark.parametrize("make", [MQTTLayer, MQTTLayer.from_url])
def test_no_part_of_a_password_is_in_an_error_or_a_repr(make, password: str) -> None:
    for url in (
        f"mqtt://shop:{password}@127.0.0.1:1?client_id=x",
        f"mqtt://shop:{password}@127.0.0.1",
        f"mqtt://shop:{password}@127.0.0.1:port",
        f"http://shop:{password}@127.0.0.1",
    ):
        try:
            said = repr(make(url))
        except AckedError as error:
            said = what_is_said(error)
        assert not {one for one in (LEFT, RIGHT) if one in said}, said


@pytest.mark.parametrize("password", PASSWORDS, ids=ascii)
def test_a_password_that_is_encoded_arrives_whole(password: str) -> None:
    found = address_of(f"mqtt://shop:{quote(password, safe='')}@broker:1884")
    assert (found.host, found.port, found.password) == ("broker", 1884, password)


def test_an_address_is_shown_without_who_we_are() -> None:
    assert repr(address_of("mqtts://shop:secret@broker")) == "<Address mqtts://broker:8883>"


def test_an_address_says_what_to_encode() -> None:
    with pytest.raises(ConfigurationError, match=r"percent-encode.*'#' is %23"):
        MQTTLayer.from_url("mqtt://shop:a/b@broker?shared=true")


@pytest.mark.parametrize(
    ("url", "tls", "severity", "is_exposed"),
    [
        ("mqtts://shop:secret@broker.example", "verified", Severity.OK, False),
        ("mqtt://shop:secret@broker.example", "off", Severity.NOTICE, True),
        ("mqtt://broker.example", "off", Severity.NOTICE, False),
        ("mqtt://shop:secret@127.0.0.1", "off", Severity.OK, False),
        ("mqtt://shop:secret@[::1]", "off", Severity.OK, False),
        ("mqtt://shop:secret@localhost", "off", Severity.OK, False),
    ],
)
def test_a_password_in_clear_is_a_warning(
    url: str, tls: str, severity: Severity, *, is_exposed: bool
) -> None:
    told = findings(
        None, {}, address_of(url), session_expiry=1, keepalive=1, is_shared=False, unheard=[]
    )
    found = {one.name: one for one in told}
    assert (found["tls"].value, found["tls"].severity) == (tls, severity)
    assert found["password_in_clear"].value is is_exposed
    assert (found["password_in_clear"].severity is Severity.WARNING) == is_exposed
    assert "secret" not in repr(told)


@pytest.mark.parametrize("url", ["mqtt://broker", "mqtt://shop:secret@broker"])
def test_a_password_beside_the_url_is_of_the_user_whom_the_url_names_without(url: str) -> None:
    with pytest.raises(ConfigurationError, match="password= is of the user") as caught:
        MQTTLayer(url, password="hidden")
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_password_by_an_async_function_is_refused() -> None:
    async def asynchronous() -> str:
        return "secret"

    with pytest.raises(ConfigurationError, match="not an async one"):
        MQTTLayer("mqtt://shop@broker", password=asynchronous)  # type: ignore[arg-type]


async def test_what_a_publisher_calls_itself_forges_no_line_of_a_log(
    url: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    evil = "id\n2026-11-26 ERROR forged \x1b[31mred"
    dead = f"{topic}-dead"
    with caplog.at_level(logging.DEBUG):
        async with Channel(MQTTLayer(url)) as channel:
            redelivery = Redelivery(max_deliveries=1, dead_letter=dead)
            async with (
                channel.subscribe(dead, group="g") as letters,
                channel.subscribe(topic, group="g", redelivery=redelivery) as sub,
            ):
                await channel.layer.publish([Record(topic, b"{", evil, evil, {evil: evil})])
                with foreign_client(url) as client:
                    client.publish("acked/seat/1", b"").wait_for_publish(10)
                    client.publish(topic, b"1", qos=1).wait_for_publish(10)
                with anyio.fail_after(10):
                    await (await anext(sub)).ack()
                    letter = None
                    with pytest.raises(AckedError) as caught:
                        letter = await anext(letters)
                assert letter is None
                await caught.value.delivery.ack()  # type: ignore[attr-defined]
    assert not [one for one in caplog.messages if "\n" in one or "\x1b" in one]


async def test_the_longest_strings_that_mqtt_has_arrive(url: str, topic: str) -> None:
    long = "x" * 65_535
    async with feed_at(url, topic) as (layer, feed):
        await layer.publish([Record(topic, b"", long, long, {long: long}, long)])
        (leased,) = await feed.receive(1)
        assert leased.record.content_type == leased.record.key == long
