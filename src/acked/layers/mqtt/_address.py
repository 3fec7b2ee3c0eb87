"""Where a broker is and how to be let in, taken out of a URL once; nothing quotes a secret."""

import ssl
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from acked.errors import ConfigurationError
from acked.layers._shared.passwords import Password, check_password, current

__all__ = ("TLS_OPTIONS", "Address", "address_of", "split_url", "tls_of")

TLS_OPTIONS: Final = frozenset({"ca_certs", "certfile", "keyfile"})
_ENCODE: Final = (
    "percent-encode special characters of the user, the password and the options ('/' is %2F, '?' "
    "is %3F, '#' is %23, '@' is %40): mqtt://user:password@host:port"
)
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


class Address(NamedTuple):
    """A broker, and whom we say we are."""

    scheme: str
    host: str
    port: int
    user: str | None
    password: Password | None

    def __repr__(self) -> str:
        return f"<Address {self.scheme}://{self.where}>"

    @property
    def where(self) -> str:
        """The host and port: what errors, logs and reprs say."""
        return f"{self.host}:{self.port}"

    def secret(self) -> str | None:
        """Return the password as it is now."""
        return None if self.password is None else current(self.password)

    def with_password(self, password: Password | None) -> "Address":
        """Return this address with the password that was given beside the URL, if one was."""
        if password is None:
            return self
        check_password(password)
        if self.user is None or self.password is not None:
            raise ConfigurationError(
                "password= is of the user whom the URL names without one: mqtt://user@host:port"
            )
        return self._replace(password=password)


def split_url(url: str) -> SplitResult:
    """Return the parts of `url`; raise `ConfigurationError` where a password took it apart.

    After a `/`, `?`, `#` or `[` that is not encoded, its parts would stand where the port, a path
    or options are expected, and errors that name those would show them.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigurationError(  # not chained: its words quote what stands where the port should
            f"the MQTT URL has no valid host and port; {_ENCODE}"
        ) from None
    if "@" in url.partition("://")[2].removeprefix(parts.netloc):
        raise ConfigurationError(f"the MQTT URL has an '@' behind its host; {_ENCODE}")
    return parts


def address_of(url: str) -> Address:
    """Return the address that `url` names; raise `ConfigurationError` for what is no MQTT URL."""
    parts = split_url(url)
    if parts.scheme not in _PORTS:
        raise ConfigurationError(
            f"{parts.scheme[:20]!r} is no scheme of MQTT; use mqtt:// or mqtts://"
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigurationError("an MQTT URL ends after the port; options are arguments")
    return Address(
        parts.scheme,
        parts.hostname or "localhost",
        parts.port or _PORTS[parts.scheme],
        None if parts.username is None else unquote(parts.username),
        None if parts.password is None else unquote(parts.password),
    )


def tls_of(
    address: Address, ca_certs: str | None, certfile: str | None, keyfile: str | None
) -> ssl.SSLContext | None:
    """Return how to speak TLS to `address`, or None for a plain connection."""
    if address.scheme == "mqtt":
        if any(one is not None for one in (ca_certs, certfile, keyfile)):
            raise ConfigurationError("certificates are for TLS; use mqtts://")
        return None
    if "" in (ca_certs, certfile, keyfile):
        raise ConfigurationError(
            "ca_certs=, certfile= and keyfile= name files; leave an empty one out"
        )
    if keyfile is not None and certfile is None:
        raise ConfigurationError("keyfile= without certfile=: a key is of a certificate; name both")
    try:
        context = ssl.create_default_context(cafile=ca_certs)
        if certfile:
            context.load_cert_chain(certfile, keyfile, _no_password)
    except OSError as error:
        raise ConfigurationError(f"the certificates cannot be read: {error}") from error
    context.sslsocket_class = _ClosingSocket
    return context


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself where the handshake fails: paho forgets it then."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as in its base
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _no_password() -> str:
    """Refuse, where OpenSSL would ask at the terminal."""
    raise ConfigurationError("the key of certfile= is encrypted; give a decrypted one in keyfile=")
