"""How to reach the servers of Kafka: checked, and what every client of aiokafka is made with."""

import re
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from acked.errors import ConfigurationError
from acked.layers._shared.passwords import Password, check_password, current
from acked.layers._shared.urls import (
    number,
    split_server_url,
    switch,
    url_options,
    whole_number,
)
from acked.layers.kafka._secrets import TokenProvider

__all__ = (
    "MAX_PAYLOAD",
    "KafkaOptions",
    "arguments_of",
    "check_options",
    "server_list",
)

MAX_PAYLOAD: Final = 1_000_000
"""Bytes: a broker takes 1 MiB by default, headers and all."""

NOWHERE: Final[Mapping[tuple[str, int], int]] = MappingProxyType({})

_OAUTH: Final = "OAUTHBEARER"
_MECHANISMS: Final = frozenset({"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", _OAUTH})
_FILES: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_NUMBERS: Final = frozenset({"timeout", "session_timeout", "handover_timeout"})
_COUNTS: Final = frozenset({"create_topics", "replicas", "max_payload"})
_TEXTS: Final = frozenset({"sasl_mechanism", "group_instance_id"})
_OPTIONS: Final = _FILES | _NUMBERS | _COUNTS | _TEXTS | {"tls", "read_committed"}


class KafkaOptions(NamedTuple):
    """How to reach the servers, and how long to wait for them."""

    servers: tuple[str, ...]
    timeout: float = 10.0
    session_timeout: float = 10.0
    read_committed: bool = True
    user: str | None = None
    password: Password | None = None
    sasl_mechanism: str = "PLAIN"
    tls: ssl.SSLContext | None = None
    start_offsets: Mapping[tuple[str, int], int] = NOWHERE
    handover_timeout: float = 30.0
    max_payload: int = MAX_PAYLOAD

    def __repr__(self) -> str:
        return f"<KafkaOptions of {self.where}>"  # without the password

    @property
    def where(self) -> str:
        """The address for errors: without credentials."""
        return f"kafka://{','.join(self.servers)}"

    def client(self) -> dict[str, object]:
        """Return the keywords that every client of aiokafka takes."""
        sasl, tls = self.has_login, self.tls is not None
        protocol = (
            f"SASL_{'SSL' if tls else 'PLAINTEXT'}" if sasl else "SSL" if tls else "PLAINTEXT"
        )
        security: dict[str, object] = {"security_protocol": protocol}
        if tls:
            security["ssl_context"] = self.tls
        if sasl:
            security |= {"sasl_mechanism": self.sasl_mechanism} | self._credentials()
        return security | {
            "bootstrap_servers": list(self.servers),
            "request_timeout_ms": round(self.timeout * 1000),
        }

    def _credentials(self) -> dict[str, object]:
        secret = self.secret()  # where it cannot be had, no connection is begun
        if self.sasl_mechanism == _OAUTH:
            return {"sasl_oauth_token_provider": TokenProvider(self.secret)}
        return {"sasl_plain_username": self.user or "", "sasl_plain_password": secret}

    def secret(self) -> str:
        """Return the password, or the token, as it is now."""
        return "" if self.password is None else current(self.password)

    @property
    def has_login(self) -> bool:
        """Whether we say who we are."""
        return self.user is not None or self.password is not None

    @property
    def sends_secret(self) -> bool:
        """Whether brokers are sent the secret itself, and not only a proof that we have it."""
        return self.password is not None and not self.sasl_mechanism.startswith("SCRAM")


def arguments_of(url: str) -> dict[str, Any]:
    """Return the arguments of `KafkaLayer` that `url` stands for."""
    options = url_options(url, _OPTIONS)
    login, _, servers = split_server_url(url).netloc.rpartition("@")
    user, _, password = login.partition(":")
    arguments: dict[str, Any] = {name: options[name] for name in _TEXTS & options.keys()}
    arguments |= {name: number(name, options[name]) for name in _NUMBERS & options.keys()}
    arguments |= {name: whole_number(name, options[name]) for name in _COUNTS & options.keys()}
    if "read_committed" in options:
        arguments["read_committed"] = switch("read_committed", options["read_committed"])
    return arguments | {
        "servers": servers or "localhost:9092",
        "user": unquote(user) or None,
        "password": unquote(password) or None,
        "tls": _tls(options),
    }


def server_list(text: str) -> tuple[str, ...]:
    """Return the servers that `text` names; raise `ConfigurationError` for one that is none."""
    servers = tuple(server for part in text.split(",") if (server := part.strip()))
    for position, server in enumerate(servers, 1):
        if not re.fullmatch(r"[^/@\s]+:\d{1,5}", server):
            raise ConfigurationError(
                f"server {position} of {len(servers)} is not host:port; give `host:port`, or "
                "several of them with commas between, and user and password by themselves"
            )
    if not servers:
        raise ConfigurationError("no server of Kafka was named; give host:port")
    return servers


def check_options(options: KafkaOptions, *, create_topics: int | None, replicas: int) -> None:
    """Raise `ConfigurationError` for what cannot be."""
    numbers = {
        "timeout": options.timeout,
        "session_timeout": options.session_timeout,
        "handover_timeout": options.handover_timeout,
        "create_topics": create_topics,
        "replicas": replicas,
        "max_payload": options.max_payload,
    }
    for name, value in numbers.items():
        if value is not None and not 0 < value < float("inf"):
            raise ConfigurationError(f"{name} is {value}; it must be above 0, and finite")
    if options.sasl_mechanism not in _MECHANISMS:
        raise ConfigurationError(
            f"sasl_mechanism is {options.sasl_mechanism!r}; use one of "
            + ", ".join(sorted(_MECHANISMS))
        )
    check_password(options.password)


def _tls(options: Mapping[str, str]) -> ssl.SSLContext | None:
    given = sorted(options.keys() & _FILES)
    if not switch("tls", options.get("tls", "true" if given else "false")):
        if given:
            raise ConfigurationError(
                f"tls is false, and {given[0]} is given: leave out one of them; without TLS "
                "nothing is encrypted and nobody verified"
            )
        return None
    if "ssl_keyfile" in given and "ssl_certfile" not in given:
        raise ConfigurationError("ssl_keyfile is given without ssl_certfile: give both")
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    except OSError as error:
        raise ConfigurationError(
            f"the TLS options ({', '.join(given)}) cannot be used: {error}"
        ) from error
    return context
