"""MQTT: what `channel.check()` finds out, on a broker as it is and on one with small limits."""

from typing import Any

import anyio
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from acked import Channel, Finding, Severity
from acked.errors import ChannelClosed, ConnectionLost
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._address import address_of
from acked.layers.mqtt._findings import findings
from tests.layers.mqtt.kit import (
    Refuser,
    broker_has_read,
    feed_at,
    joined,
    mosquitto,
    record,
    redirect,
)

pytestmark = pytest.mark.anyio


async def check(url: str, **options: Any) -> dict[str, Finding]:
    async with Channel(MQTTLayer(url, **options)) as channel:
        told = await channel.check()
    found = {one.name: one for one in told}
    assert len(found) == len(told)
    return found


def verdicts(found: dict[str, Finding], severity: Severity) -> set[str]:
    return {name for name, one in found.items() if one.severity is severity}


async def test_a_broker_as_it_should_be_has_nothing_to_warn_of() -> None:
    with mosquitto() as broker:
        found = await check(broker.url)
    assert not verdicts(found, Severity.WARNING)
    assert verdicts(found, Severity.NOTICE) == {"persistence", "queue_limit"}
    assert {name: one.value for name, one in found.items()} == {
        "server_version": "mosquitto version " + broker.version,
        "session_expiry": 7 * 24 * 3600,
        "persistence": None,
        "queue_limit": None,
        "dropped": 0,
        "receive_maximum": 20,
        "maximum_packet_size": 268_435_455,
        "maximum_qos": 2,
        "tls": "off",
        "password_in_clear": False,
        "retain_available": True,
        "shared_subscriptions": True,
        "keep_alive": 15,
        "unheard_topics": "",
    }
    assert "max_queued_messages 0" in found["queue_limit"].message


async def test_what_a_small_broker_dropped_is_a_warning_and_its_limits_are_told(
    topic: str,
) -> None:
    settings = (
        "max_queued_messages 5",
        "max_inflight_messages 2",
        "max_packet_size 5000",
        "max_keepalive 10",
        "sys_interval 1",
    )
    with mosquitto(*settings) as broker:
        async with MQTTLayer(broker.url) as layer:
            async with joined(layer, topic):
                pass
            await layer.publish([record(topic, n) for n in range(20)])  # accepted, every one
        found = await check(broker.url)
        with anyio.fail_after(15):
            while not found["dropped"].value:
                await anyio.sleep(0.2)  # until the broker tells
                found = await check(broker.url)
    assert verdicts(found, Severity.WARNING) == {"dropped"}
    # Those on their way to the absent consumer count apart from those in the queue.
    assert found["dropped"].value in {20 - 5, 20 - 5 - 2}
    assert found["receive_maximum"].value == 2
    assert found["maximum_packet_size"].value == 5000
    assert found["keep_alive"].value == 10
    assert verdicts(found, Severity.NOTICE) == {
        *("persistence", "queue_limit", "receive_maximum", "maximum_packet_size")
    }


async def test_what_this_user_may_not_read_is_a_finding_without_a_value(tmp_path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite public/#\n")
    acl.chmod(0o600)
    with mosquitto(f"acl_file {acl}") as broker:
        found = await check(broker.url)
    assert {found["server_version"].value, found["dropped"].value} == {None}
    assert {"server_version", "dropped"} <= verdicts(found, Severity.NOTICE)


async def test_a_broker_without_retained_messages_tells_less() -> None:
    with mosquitto("retain_available false") as broker:
        found = await check(broker.url)
    assert found["retain_available"].value is False
    assert {found["server_version"].value, found["dropped"].value} == {None}


async def test_a_session_that_is_kept_shorter_and_no_keep_alive_are_warnings() -> None:
    plain = bytes([0x20, 3, 0, 0, 0])
    expiry, keep_alive, shared = [0x11, 0, 0, 0, 60], [0x13, 0, 0], [0x2A, 0]
    granted = bytes([0x20, 13, 0, 0, 10, *expiry, *keep_alive, *shared])
    suback, unsuback = bytes([0x90, 5, 0, 1, 0, 0x87, 0x87]), bytes([0xB0, 4, 0, 2, 0, 0x11])
    with Refuser(plain) as publishing:
        layer = MQTTLayer(publishing.url, client_id="one", shared=True)
        async with Channel(layer) as channel:
            with Refuser(granted, suback, unsuback) as broker:
                redirect(layer, broker)
                found = {one.name: one for one in await channel.check()}
    expected = {"session_expiry", "keep_alive", "shared_subscriptions"}
    assert verdicts(found, Severity.WARNING) == expected
    assert found["session_expiry"].value == 60
    assert "604800" in found["session_expiry"].message
    assert found["keep_alive"].value == 0
    assert found["shared_subscriptions"].value is False


def test_a_longer_keep_alive_than_ours_is_told() -> None:
    granted = Properties(PacketTypes.CONNACK)
    granted.ServerKeepAlive = 60
    options = {"session_expiry": 1, "keepalive": 15, "is_shared": False, "unheard": []}
    found = {one.name: one for one in findings(granted, {}, address_of("mqtt://h"), **options)}
    assert found["keep_alive"].severity is Severity.NOTICE
    assert found["keep_alive"].value == 60
    assert "instead of 15" in found["keep_alive"].message


async def test_checking_leaves_no_session_behind() -> None:
    with mosquitto("sys_interval 1") as broker:
        async with MQTTLayer(broker.url) as layer:
            for _ in range(5):
                await layer.check()
        async with feed_at(broker.url, "$SYS/broker/clients/total") as (_, feed):
            totals: list[int] = []
            with anyio.fail_after(15):
                # Told each second, and only where it changed: our own three stay.
                while not totals or totals[-1] > 3:
                    totals += [int(one.record.body) for one in await feed.receive(10)]
            await broker_has_read(feed)


async def test_a_broker_that_is_gone_is_a_lost_connection() -> None:
    with mosquitto() as broker:
        channel = Channel(MQTTLayer(broker.url))
        async with channel:
            broker.kill()
            with pytest.raises(ConnectionLost):
                await channel.check()
        with pytest.raises(ChannelClosed):
            await channel.check()


async def test_the_brokers_keep_alive_is_kept_to() -> None:
    """It is a second, and ours an hour: the broker hears a ping all the same."""
    connack, pingresp = bytes([0x20, 6, 0, 0, 3, 0x13, 0, 1]), bytes([0xD0, 0])
    with Refuser(connack, pingresp) as broker:
        async with MQTTLayer(broker.url, keepalive=3600):
            with anyio.fail_after(10):
                while len(broker.heard) < 2:
                    await anyio.sleep(0.05)
    assert broker.heard[1] == bytes([0xC0, 0])
