"""MQTT 5, or 3.1.1."""

from ssl import SSLContext
from typing import Any, ClassVar
from urllib.parse import quote

import anyio.lowlevel

from acked.compat._source import OnLoss, leave_out
from acked.compat.starlette_web.common.channels.layers.base import SourceLayer, configured
from acked.compat.starlette_web.common.http.exceptions import NotSupportedError
from acked.compat.starlette_web.common.utils.serializers import BaseSerializer
from acked.compat.starlette_web.contrib.mqtt.serializers import MQTTSerializer
from acked.layers.mqtt import MQTTTail

__all__ = ("MQTTChannelLayer",)

USED = ("version", "client_id", "keepalive", "ca_certs", "certfile", "keyfile")


class MQTTChannelLayer(SourceLayer):
    """News over MQTT; a group may be a filter (`a/+`, `a/#`), and an event names its own topic.

    `version` is 5, or 4 for MQTT 3.1.1. All groups are heard on one connection, each filter on one
    of its own. A new subscription begins with what is retained.
    """

    serializer_class: ClassVar[type[BaseSerializer]] = MQTTSerializer

    def __init__(
        self,
        *,
        host: str = "localhost",
        port: int = 1883,
        ssl: bool | SSLContext = False,
        username: str | None = None,
        password: str | None = None,
        on_loss: OnLoss = "reconnect",
        **options: Any,
    ) -> None:
        if isinstance(ssl, SSLContext):
            raise NotSupportedError("ssl= is a bool; beside it ca_certs=, certfile=, keyfile=")
        login = f"{quote(username, safe='')}:{quote(password or '', safe='')}@" if username else ""
        address = f"[{host}]" if ":" in host else host
        url = f"{'mqtts' if ssl else 'mqtt'}://{login}{address}:{port}"
        given = {"keepalive": 60} | {name: options.pop(name) for name in USED if name in options}
        options.pop("clean_session", None)  # a session is of one connection of ours
        with configured():
            leave_out(options, type(self).__name__)
            super().__init__(MQTTTail, url, on_loss, **given)

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
        if qos == 1 and not retain:
            await self._send(group, message)
        else:
            layer: Any = self._channel.layer
            await layer.send(group, self._encode(message), qos=qos, retain=retain)
            # The readers' turn: of a burst of QoS 0 only so many wait for them.
            await anyio.lowlevel.checkpoint()
