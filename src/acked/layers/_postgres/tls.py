"""TLS to PostgreSQL: whoever names anything of it gets a verified server, or an error.

Rules, stricter than libpq's, where `sslrootcert` alone does nothing and `require` verifies nobody:

1. Nothing of TLS is named, in the dsn or by `PGSSL...` in the environment: asyncpg's default, which
   is TLS where the server has it, and verifies nobody. `check()` says so.
2. `sslmode=disable` is no TLS. With anything else of TLS beside it in the dsn, it is an error.
3. `prefer` and `allow` ask for TLS and do without it: an error that says what to write.
4. Everything else is TLS with the certificate verified, for the host's name too unless the mode is
   `verify-ca`. It is trusted by `sslrootcert`, else by `~/.postgresql/root.crt`, else (and with
   `sslrootcert=system`) by what this machine trusts.
"""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

from acked.errors import ConfigurationError, LayerError

__all__ = ("TLS_OPTIONS", "TLSOptions")

_ENVIRONMENT: Final = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslpassword": "",
}
TLS_OPTIONS: Final = frozenset(_ENVIRONMENT)
"""What a dsn may say of TLS."""

_VERIFIED: Final = ("require", "verify-ca", "verify-full")
_HOPEFUL: Final = ("prefer", "allow")
_SYSTEM: Final = "system"


class TLSOptions:
    """What is asked of TLS. Raises `ConfigurationError` for less than it looks like."""

    def __init__(self, query: str) -> None:
        given = dict(parse_qsl(query, keep_blank_values=True))
        self._named: Final = {
            name: found
            for name, variable in _ENVIRONMENT.items()
            if (found := given.get(name) or os.environ.get(variable, ""))
        }
        mode = self._named.get("sslmode", "verify-full")
        if mode in _HOPEFUL:
            raise ConfigurationError(
                f"sslmode={mode} does without TLS where there is none, and verifies nobody; say "
                "sslmode=verify-full, with sslrootcert= for an authority of your own, or disable"
            )
        if mode == "disable":
            others = sorted((given.keys() & TLS_OPTIONS) - {"sslmode"})
            if others:
                raise ConfigurationError(
                    f"sslmode=disable contradicts {others[0]}; leave one of them out"
                )
        elif mode not in _VERIFIED:
            raise ConfigurationError(
                f"sslmode={mode!r} is none of {', '.join(_VERIFIED)} and disable"
            )
        self._mode: Final = mode
        self._oldest: Final = _version(self._named, "ssl_min_protocol_version", "TLSv1.2")
        self._newest: Final = _version(self._named, "ssl_max_protocol_version", "TLSv1.3")

    @property
    def is_verified(self) -> bool:
        """Whether a connection over the network is TLS to a server that was verified."""
        return bool(self._named) and self._mode != "disable"

    def context(self) -> ssl.SSLContext | None:
        """Return how to verify the server, or None where nothing of it is asked.

        Reads the files that are named; raises `LayerError` for one that cannot be used.
        """
        if not self.is_verified:
            return None
        try:
            return self._verifying()
        except OSError as error:  # of OpenSSL, too
            raise LayerError(
                f"a certificate that the dsn names cannot be used ({_cause(error)}); check the "
                "files of sslrootcert, sslcert, sslkey and sslcrl, and sslpassword"
            ) from error

    def _verifying(self) -> ssl.SSLContext:
        named = self._named
        context = ssl.create_default_context(cafile=_trusted(named))
        context.check_hostname = self._mode != "verify-ca"
        if "sslcert" in named:
            password = named.get("sslpassword", "")
            context.load_cert_chain(named["sslcert"], named.get("sslkey"), lambda: password)
        if "sslcrl" in named:
            context.load_verify_locations(named["sslcrl"])
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        context.minimum_version, context.maximum_version = self._oldest, self._newest
        return context


def _cause(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is no certificate"
    return error.strerror or type(error).__name__


def _trusted(named: Mapping[str, str]) -> str | None:
    """Return the file of authorities, or None for those that this machine trusts."""
    root = named.get("sslrootcert")
    if root == _SYSTEM:
        return None
    usual = Path("~/.postgresql/root.crt").expanduser()
    return root or (str(usual) if usual.exists() else None)


def _version(named: Mapping[str, str], option: str, default: str) -> ssl.TLSVersion:
    text = named.get(option, default)
    try:
        return ssl.TLSVersion[text.replace(".", "_")]
    except KeyError:
        raise ConfigurationError(f"{option}={text!r}: say TLSv1.2 or TLSv1.3") from None
