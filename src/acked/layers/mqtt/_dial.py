"""Making the connection of a client, and hanging up.

Dialling blocks, so it has a thread; what a cancelled caller leaves behind closes itself.
"""

import ssl
import threading
from contextlib import suppress

import anyio.to_thread

from acked.errors import ConnectionLost, LayerError
from acked.layers.mqtt._address import Address
from acked.layers.mqtt._client import MQTTClient
from acked.layers.mqtt._session import Session

__all__ = ("dial", "hang_up")


async def dial(client: MQTTClient, address: Address, session: Session, keepalive: int) -> None:
    """Connect `client` and send its CONNECT; raise `ConnectionLost` when nobody answers."""
    dialling = _Dialling(client, address, session, keepalive)
    try:
        await anyio.to_thread.run_sync(dialling.run, abandon_on_cancel=True)
    except ssl.SSLCertVerificationError as error:
        raise LayerError(
            f"the certificate of the MQTT broker at {address.where} was refused: "
            f"{error.verify_message}; give the authority that signed it in ca_certs="
        ) from error
    except (OSError, ValueError) as error:
        raise ConnectionLost(
            f"cannot connect to the MQTT broker at {address.where}: {error}"
        ) from error
    except BaseException:
        dialling.abandon()
        raise


def hang_up(client: MQTTClient) -> None:
    """Close the socket, without a word to anybody."""
    client.on_socket_close = client.on_disconnect = None
    sock = client.socket()
    if sock is not None:
        with suppress(OSError):
            sock.close()


class _Dialling:
    """One try, in a thread that nobody may wait for any more."""

    def __init__(
        self, client: MQTTClient, address: Address, session: Session, keepalive: int
    ) -> None:
        self._client = client
        self._address = address
        self._session = session
        self._keepalive = keepalive
        self._guard = threading.Lock()
        self._is_abandoned = False

    def run(self) -> None:
        self._client.connect(
            self._address.host,
            self._address.port,
            keepalive=self._keepalive,
            clean_start=self._session.expiry == 0,
            properties=self._session.properties(),
        )
        with self._guard:
            if self._is_abandoned:
                hang_up(self._client)

    def abandon(self) -> None:
        with self._guard:
            self._is_abandoned = True
            hang_up(self._client)
