"""MQTT 5."""

from contextlib import suppress
from ssl import SSLContext
from typing import Any, ClassVar, Final
from urllib.parse import quote

import anyio.lowlevel
from paho.mqtt.client import MQTT_ERR_SUCCESS

from acked import ConnectionLost, PublishFailed, fire_and_forget
from acked.compat._source import OnLoss
from acked.compat.starlette_web.common.channels.layers.base import SourceLayer, configured
from acked.compat.starlette_web.common.http.exceptions import NotSupportedError
from acked.compat.starlette_web.common.utils.serializers import BaseSerializer
from acked.compat.starlette_web.contrib.mqtt.serializers import MQTTSerializer
from acked.layers.mqtt import MQTTLayer

__all__ = ("MQTTChannelLayer",)

SESSION_EXPIRY: Final = 600
"""Seconds for which the broker keeps what is for a process that lost its connection, or died."""
NOTHING: Final = "acked/nothing"
"""Where an empty message goes when the connection must be made again."""


class MQTTChannelLayer(SourceLayer):
    """News over MQTT; a group may be a filter (`a/+`, `a/#`), and an event names its own topic.

    Each group that is subscribed to has a session of its own, kept while the connection is made
    again: nothing is missed meanwhile but what was published with QoS 0. A new subscription begins
    with what is retained.
    """

    serializer_class: ClassVar[type[BaseSerializer]] = MQTTSerializer

    def __init__(
        self,
        *,
        host: str = "localhost",
        port: int = 1883,
        ssl: bool | SSLContext = False,
        keepalive: int = 60,
        username: str | None = None,
        password: str | None = None,
        version: int = 5,
        client_id: str | None = None,
        on_loss: OnLoss = "reconnect",
        **options: Any,
    ) -> None:
        if version != 5:
            raise NotSupportedError(f"version={version}: this layer speaks MQTT 5 only")
        if isinstance(ssl, SSLContext):
            raise NotSupportedError("ssl= is a bool; beside it ca_certs=, certfile=, keyfile=")
        login = f"{quote(username, safe='')}:{quote(password or '', safe='')}@" if username else ""
        address = f"[{host}]" if ":" in host else host
        url = f"{'mqtts' if ssl else 'mqtt'}://{login}{address}:{port}"
        files = options.keys() & {"ca_certs", "certfile", "keyfile"}
        given = {name: options.pop(name) for name in files}
        # A session is of one connection: there is nothing that a clean one would leave behind.
        options.pop("clean_session", None)
        patience = None if on_loss == "reconnect" else 0.0
        with configured():
            self._layer = MQTTLayer(
                url,
                client_id=client_id,
                session_expiry=SESSION_EXPIRY,
                keepalive=keepalive,
                retained=True,
                **given,
            )
            news = fire_and_forget(self._layer, reconnect_timeout=patience)
            super().__init__(news, on_loss, options)

    async def publish(
        self,
        group: str,
        message: Any,
        qos: int = 0,
        retain: bool = False,  # noqa: FBT001, FBT002 - as in the original
        **_: Any,
    ) -> None:
        """Publish `message` with `qos`, 1 returning when the broker has accepted it.

        Raises what the serializer raises, and `PublishFailed`.
        """
        body = self._serializer.serialize(message)
        if qos == 1 and not retain:
            await self._send(group, body)
            return
        hand_over = self._layer.client.publish
        if hand_over(group, body, qos=qos, retain=retain).rc != MQTT_ERR_SUCCESS:
            # Publishing through the channel is what connects again.
            with suppress(PublishFailed):
                await self._send(NOTHING, b"")
            if hand_over(group, body, qos=qos, retain=retain).rc != MQTT_ERR_SUCCESS:
                lost = ConnectionLost(f"{self._layer!r} is not connected")
                raise PublishFailed(str(lost), {0: lost}, indeterminate=False)
        # The readers' turn: of a burst of QoS 0 only so many wait for them.
        await anyio.lowlevel.checkpoint()

    def dropped(self) -> int:
        """Return how many messages of QoS 0 came faster than they could be taken."""
        return self._layer.dropped
