"""What asyncpg and PostgreSQL raise, in our words: who refused what, and what to do."""

import ssl
from collections.abc import Mapping
from typing import Final

import asyncpg

from acked.errors import ConnectionLost, LayerError, without_frames

__all__ = ("OF_ASYNCPG", "translated", "without_pooler")

OF_ASYNCPG: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""What comes out of asyncpg because of the server, or the way to it."""

_LOST: Final = (
    asyncpg.PostgresConnectionError,  # class 08, and what asyncpg raises for a lost connection
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.InterfaceError,  # the connection was closed under the operation
    asyncpg.InternalClientError,  # or the server is just saying that it closes it
    OSError,
    TimeoutError,
)

_REFUSALS: Final[Mapping[type[Exception], str]] = {
    asyncpg.InvalidAuthorizationSpecificationError: (
        "{address} does not let us in (SQLSTATE {code}); check user, password, sslmode and the "
        "server's pg_hba.conf"
    ),
    asyncpg.ReadOnlySQLTransactionError: (
        "{address} is a standby, which can neither LISTEN nor NOTIFY; give the address of the "
        "primary, or those of all servers and target_session_attrs=primary"
    ),
    asyncpg.TooManyConnectionsError: (
        "{address} has no connection left for us (SQLSTATE {code}); raise max_connections or the "
        "role's limit there, or give the layer a lower pool_size"
    ),
    asyncpg.CannotConnectNowError: (
        "{address} starts up or shuts down (SQLSTATE {code}); wait until PostgreSQL runs there"
    ),
    ssl.SSLCertVerificationError: (
        "the TLS certificate of {address} is not trusted; check the host's name, and give the file "
        "of its authority as sslrootcert (sslmode=disable where the network is trusted)"
    ),
}
"""What the server says no to. All of it may pass: passwords and certificates are rotated, a standby
is promoted. Looked up before the wider classes above."""

_NO_TLS: Final = (
    "{address} has no TLS, which sslmode asks for; switch it on there (ssl=on), or give "
    "sslmode=disable where the network is trusted"
)

_SHARED_STATEMENTS: Final = (
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.InvalidSQLStatementNameError,
)

_CLASSES_THAT_MAY_PASS: Final = ("40", "53", "54", "55", "57", "58")
"""Classes of SQLSTATE: deadlocks, no room on the disk or in a queue, in use, intervention, trouble
of the system."""


def translated(error: Exception, address: str) -> LayerError:
    """Return what `error` means for us; its words never have the user or password in them."""
    without_frames(error)  # asyncpg's know the password
    if isinstance(error, _SHARED_STATEMENTS):
        return without_pooler(address)
    if isinstance(error, asyncpg.ClientConfigurationError):
        return LayerError(f"the dsn for {address} cannot be used; check its options")
    code: str = getattr(error, "sqlstate", None) or "no SQLSTATE"
    for kind, words in _REFUSALS.items():
        if isinstance(error, kind):
            return LayerError(words.format(address=address, code=code), may_pass=True)
    if isinstance(error, ConnectionError) and "rejected SSL" in str(error):
        return LayerError(_NO_TLS.format(address=address))
    if isinstance(error, _LOST):
        return ConnectionLost(
            f"no connection to {address} ({_cause(error)}); check that PostgreSQL runs "
            "there and can be reached"
        )
    may_pass = code.startswith(_CLASSES_THAT_MAY_PASS)
    return LayerError(f"{address} refused: {error} (SQLSTATE {code})", may_pass=may_pass)


def without_pooler(address: str) -> LayerError:
    """Return the error for a pooler that hands out another session for each transaction."""
    return LayerError(
        f"{address} is a pooler that shares sessions between transactions (as PgBouncer's "
        "pool_mode=transaction does), which swallows LISTEN; give the address of PostgreSQL "
        "itself, or of a pool with pool_mode=session"
    )


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return type(error).__name__
