"""Making the connection of a client, and hanging up.

Dialling blocks, so it has a thread; what a cancelled caller leaves behind closes itself.
"""

import ssl
from contextlib import suppress

import anyio.to_thread

from acked.errors import ConnectionLost, LayerError, without_frames
from acked.layers.mqtt._address import Address
from acked.layers.mqtt._client import MQTTClient
from acked.layers.mqtt._session import Session

__all__ = ("dial", "hang_up")


async def dial(client: MQTTClient, address: Address, session: Session, keepalive: int) -> None:
    """Connect `client` and send its CONNECT; raise `ConnectionLost` when nobody answers."""

    def connect() -> None:
        try:
            if session.version < 5:
                client.connect(address.host, address.port, keepalive=keepalive)
            else:
                client.connect(
                    address.host,
                    address.port,
                    keepalive=keepalive,
                    clean_start=session.expiry == 0,
                    properties=session.properties(),
                )
        finally:
            if client.is_abandoned:
                hang_up(client)

    try:
        await anyio.to_thread.run_sync(connect, abandon_on_cancel=True)
    except ssl.SSLCertVerificationError as error:
        raise LayerError(
            f"the certificate of the MQTT broker at {address.where} was refused: "
            f"{error.verify_message}; give the authority that signed it in ca_certs="
        ) from without_frames(error)
    except (OSError, ValueError) as error:
        raise ConnectionLost(
            f"cannot connect to the MQTT broker at {address.where}: {error}"
        ) from without_frames(error)
    except BaseException:
        client.abandon()
        hang_up(client)
        raise


def hang_up(client: MQTTClient) -> None:
    """Close the socket, without a word to anybody."""
    client.on_socket_close = client.on_disconnect = None
    sock = client.socket()
    if sock is not None:
        with suppress(OSError):
            sock.close()
