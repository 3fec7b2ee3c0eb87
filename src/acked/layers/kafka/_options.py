"""How to reach the servers of Kafka: what every client of aiokafka is made with."""

import ssl
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ("KafkaOptions",)


class KafkaOptions(NamedTuple):
    """How to reach the servers, and how long to wait for them."""

    servers: tuple[str, ...]
    timeout: float
    session_timeout: float
    read_committed: bool
    user: str | None
    password: str | None
    sasl_mechanism: str
    tls: ssl.SSLContext | None
    start_offsets: Mapping[tuple[str, int], int]
    handover_timeout: float
    max_payload: int

    def __repr__(self) -> str:
        return f"<KafkaOptions of {self.where}>"  # without the password

    @property
    def where(self) -> str:
        """The address for errors: without credentials."""
        return f"kafka://{','.join(self.servers)}"

    def client(self) -> dict[str, object]:
        """Return the keywords that every client of aiokafka takes."""
        sasl, tls = self.user is not None, self.tls is not None
        protocol = (
            f"SASL_{'SSL' if tls else 'PLAINTEXT'}" if sasl else "SSL" if tls else "PLAINTEXT"
        )
        security: dict[str, object] = {"security_protocol": protocol}
        if tls:
            security["ssl_context"] = self.tls
        if sasl:
            security |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        return security | {
            "bootstrap_servers": list(self.servers),
            "request_timeout_ms": round(self.timeout * 1000),
        }
